"""What every enclave image is: a list of regions, which are pages in the order of EADD."""

from __future__ import annotations

import shlex
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from enclu.host.images.elf_file import Module
from enclu.host.images.regions import ALL_MEASURED, NOT_MEASURED, ImageError, Pages, Region
from enclu.host.images.source import Source
from enclu.sgx.epc import PAGE_SIZE, PageType
from enclu.sgx.measurement import CHUNK, Measurement, eadd, ecreate, eextend
from enclu.sgx.structs import SECINFO, SIGSTRUCT, Attribute

MAXIMUM_SIZE = 1 << 47
"""Bytes of ELRANGE: all addresses that user mode has."""
ADDED_LIMIT, MEASURED_LIMIT = 1 << 39, 1 << 34
"""Bytes of pages that images may declare to be added, and of those to be measured, without having them in the file;
what measuring takes is bounded.  There are enclaves with heaps of 100 GiB, and with 10 GiB of measured stacks."""
ALL_64, ALL_32 = (1 << 64) - 1, (1 << 32) - 1


@dataclass(frozen=True)
class Finding:
    """Something that weakens an enclave, or, if it is not `serious`, that is worth knowing."""

    name: str
    serious: bool
    text: str


class Image(ABC):
    """An enclave image: what its loader would do with it, in that order.

    Whatever depends on the format is asked of the image; who asks knows no formats.
    """

    format: str
    """The format's name."""
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
    fixes_secs: bool = True
    """The loader takes SECS's attributes from the image, not from the SIGSTRUCT."""
    debug: bool | None = None
    """Whether it is to be a debug enclave, if the image says so."""
    sigstruct_position: int | None = None
    """Of the SIGSTRUCT in the file; None if it is in a file of its own."""
    metadata_version: tuple[int, int] | None = None
    """Of a file with metadata for loaders of several versions: which one this is."""

    def __init__(self, path: Path, sigstruct: bytes | None = None) -> None:
        self.path = path
        self.sigstruct = sigstruct
        self._mrenclave: bytes | None = None

    @classmethod
    @abstractmethod
    def read(cls, source: Source) -> Self | None:
        """The image in a file, None if that is of another format.  Raises ImageError."""

    @property
    def convention(self) -> str:
        """How its enclaves are called unless somebody says otherwise: a name of `convention.NAMES`."""
        return "registers"

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

    def protection(self, offset: int) -> int:
        """PROT_* with which the page at an offset is mapped: a TCS, and what the enclave may add, to read and write."""
        for region in self.regions():
            if region.offset <= offset < region.offset + region.size:
                return 3 if not region.added or region.page_type == PageType.TCS else region.flags & 7
        return 0

    def other_versions(self) -> Sequence[Image]:
        """The image as older or newer loaders have it, by other metadata of the same file."""
        return ()

    def sigstruct_fields(self) -> dict[str, Any]:
        """SIGSTRUCT's fields, as far as a new one depends on the image: what it wants to be, exactly."""
        return {
            "MISCSELECT": self.misc_select, "MISCMASK": ALL_32, "XFRM": self.xfrm, "XFRMMASK": ALL_64,
            "ATTRIBUTES": self.attributes & ~Attribute.DEBUG, "ATTRIBUTEMASK": ALL_64 & ~Attribute.DEBUG,
        }  # fmt: skip

    def findings(self) -> Iterator[Finding]:
        """What there is to say about images of this format alone."""
        if self.base is not None:
            yield Finding("fixed address", False, f"ELRANGE must begin at {self.base:#x}")

    def details(self) -> dict[str, Any]:
        """What only images of this format have, by its name for people."""
        return {}

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

    def _wish_what_is_signed(self) -> None:
        """SECS is to have what the SIGSTRUCT says, if there is one."""
        if self.sigstruct is not None:
            self.misc_select = SIGSTRUCT.get(self.sigstruct, "MISCSELECT")
            self.attributes = SIGSTRUCT.get(self.sigstruct, "ATTRIBUTES") & ~Attribute.INIT
            self.xfrm = SIGSTRUCT.get(self.sigstruct, "XFRM")

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
