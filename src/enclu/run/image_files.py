"""Which file an enclave was loaded from: nobody tells, but its code stands in both.

What is compared is what the process has mapped or open when the enclave is created or initialised, what its arguments
or environment name, and what lies beside its program: ELF files linked at 0, at the beginning of ELRANGE, or to be
loaded there from their lowest address on, as runtimes have them.  What is made in another way stays unknown.
"""

from __future__ import annotations

import contextlib
import os
import stat
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from enclu.base.elf import EHDR, PHDR, PT_LOAD
from enclu.base.events import EnclaveCreated, EnclaveInitialised, EnclaveRemoved
from enclu.linux.coredump import PAGE, PF, PT_NOTE
from enclu.linux.snapshot import Snapshot
from enclu.native import proc

if TYPE_CHECKING:
    from enclu.base.listeners import Events
    from enclu.linux.encl import Encl
    from enclu.linux.kernel import Kernel

MAGIC = b"\x7fELF\x02\x01"
PT_DYNAMIC, NT_GNU_BUILD_ID = 2, 3
_PHOFF, _PHNUM = 5, 10
_MOST_HEADERS = 64
_LARGEST = 1 << 48
"""Offsets beyond are none of a file that can be meant."""
_MOST_FILES = 400
"""That are looked at, beside a program."""
_SAMPLES = 16
"""Pages of a segment that are compared."""
_NOTE = struct.Struct("<III")
Read = Callable[[int, int], bytes]
"""Bytes at an address, or of a file."""


@dataclass(frozen=True)
class Found:
    """A file, by how far the enclave's addresses are from its own, and where the enclave has its dynamic section."""

    path: str
    bias: int
    dynamic: int
    """0: it has none."""


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


def match(path: str, file: Read, enclave: Read, base: int) -> Found | None:
    """The file as the enclave's, which begins at `base`: each of its executable segments is what the enclave has."""
    headers = _program_headers(file, 0)
    loads = [row for row in headers if row[0] == PT_LOAD]
    code = [row for row in loads if row[1] & PF["x"] and row[5]]
    if not code:
        return None
    dynamic = next((row[3] for row in headers if row[0] == PT_DYNAMIC), 0)
    lowest = min(row[3] for row in loads) & -PAGE
    for bias in dict.fromkeys((base, base - lowest)):
        if all(_same(file, enclave, row, bias) for row in code):
            return Found(path, bias, dynamic + bias if dynamic else 0)
    return None


def _same(file: Read, enclave: Read, load: tuple[int, ...], bias: int) -> bool:
    """What is compared of the segment is the same, and is not all zero."""
    offset, address, size = load[2], load[3], load[5]
    compared = at = 0
    while at < size and compared < _SAMPLES:
        place = bias + address + at
        length = min(PAGE - place % PAGE, size - at)
        part, page = file(offset + at, length), enclave(place, length)
        if any(part) and any(page):  # else it is nothing, or cannot be read
            if page != part:
                return False
            compared += 1
        at += length
    return compared > 0


class Images:
    """Those of a run's enclaves."""

    def __init__(self, kernel: Kernel, known: dict[int, str] | None = None) -> None:
        """Some may be `known`, by base address."""
        self._kernel = kernel
        self._known = known or {}
        self._paths: dict[int, list[str]] = {}
        """Files that the process had when it created an enclave, by EID."""
        self._found: dict[int, Found] = {}

    def listen(self, events: Events) -> None:
        """Look while enclaves are made: most loaders let go of the file afterwards."""
        events.listen(self._created, EnclaveCreated)
        events.listen(self._initialised, EnclaveInitialised)
        events.listen(self._removed, EnclaveRemoved)

    def _created(self, event: EnclaveCreated) -> None:
        if event.pid:
            self._paths[event.eid] = [path for path, _ in _had(event.pid)]

    def _initialised(self, event: EnclaveInitialised) -> None:
        encl = self._encl(event.eid)
        if encl is not None and event.pid:
            self.find(encl, event.tid)

    def _removed(self, event: EnclaveRemoved) -> None:
        self._paths.pop(event.eid, None)
        self._found.pop(event.eid, None)

    def _encl(self, eid: int) -> Encl | None:
        return next((e for e in self._kernel.enclaves() if e.eid == eid), None)

    def find(self, encl: Encl, tid: int) -> Found | None:
        """The file of an enclave, by what a thread of its process has, or has had."""
        if encl.eid not in self._found and encl.secs is not None:
            snapshot = Snapshot(encl)
            for path, read in _candidates(tid, self._paths.get(encl.eid, ())):
                found = match(path, read, snapshot.read, encl.base)
                if found is not None:
                    self._found[encl.eid] = found
                    break
        return self._found.get(encl.eid)

    def by_base(self) -> dict[int, str]:
        """Those that have been found, by base address."""
        return self._known | {
            encl.base: self._found[encl.eid].path for encl in self._kernel.enclaves() if encl.eid in self._found
        }

    def of(self, eid: int, tid: int) -> str:
        """Its path; empty if it is not known."""
        encl = self._encl(eid)
        if encl is None:
            return ""
        found = None if encl.base in self._known else self.find(encl, tid)
        return found.path if found is not None else self._known.get(encl.base, "")


def _candidates(tid: int, before: Iterable[str]) -> Iterator[tuple[str, Read]]:
    """Path of every file that may be meant, the likeliest first, to be read at once."""
    looked = set[str]()
    for path, place in (*((path, f"root{path}") for path in before), *_had(tid), *_named(tid)):
        if path not in looked:
            looked.add(path)
            yield from opened(tid, path, place)


def _had(tid: int) -> Iterator[tuple[str, str]]:
    """Path of every file that the process has mapped or open, and where /proc/TID has it."""
    with contextlib.suppress(OSError):
        fields = [line.split(maxsplit=5) for line in proc.lines(tid, "maps")]
        names = [each[5] for each in fields if len(each) > 5]
        for name in dict.fromkeys(names):
            if name.startswith("/") and not name.startswith("/memfd:"):
                yield name, f"root{name}"
    with contextlib.suppress(OSError):
        for fd in proc.descriptors(tid):
            with contextlib.suppress(OSError):
                name = proc.name_of(tid, f"fd/{fd}")
                if name.startswith("/") and not name.startswith(("/dev/", "/proc/", "/memfd:")):
                    yield name, f"fd/{fd}"


def _named(tid: int) -> Iterator[tuple[str, str]]:
    """The same of what arguments and environment name, and of what lies beside the program."""
    names: list[str] = []
    with contextlib.suppress(OSError):
        directory = proc.name_of(tid, "cwd")
        for file in ("cmdline", "environ"):
            for word in proc.text(tid, file).split("\0"):
                names += [os.path.join(directory, text) for text in (word, word.partition("=")[2]) if text]
    with contextlib.suppress(OSError):
        beside = os.path.dirname(proc.name_of(tid, "exe"))
        directory_fd = proc.follow(tid, f"root{beside}", os.O_RDONLY | os.O_DIRECTORY)
        try:
            names += [os.path.join(beside, name) for name in os.listdir(directory_fd)[:_MOST_FILES]]
        finally:
            os.close(directory_fd)
    return ((name, f"root{name}") for name in names)


def opened(tid: int, name: str, place: str) -> Iterator[tuple[str, Read]]:
    """The file, if it is one: to be read until the next is asked for."""
    try:
        file = proc.follow(tid, place, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except (OSError, ValueError):
        return
    try:
        if stat.S_ISREG(os.fstat(file).st_mode):
            yield name, lambda at, size: os.pread(file, size, at) if at < _LARGEST else b""
    finally:
        os.close(file)
