"""Which file an enclave was loaded from: nobody tells, so files that may be it are compared with the enclave.

A file is one that the process has mapped or open, when the enclave is created or initialised, or that its arguments or
environment name, or that lies beside its program.  It is the enclave's if an executable segment of it is what the
enclave has there.  Nothing is brought back into the EPC for it: of what leaves it, some pages are kept in mind.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from enclu.base.elf import EHDR, PHDR, PT_LOAD
from enclu.base.events import EnclaveRemoved
from enclu.native import proc
from enclu.sgx.epc import PAGE_SIZE
from enclu.sgx.structs import Attribute

if TYPE_CHECKING:
    from enclu.base.listeners import Events
    from enclu.linux.encl import Encl
    from enclu.sgx.epc import EPCPage

PT_DYNAMIC, PF_X = 2, 1
X = 4
"""Of `EPCPage.rwx`."""
_MAGIC = b"\x7fELF\x02\x01"
MOST_FILES = 400
"""That are looked at, beside a program."""
SAMPLES = 16
"""Pages of a segment that are compared."""


@dataclass(frozen=True)
class Found:
    """A file, by what its addresses differ from the enclave's, and where its dynamic section is."""

    path: str
    bias: int
    dynamic: int


class Samples:
    """Code of debug enclaves that has left the EPC, some pages of each: what can still be compared."""

    def __init__(self, events: Events) -> None:
        self._pages: dict[int, dict[int, bytes]] = {}
        events.listen(self._removed, EnclaveRemoved)

    def _removed(self, event: EnclaveRemoved) -> None:
        self._pages.pop(event.eid, None)

    def take(self, pages: Iterable[EPCPage]) -> None:
        """They are about to be evicted."""
        for page in pages:
            secs = page.secs
            if secs is not None and page.rwx & X and secs.attributes & Attribute.DEBUG:
                taken = self._pages.setdefault(secs.eid, {})
                if len(taken) < SAMPLES:
                    taken[page.enclaveaddress & -PAGE_SIZE] = bytes(page.data)

    def at(self, encl: Encl, address: int) -> bytes | memoryview | None:
        """The page at an address, as it is or was."""
        page = encl.resident(address)
        return page.data if page is not None else self._pages.get(encl.eid, {}).get(address & -PAGE_SIZE)


def candidates(pid: int) -> Iterator[str]:
    """Paths of files that an enclave of the process may come from, the likeliest first."""
    with contextlib.suppress(OSError), proc.text(pid, "maps") as maps:
        yield from dict.fromkeys(name for line in maps if (name := line[73:].rstrip("\n")).startswith("/"))
    with contextlib.suppress(OSError):
        for fd in proc.descriptors(pid):
            with contextlib.suppress(OSError):
                yield proc.name_of(pid, f"fd/{fd}")
    directory = "/"
    with contextlib.suppress(OSError):
        directory = proc.name_of(pid, "cwd")
    for name in ("cmdline", "environ"):
        with contextlib.suppress(OSError):
            for word in proc.content(pid, name).decode(errors="surrogateescape").split("\0"):
                for text in (word, word.partition("=")[2]):
                    if text:
                        yield os.path.join(directory, text)
    with contextlib.suppress(OSError):
        beside = os.path.dirname(proc.name_of(pid, "exe"))
        yield from (entry.path for entry, _ in zip(os.scandir(beside), range(MOST_FILES), strict=False))


def match(path: str, encl: Encl, samples: Samples) -> Found | None:
    """The file as the enclave's, if it is."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            if os.pread(fd, len(_MAGIC), 0) != _MAGIC:
                return None
            with mmap.mmap(fd, 0, prot=mmap.PROT_READ) as data:
                return _match(path, data, encl, samples)
        finally:
            os.close(fd)
    except (OSError, ValueError, struct.error):
        return None


def _match(path: str, data: mmap.mmap, encl: Encl, samples: Samples) -> Found | None:
    header = EHDR.unpack_from(data)
    at, size, count = header[5], header[9], header[10]
    table = [PHDR.unpack_from(data, at + i * size) for i in range(count)]
    loads = [row for row in table if row[0] == PT_LOAD]
    if not loads:
        return None
    dynamic = next((row[3] for row in table if row[0] == PT_DYNAMIC), 0)
    lowest = min(row[3] for row in loads) & -PAGE_SIZE
    for bias in dict.fromkeys((encl.base - lowest, encl.base)):
        if any(_same(data, row, bias, encl, samples) for row in loads if row[1] & PF_X):
            return Found(path, bias, dynamic + bias if dynamic else 0)
    return None


def _same(data: mmap.mmap, load: tuple[int, ...], bias: int, encl: Encl, samples: Samples) -> bool:
    """What is compared of the segment is the same, and is not all zero."""
    offset, address, size = load[2], load[3], load[5]
    compared = 0
    at = 0
    while at < size and compared < SAMPLES:
        place = bias + address + at
        length = min(PAGE_SIZE - place % PAGE_SIZE, size - at)
        page = samples.at(encl, place) if encl.base <= place < encl.base + encl.size else None
        part = data[offset + at : offset + at + length]
        if page is not None and any(part):
            if page[place % PAGE_SIZE : place % PAGE_SIZE + length] != part:
                return False
            compared += 1
        at += length
    return compared > 0


def find(encl: Encl, paths: Iterable[str], samples: Samples) -> Found | None:
    """The first of these files that is the enclave's."""
    return next((found for path in dict.fromkeys(paths) if (found := match(path, encl, samples)) is not None), None)
