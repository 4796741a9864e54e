"""What gdb is told is loaded: the libraries that the dynamic linker knows, and debug enclaves, as if they were some.

GDB manual, appendix "Remote Protocol", section "Library List Format for SVR4 Targets"; <link.h>: struct r_debug.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from enclu.base.elf import PHDR
from enclu.native import proc
from enclu.run.gdb import memory
from enclu.run.image_files import PT_DYNAMIC, Images

if TYPE_CHECKING:
    from collections.abc import Iterator

    from enclu.linux.encl import Encl
    from enclu.run.supervisor import Supervisor
    from enclu.run.task import Task

AT_PHDR, AT_PHNUM, AT_SYSINFO_EHDR = 3, 5, 33
PT_PHDR, DT_DEBUG = 6, 21
_MAP = 8
"""Offset of r_debug.r_map."""
MOST = 4096
"""Libraries that are looked at: the list is the program's, and may be a ring."""


def quoted(text: str) -> str:
    """As a value of an attribute, or as text, in XML."""
    return escape(text, {'"': "&quot;"}).encode("utf-8", "replace").decode()


@dataclass(frozen=True)
class Library:
    """One in the list."""

    name: str
    link_map: int
    l_addr: int
    l_ld: int


class Libraries:
    """Those of the processes of a run."""

    def __init__(self, supervisor: Supervisor) -> None:
        self.images = Images(supervisor.kernel)
        self.images.listen(supervisor.events)

    def xml(self, task: Task) -> str:
        """The list of the process of a stopped thread."""
        main, rows = 0, []
        for library in [*self._linked(task), *self._enclaves(task)]:
            if not main and library.name == "":
                main = library.link_map
                continue
            rows.append(
                f'<library name="{quoted(library.name)}" lm="{library.link_map:#x}" l_addr="{library.l_addr:#x}" '
                f'l_ld="{library.l_ld:#x}" lmid="0x0"/>'
            )
        attribute = f' main-lm="{main:#x}"' if main else ""
        return f'<library-list-svr4 version="1.0"{attribute}>{"".join(rows)}</library-list-svr4>'

    def enclaves(self, task: Task) -> list[Encl]:
        """Those that the process has mapped and initialised, in the order of their addresses."""
        found = dict.fromkeys(vma.encl for vma in task.mm.vmas if vma.encl is not None and vma.encl.initialized)
        return list(found)

    def _enclaves(self, task: Task) -> Iterator[Library]:
        for encl in self.enclaves(task):
            if memory.is_debug(encl):
                file = self.images.find(encl, task.tid)
                if file is not None:
                    yield Library(os.path.realpath(file.path), encl.base, file.bias, file.dynamic or encl.base)

    @staticmethod
    def _linked(task: Task) -> Iterator[Library]:
        """By r_debug, which the dynamic linker keeps for debuggers; nothing before it has begun."""
        space = task.space

        def words(address: int, count: int) -> tuple[int, ...]:
            data = space.peek(address, 8 * count)
            return struct.unpack(f"<{count}Q", data.ljust(8 * count, b"\0"))

        at, seen = words(_r_debug(task) + _MAP, 1)[0], 0
        while at and seen < MOST:
            l_addr, name, l_ld, following, _ = words(at, 5)
            text = space.peek(name, 4096 - name % 4096)
            if b"\0" not in text:
                text += space.peek(name + len(text), 4096)
            path = text.partition(b"\0")[0].decode(errors="surrogateescape")
            if path or not seen:
                yield Library(path if seen else "", at, l_addr, l_ld)
            at, seen = following, seen + 1


def auxv(task: Task) -> bytes:
    """The auxiliary vector, with the vDSO that the program has: the host kernel remembers its own."""
    saved = proc.content(task.process.tgid, "auxv")
    pairs = struct.iter_unpack("<2Q", saved[: len(saved) & -16])
    vdso = task.mm.vdso
    return b"".join(struct.pack("<2Q", tag, vdso if tag == AT_SYSINFO_EHDR and vdso else value) for tag, value in pairs)


def _r_debug(task: Task) -> int:
    values = dict(struct.iter_unpack("<2Q", auxv(task)))
    start, count = values.get(AT_PHDR, 0), values.get(AT_PHNUM, 0)
    data = task.space.peek(start, PHDR.size * count)
    table = [PHDR.unpack_from(data, at) for at in range(0, len(data) - PHDR.size + 1, PHDR.size)]
    bias = next((start - row[3] for row in table if row[0] == PT_PHDR), 0)
    dynamic = next(((row[3] + bias, row[6]) for row in table if row[0] == PT_DYNAMIC), None)
    if dynamic is None:
        return 0
    entries = task.space.peek(*dynamic)
    pairs = struct.iter_unpack("<2Q", entries[: len(entries) & -16])
    return next((value for tag, value in pairs if tag == DT_DEBUG), 0)
