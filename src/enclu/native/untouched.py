"""Memory of a program that it has never touched: it reads as zero, which is known without reading it.

To read a page that is not there the host kernel must look it up and put one of zeros in its place, each by itself;
/proc/PID/pagemap tells of all of them at once.  It tells less of other memory: of a file's pages that are not there, or
where a userfaultfd(2) supplies what is missing, nothing follows.  Kernel: Documentation/admin-guide/mm/pagemap.rst.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from enclu.native import proc

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE_SHIFT, ENTRY_SIZE = 12, 8
_NOTHING = bytes(ENTRY_SIZE)
_SOFT_DIRTY = (1 << 55).to_bytes(ENTRY_SIZE, "little")
"""The mapping is new: of a page that is not there, no more is said by it."""
_NAMES = (b"", b"[heap]", b"[stack]")
"""Of mappings without a file; others are the kernel's own, but for those that the program has named."""
_NAMED = b"[anon:"
_READABLE, _MISSING = b"rd", b"um"
"""VmFlags: VM_READ, VM_UFFD_MISSING."""


class Untouched:
    """What is known of [start, end) of a thread's memory: which parts a page that is not there can only be zeros of."""

    def __init__(self, tid: int, start: int, end: int) -> None:
        self._tid = tid
        try:
            self._zeros = [(low, high) for low, high in _anonymous(tid) if low < end and start < high]
        except OSError:  # gone, or not to be looked at
            self._zeros = []

    def __call__(self, start: int, end: int) -> bool:
        """Nothing has been stored in [start, end), whole pages, and nothing else is behind them."""
        if not any(low <= start and end <= high for low, high in self._zeros):
            return False
        count = end - start >> PAGE_SHIFT
        try:
            pagemap = proc.follow(self._tid, "pagemap", os.O_RDONLY)
        except OSError:
            return False
        try:
            entries = os.pread(pagemap, count * ENTRY_SIZE, (start >> PAGE_SHIFT) * ENTRY_SIZE)
        except OSError:
            return False
        finally:
            os.close(pagemap)
        return entries in (_NOTHING * count, _SOFT_DIRTY * count)


def _anonymous(tid: int) -> Iterator[tuple[int, int]]:
    """Bounds of the private mappings without a file that may be read and that nobody else supplies with pages."""
    bounds: tuple[int, int] | None = None
    with os.fdopen(proc.follow(tid, "smaps", os.O_RDONLY), "rb") as smaps:  # bytes: a file's name may have "\r" in it
        for line in smaps:
            if line.startswith(b"VmFlags:"):
                flags = line.split()
                if bounds is not None and _READABLE in flags and _MISSING not in flags:
                    yield bounds
            elif not line[:1].isupper():  # the next mapping
                addresses, permissions, _, device, inode, *rest = line.split(maxsplit=5)
                name = b"".join(rest).rstrip(b"\n")
                without_file = device == b"00:00" and inode == b"0" and (name in _NAMES or name.startswith(_NAMED))
                bounds = None
                if permissions[3:] == b"p" and without_file:
                    low, high = addresses.split(b"-")
                    bounds = int(low, 16), int(high, 16)
