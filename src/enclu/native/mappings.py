"""The mappings of a thread's memory, and which pages of private ones it has for itself.

Kernel: fs/proc/task_mmu.c; Documentation/admin-guide/mm/pagemap.rst.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import re
import struct
from array import array
from dataclasses import dataclass

from enclu.native import proc

PAGE_SHIFT, ENTRY_SIZE = 12, 8
_ESCAPED = re.compile(rb"\\(\d{3})")
_DELETED = b" (deleted)"
_CHUNK = 1 << 20
"""Entries of /proc/PID/pagemap that are read at once."""
_FILE, _SWAPPED, _PRESENT = 1 << 61, 1 << 62, 1 << 63
_SCAN = struct.Struct("<12Q")
"""struct pm_scan_arg."""
_REGION = struct.Struct("<3Q")
_PAGEMAP_SCAN = 0xC060_6610
_IS_FILE, _IS_PRESENT, _IS_SWAPPED = 1 << 2, 1 << 3, 1 << 4
_REGIONS = 1024


@dataclass(frozen=True)
class Mapping:
    """A line of /proc/PID/smaps, with its VmFlags."""

    start: int
    end: int
    permissions: str
    offset: int
    device: str
    inode: int
    name: bytes
    flags: frozenset[str]

    @property
    def of_file(self) -> bool:
        """It has one, be it a memfd or anonymous shared memory."""
        return self.inode != 0 or self.name.startswith(b"/")  # number 0 is one of shmget(2)'s

    @property
    def unlinked(self) -> bool:
        """No name leads to its file any more."""
        return self.name.endswith(_DELETED)

    @property
    def special(self) -> bool:
        """The kernel's own: [vdso] and its like, not [heap], [stack] or what the program has named."""
        return not self.of_file and self.name.startswith((b"[vdso", b"[vvar", b"[vsyscall", b"[uprobes"))


def of(tid: int) -> list[Mapping]:
    """All of them, in order.  Raises OSError."""
    found: list[Mapping] = []
    line_of: list[bytes] = []
    with os.fdopen(proc.follow(tid, "smaps", os.O_RDONLY), "rb") as smaps:  # bytes: a file's name may have "\r" in it
        for line in smaps:
            if line.startswith(b"VmFlags:"):
                found.append(_mapping(line_of, frozenset(line.decode().split()[1:])))
            elif not line[:1].isupper():  # the next mapping
                line_of = line.rstrip(b"\n").split(maxsplit=5)
    return found


def _mapping(fields: list[bytes], flags: frozenset[str]) -> Mapping:
    addresses, permissions, offset, device, inode, *rest = fields
    start, end = (int(bound, 16) for bound in addresses.split(b"-"))
    name = _ESCAPED.sub(lambda match: bytes([int(match[1], 8)]), rest[0]) if rest else b""
    return Mapping(start, end, permissions.decode(), int(offset, 16), device.decode(), int(inode), name, flags)


Runs = list[tuple[int, int]]


def own_pages(tid: int, start: int, end: int) -> Runs:
    """Runs of pages of a private mapping that are no file's: touched, where there is none; changed, where there is.

    Raises OSError.
    """
    return _pages(tid, start, end, not_of=_FILE)


def mapped_pages(tid: int, start: int, end: int) -> Runs:
    """Runs of pages of a mapping that the thread's memory has.  Raises OSError."""
    return _pages(tid, start, end, not_of=0)


def _pages(tid: int, start: int, end: int, not_of: int) -> Runs:
    pagemap = proc.follow(tid, "pagemap", os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # before Linux 6.7
            return _scanned(pagemap, start, end, _IS_FILE if not_of else 0)
        return _read(pagemap, start, end, not_of)
    finally:
        os.close(pagemap)


def _scanned(pagemap: int, start: int, end: int, not_of: int) -> Runs:
    """By PAGEMAP_SCAN, which takes time for what is there alone.  Raises OSError."""
    runs: Runs = []
    regions = ctypes.create_string_buffer(_REGION.size * _REGIONS)
    while start < end:
        request = bytearray(
            _SCAN.pack(_SCAN.size, 0, start, end, 0, ctypes.addressof(regions), _REGIONS, 0, not_of, not_of,
                       _IS_PRESENT | _IS_SWAPPED, _IS_PRESENT)
        )  # fmt: skip
        count = fcntl.ioctl(pagemap, _PAGEMAP_SCAN, request)
        before = start
        for low, high, _ in _REGION.iter_unpack(regions.raw[: count * _REGION.size]):
            _append(runs, low, high)
            start = high
        start = max(start, _SCAN.unpack(request)[4])  # walk_end, which may lie before what has been told already
        if start <= before:
            raise OSError(errno.EIO, "PAGEMAP_SCAN gets no further")
    return runs


def _read(pagemap: int, start: int, end: int, not_of: int) -> Runs:
    runs: Runs = []
    for low in range(start >> PAGE_SHIFT, end >> PAGE_SHIFT, _CHUNK):
        count = min(_CHUNK, (end >> PAGE_SHIFT) - low)
        data = os.pread(pagemap, count * ENTRY_SIZE, low * ENTRY_SIZE)
        if data.count(0) == len(data):
            continue
        for page, entry in enumerate(array("Q", data), low):
            if entry & (_PRESENT | _SWAPPED) and not entry & not_of:
                _append(runs, page << PAGE_SHIFT, page + 1 << PAGE_SHIFT)
    return runs


def _append(runs: Runs, low: int, high: int) -> None:
    if runs and runs[-1][1] == low:
        runs[-1] = runs[-1][0], high
    else:
        runs.append((low, high))
