"""What every enclave image is: a list of regions, which are pages in the order of EADD."""

from __future__ import annotations

import mmap
import os
import shlex
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from enclu.host.errors import HostError
from enclu.sgx.epc import PAGE_SIZE, PageType
from enclu.sgx.measurement import CHUNK, Measurement, eadd, ecreate, eextend
from enclu.sgx.structs import SECINFO, Attribute

if TYPE_CHECKING:
    from enclu.host.images.elf_file import Module

ALL_MEASURED, NOT_MEASURED = 0xFFFF, 0
"""Pages.measured: every 256-byte chunk is, or none."""
MAXIMUM_SIZE = 1 << 47
"""Bytes of ELRANGE: all addresses that user mode has."""
ADDED_LIMIT, MEASURED_LIMIT = 1 << 39, 1 << 34
"""Bytes of pages that images may declare to be added, and of those to be measured, without having them in the file;
what measuring takes is bounded.  There are enclaves with heaps of 100 GiB, and with 10 GiB of measured stacks."""
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

    def pages(self) -> Iterator[Pages]:
        step = len(self.content)
        for start in range(0, self.size, step):
            data = self.content[: min(step, self.size - start)]
            yield Pages(self.offset + start, data, self.flags, self.measured)


class Image(ABC):
    """An enclave image: what its loader would do with it, in that order."""

    format: str
    """elf, sgxs, intel-sdk or open-enclave."""
    size: int
    """Of ELRANGE; a power of two."""
    ssa_frame_size: int = 1
    """Pages."""
    misc_select: int = 0
    attributes: int = Attribute.MODE64BIT
    """For SECS.ATTRIBUTES; never with INIT."""
    xfrm: int = 3
    base: int | None = None
    """Where ELRANGE must start, if the image says so."""

    def __init__(self, path: Path, sigstruct: bytes | None = None) -> None:
        self.path = path
        self.sigstruct = sigstruct
        self._mrenclave: bytes | None = None

    @abstractmethod
    def regions(self) -> Iterator[Region]:
        """In the order of EADD; those that are not added, at the places where the image has them."""

    def pages(self) -> Iterator[Pages]:
        """In the order of EADD."""
        for region in self.regions():
            if region.added:
                yield from region.pages()

    @property
    def tcs(self) -> list[int]:
        """Offsets of TCSes, in the order of EADD."""
        return [
            offset
            for region in self.regions()
            if region.added and region.page_type == PageType.TCS
            for offset in range(region.offset, region.offset + region.size, PAGE_SIZE)
        ]

    @property
    def modules(self) -> Sequence[Module]:
        """The ELF files that it consists of, as far as that is known."""
        return ()

    @property
    def reserved(self) -> list[tuple[int, int]]:
        """(offset, size) of addresses without pages, which the enclave may fill with EAUG and EACCEPT."""
        return [(r.offset, r.size) for r in self.regions() if not r.added and r.flags]

    def measure(self, measurement: Measurement) -> None:
        """Append all that ECREATE, EADD and EEXTEND measure."""
        measurement.update(ecreate(self.ssa_frame_size, self.size))
        for run in self.pages():
            measure_pages(measurement, run)

    def mrenclave(self) -> bytes:
        """SHA-256 of all that is measured; found out once."""
        if self._mrenclave is None:
            measurement = Measurement()
            self.measure(measurement)
            self._mrenclave = measurement.digest()
        return self._mrenclave

    def how_to_sign(self) -> str:
        """What makes the SIGSTRUCT of an image that has none."""
        name = shlex.quote(str(self.path))
        return (
            f"`enclu sign {name} --key key.pem` makes it, with a key of `openssl genrsa -3 -out key.pem 3072`; "
            "or name a SIGSTRUCT file"
        )

    def error(self, field: str, value: object, wrong: str) -> ImageError:
        return ImageError(self.path, field, value, wrong)

    def check_size(self, field: str, size: int) -> None:
        if size < 2 * PAGE_SIZE or size & (size - 1):
            raise self.error(field, size, "ELRANGE must be a power of two, of two pages at least")
        if size > MAXIMUM_SIZE:
            raise self.error(field, size, f"there are {MAXIMUM_SIZE:#x} addresses")

    def check_regions(self) -> None:
        """Every region is of whole pages, inside ELRANGE, and those that are not in the file are bounded."""
        added = measured = 0
        for region in self.regions():
            end = region.offset + region.size
            if region.offset % PAGE_SIZE or region.size % PAGE_SIZE:
                raise self.error(region.name, region.offset, "not on a page's start, or not of whole pages")
            if end > self.size:
                raise self.error(region.name, end, f"ends beyond ELRANGE, which has {self.size:#x} bytes")
            if region.added and region.size > len(region.content):
                added += region.size
                measured += region.size if region.measured else 0
                if added > ADDED_LIMIT or measured > MEASURED_LIMIT:
                    raise self.error(region.name, region.size, "declares more memory than any enclave has")


def measure_pages(measurement: Measurement, run: Pages) -> None:
    """Append what EADD and EEXTEND of these pages measure."""
    secinfo = SECINFO.pack(FLAGS=run.flags)
    if run.measured == ALL_MEASURED:
        measurement.measure_pages(run.offset, secinfo, run.data)
    elif run.measured == NOT_MEASURED:
        measurement.add_pages(run.offset, len(run.data) // PAGE_SIZE, secinfo)
    else:
        for page in range(0, len(run.data), PAGE_SIZE):
            log = [eadd(run.offset + page, secinfo)]
            for i in range(16):
                if run.measured >> i & 1:
                    chunk = page + i * CHUNK
                    log.append(eextend(run.offset + chunk, run.data[chunk : chunk + CHUNK]))
            measurement.update(b"".join(log))


def size_for(end: int) -> int:
    """The smallest ELRANGE with `end` bytes."""
    size = PAGE_SIZE
    while size < end:
        size *= 2
    return size


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
