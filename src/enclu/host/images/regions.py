"""The parts of an enclave image, as every reader describes them, and what is wrong with a file."""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from enclu.host.errors import HostError
from enclu.sgx.epc import PageType

ALL_MEASURED, NOT_MEASURED = 0xFFFF, 0
"""Pages.measured: every 256-byte chunk is, or none."""
RUN = 1 << 20
"""Bytes of pages that are made at a time where a region repeats its content."""
TCS_FLAGS = PageType.TCS << 8
REG_R, REG_RW = PageType.REG << 8 | 1, PageType.REG << 8 | 3
ZEROS = memoryview(bytes(RUN))
"""Shared by everything that is zero."""


class ImageError(HostError):
    """An image that is damaged, or of a kind that is not known: the file, the field, its value, and what is wrong."""

    def __init__(self, path: Path, field: str, value: object, wrong: str) -> None:
        shown = hex(value) if isinstance(value, int) else str(value)
        super().__init__(f"{path}: {field} is {shown}: {wrong}")
        self.path, self.field, self.value = path, field, value


@dataclass(frozen=True)
class Pages:
    """A run of pages of one kind, in the order of EADD."""

    offset: int
    """Bytes from the start of ELRANGE."""
    data: memoryview
    """Whole pages; those that are zero may share one buffer."""
    flags: int
    """SECINFO.FLAGS, with the page type."""
    measured: int
    """A bit for each 256-byte chunk of every page that EEXTEND measures."""


@dataclass(frozen=True)
class Region:
    """A part of ELRANGE as the image describes it."""

    name: str
    offset: int
    size: int
    flags: int
    """SECINFO.FLAGS."""
    measured: int = ALL_MEASURED
    content: memoryview = ZEROS
    """Whole pages, repeated until `size` is full."""
    added: bool = True
    """The pages are in the image.  Otherwise there are addresses only: for EAUG if `flags` is not zero."""

    @property
    def page_type(self) -> int:
        return self.flags >> 8 & 0xFF

    @property
    def rights(self) -> str:
        """As `ls -l` has them."""
        return "".join(letter if self.flags >> bit & 1 else "-" for bit, letter in enumerate("rwx"))

    def moved(self, distance: int) -> Region:
        """The same, so many bytes further in ELRANGE."""
        return replace(self, offset=self.offset + distance)

    def pages(self) -> Iterator[Pages]:
        step = len(self.content)
        for start in range(0, self.size, step):
            data = self.content[: min(step, self.size - start)]
            yield Pages(self.offset + start, data, self.flags, self.measured)


def filled(pattern: bytes) -> memoryview:
    """A page's content, often enough to be a region's."""
    return memoryview(pattern * (RUN // len(pattern)))


def map_file(path: Path) -> memoryview:
    """The file, mapped: writes to it stay in memory."""
    try:
        # Without waiting for writers of a FIFO, which is none of ours anyway.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ImageError(path, "kind of file", oct(stat.S_IFMT(status.st_mode)), "not a regular file")
            if not status.st_size:
                raise ImageError(path, "size of the file", 0, "the file is empty")
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
    except OSError as error:
        raise ImageError(path, "file", "unreadable", error.strerror or str(error)) from None
