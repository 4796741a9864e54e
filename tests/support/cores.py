"""Cores, as their readers see them: gdb, and pyelftools."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elftools.elf.elffile import ELFFile
from elftools.elf.segments import NoteSegment

from enclu.native.ptrace import UserRegs
from tests.support.runs import HANGS

PRSTATUS, PRPSINFO, AUXV, SIGINFO, FILE = 1, 3, 6, 0x53494749, 0x46494C45


@dataclass(frozen=True)
class Note:
    """One of a core."""

    owner: str
    kind: int
    content: bytes

    def word(self, at: int, size: int = 8) -> int:
        return int.from_bytes(self.content[at : at + size], "little")


class Core:
    """What a core has."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            elf = ELFFile(file)
            assert elf.header["e_type"] == "ET_CORE" and elf.header["e_machine"] == "EM_X86_64"
            segments = list(elf.iter_segments())
            self.loads = [dict(s.header) for s in segments if s["p_type"] == "PT_LOAD"]
            (notes,) = [s for s in segments if isinstance(s, NoteSegment)]
            file.seek(notes["p_offset"])
            table = file.read(notes["p_filesz"])
            # pyelftools can make sense of all of them.
            self.parsed = [note["n_type"] for note in notes.iter_notes()]
        self.notes = list(_notes(table))

    def all(self, kind: int, owner: str = "CORE") -> list[Note]:
        return [note for note in self.notes if (note.owner, note.kind) == (owner, kind)]

    @property
    def about(self) -> dict[str, Any]:
        (note,) = self.all(0x53475831, "enclu")
        told: dict[str, Any] = json.loads(note.content)
        return told

    @property
    def files(self) -> list[tuple[int, int, int, str]]:
        """NT_FILE: start, end, offset in pages, name."""
        (note,) = self.all(FILE)
        count = note.word(0)
        names = note.content[16 + 24 * count :].split(b"\0")
        rows = [[note.word(16 + 24 * i + 8 * j) for j in range(3)] for i in range(count)]
        return [(row[0], row[1], row[2], name.decode()) for row, name in zip(rows, names, strict=False)]

    def read(self, address: int, size: int) -> bytes | None:
        """What the file has of the memory; None if nothing."""
        for load in self.loads:
            at = address - load["p_vaddr"]
            if at >= 0 and at + size <= load["p_filesz"]:
                with self.path.open("rb") as file:
                    file.seek(load["p_offset"] + at)
                    return file.read(size)
        return None


def _notes(table: bytes) -> list[Note]:
    found, at = [], 0
    while at < len(table):
        owner, size, kind = (int.from_bytes(table[at + i : at + i + 4], "little") for i in (0, 4, 8))
        content = at + 12 + -(-owner // 4) * 4
        found.append(Note(table[at + 12 : at + 11 + owner].decode(), kind, table[content : content + size]))
        at = content + -(-size // 4) * 4
    return found


def registers(note: Note) -> dict[str, int]:
    """Those of an NT_PRSTATUS."""
    return {name: note.word(112 + 8 * i) for i, (name, *_) in enumerate(UserRegs._fields_)}


def gdb(program: Path, core: Path, *commands: str, first: Sequence[str] = ()) -> str:
    """What gdb says to these commands, without colours and its wide lines broken."""
    arguments = [part for command in (*first, *commands) for part in ("-ex", command)]
    done = subprocess.run(
        ["gdb", "-batch", "-nx", "-ex", "set width 0", *arguments, str(program), str(core)],
        capture_output=True, text=True, timeout=HANGS, check=False,
    )  # fmt: skip
    return re.sub(r"\x1b\[[0-9;]*m", "", done.stdout) + done.stderr
