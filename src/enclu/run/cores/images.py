"""Which file an enclave comes from: nobody says so, but its code stands in both.

The files that the process has open or mapped, while it loads the enclave, are compared with it: ELF files linked at 0,
or at the beginning of ELRANGE, as runtimes have them.  What is made in another way stays unknown.
"""

from __future__ import annotations

import contextlib
import os
import stat
import struct
from collections.abc import Callable, Iterator

from enclu.base.elf import EHDR, PHDR, PT_LOAD
from enclu.linux.coredump import PAGE, PF, PT_NOTE
from enclu.linux.kernel import Kernel
from enclu.linux.snapshot import Snapshot
from enclu.native import proc

MAGIC = b"\x7fELF\x02\x01"
NT_GNU_BUILD_ID = 3
_PHOFF, _PHNUM = 5, 10
_MOST_HEADERS = 64
_LARGEST = 1 << 48
"""Offsets beyond are none of a file that can be meant."""
_NOTE = struct.Struct("<III")
Read = Callable[[int, int], bytes]
"""Bytes at an address, or of a file."""


def _program_headers(read: Read, at: int) -> list[tuple[int, ...]]:
    """Those of the ELF file there; none if there is none, or they are more than can be meant."""
    start = read(at, EHDR.size)
    if len(start) < EHDR.size or not start.startswith(MAGIC):
        return []
    header = EHDR.unpack(start)
    size = min(header[_PHNUM], _MOST_HEADERS) * PHDR.size
    table = read(at + header[_PHOFF], size)
    return list(PHDR.iter_unpack(table)) if len(table) == size else []


def build_id(read: Read, at: int) -> str:
    """NT_GNU_BUILD_ID of the ELF file that is loaded there, in hex; empty if there is none."""
    for kind, _, _, address, _, _, size, _ in _program_headers(read, at):
        if kind == PT_NOTE:
            content = read(at + address, min(size, PAGE))
            offset = 0
            while offset + _NOTE.size <= len(content):
                owner, length, note = _NOTE.unpack_from(content, offset)
                name = offset + _NOTE.size
                data = name + -(-owner // 4) * 4
                if note == NT_GNU_BUILD_ID and content[name : name + owner] == b"GNU\0":
                    return content[data : data + length].hex()
                offset = data + -(-length // 4) * 4
    return ""


def is_image(file: Read, enclave: Read, base: int) -> bool:
    """Each executable segment of the file begins as the enclave does where it would be loaded."""
    found = False
    for kind, flags, offset, address, _, size, _, _ in _program_headers(file, 0):
        if kind == PT_LOAD and flags & PF["x"] and size:
            code = file(offset, min(size, PAGE))
            if not any(code) or enclave(base + address, len(code)) != code:
                return False
            found = True
    return found


class Images:
    """Those of a run's enclaves, by EID."""

    def __init__(self, kernel: Kernel, known: dict[int, str] | None = None) -> None:
        """Some may be `known`, by base address."""
        self._kernel = kernel
        self._known = known or {}
        self._found: dict[int, str] = {}

    def look(self, eid: int, tid: int) -> None:
        """Find the file of an enclave among those that the process has open or mapped at this moment."""
        encl = next((e for e in self._kernel.enclaves() if e.eid == eid), None)
        if encl is None or encl.secs is None:
            return
        snapshot = Snapshot(encl)
        with contextlib.suppress(OSError):
            for path, read in _candidates(tid):
                if is_image(read, snapshot.read, encl.base):
                    self._found[eid] = path
                    return

    def forget(self, eid: int) -> None:
        """The enclave is no more."""
        self._found.pop(eid, None)

    def by_base(self) -> dict[int, str]:
        """Those that have been found, by base address."""
        return self._known | {
            encl.base: self._found[encl.eid] for encl in self._kernel.enclaves() if encl.eid in self._found
        }

    def of(self, eid: int, tid: int) -> str:
        """Its path; empty if it is not known."""
        encl = next((e for e in self._kernel.enclaves() if e.eid == eid), None)
        if encl is not None and encl.base in self._known:
            return self._known[encl.base]
        if eid not in self._found:
            self.look(eid, tid)
        return self._found.get(eid, "")


def _candidates(tid: int) -> Iterator[tuple[str, Read]]:
    """Path of every file that the process has mapped or open, to be read at once.  Raises OSError."""
    with proc.text(tid, "maps") as file:
        names = {line.split(maxsplit=5)[5].rstrip("\n") for line in file if len(line.split(maxsplit=5)) > 5}
    for name in sorted(names):
        if name.startswith("/") and not name.startswith("/memfd:"):
            yield from _file(tid, "root" + name, name)
    for fd in proc.descriptors(tid):
        with contextlib.suppress(OSError):
            name = proc.name_of(tid, f"fd/{fd}")
            if name.startswith("/") and name not in names and not name.startswith(("/dev/", "/proc/", "/memfd:")):
                yield from _file(tid, f"fd/{fd}", name)


def _file(tid: int, place: str, name: str) -> Iterator[tuple[str, Read]]:
    try:
        file = proc.follow(tid, place, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return
    try:
        if stat.S_ISREG(os.fstat(file).st_mode):
            yield name, lambda at, size: os.pread(file, size, at) if at < _LARGEST else b""
    finally:
        os.close(file)
