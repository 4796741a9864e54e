"""SGXS streams: all that MRENCLAVE hashes, one after the other.  The format: fortanix/rust-sgx, doc/SGXS.md.

A stream is a list of records, each of 64 bytes; EEXTEND and UNMEASRD are followed by 256 bytes of data.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

from enclu.host.images.image import ALL_MEASURED, ZEROS, Image, Region
from enclu.sgx.epc import PAGE_SIZE, PageType
from enclu.sgx.layout import Structure
from enclu.sgx.measurement import BLOCK, CHUNK, PER_PAGE, Measurement
from enclu.sgx.structs import SIGSTRUCT

RECORD = Structure(
    "record", BLOCK, (0, "TAG", "8s"), (8, "OFFSET", "Q"), (16, "FLAGS", "Q"), (24, "REST", "40s"),
)  # fmt: skip
ECREATE_RECORD = Structure("ECREATE", BLOCK, (0, "TAG", "8s"), (8, "SSAFRAMESIZE", "I"), (12, "SIZE", "Q"))
ECREATE, EADD, EEXTEND = b"ECREATE\0", b"EADD\0\0\0\0", b"EEXTEND\0"
UNSIZED, UNMEASRD = b"UNSIZED\0", b"UNMEASRD"
SECINFO_KNOWN = 0xFF07
"""Bits of SECINFO.FLAGS that may be set for EADD: the page type, R, W and X."""


class _Page:
    """One EADD with what follows it."""

    __slots__ = ("chunks", "flags", "offset")

    def __init__(self, offset: int, flags: int) -> None:
        self.offset, self.flags = offset, flags
        self.chunks: dict[int, tuple[int, bool]] = {}
        """By position in the page: where the data is in the file, and whether it is measured."""


class SgxsImage(Image):
    """An enclave that is a stream of ECREATE, EADD and EEXTEND."""

    format = "sgxs"

    def __init__(self, path: Path, data: memoryview, sigstruct: bytes | None) -> None:
        super().__init__(path, sigstruct)
        self._data = data
        self.canonical = True
        """Pages and chunks in ascending order, nothing twice: see the format's description."""
        self._unmeasured: list[int] = []
        """Where UNMEASRD records begin."""
        self._pages = self._read()
        if sigstruct is not None:
            self.misc_select = SIGSTRUCT.get(sigstruct, "MISCSELECT")
            self.attributes = SIGSTRUCT.get(sigstruct, "ATTRIBUTES") & ~1
            self.xfrm = SIGSTRUCT.get(sigstruct, "XFRM")
        self.check_regions()

    def _read(self) -> list[_Page]:
        data = self._data
        if len(data) < BLOCK:
            raise self.error("size of the file", len(data), f"a stream begins with a record of {BLOCK} bytes")
        head = ECREATE_RECORD.unpack(data[:BLOCK])
        if head["TAG"] == UNSIZED:
            raise self.error("record 0, tag", "UNSIZED", "the enclave's size is not decided yet; it cannot be measured")
        if head["TAG"] != ECREATE:
            raise self.error("record 0, tag", head["TAG"], "a stream begins with ECREATE")
        if not ECREATE_RECORD.reserved_ok(data[:BLOCK]):
            raise self.error("record 0, ECREATE", bytes(data[20:BLOCK]).hex(), "reserved bytes must be zero")
        self.size, self.ssa_frame_size = head["SIZE"], head["SSAFRAMESIZE"]
        self.check_size("record 0, ECREATE.SIZE", self.size)
        if not self.ssa_frame_size:
            raise self.error("record 0, ECREATE.SSAFRAMESIZE", 0, "an SSA frame has a page at least")
        pages: dict[int, _Page] = {}
        at, last, current = BLOCK, -1, None
        while at < len(data):
            record, where = data[at : at + BLOCK], f"record at {at:#x}"
            if len(record) < BLOCK:
                raise self.error(where, len(record), f"the file ends within the record, which has {BLOCK} bytes")
            tag, offset = bytes(record[:8]), RECORD.get(record, "OFFSET")
            if tag == EADD:
                page = self._page(record, where)
                if offset in pages:
                    raise self.error(f"{where}, EADD.OFFSET", offset, "this page has been added before")
                self.canonical &= offset > last and not (page.flags >> 8 == PageType.TCS and page.flags & 7)
                pages[offset] = page
                last, current = offset, page
                at += BLOCK
            elif tag in (EEXTEND, UNMEASRD):
                self._chunk(at, where, tag, offset, pages, current)
                at += BLOCK + CHUNK
            else:
                raise self.error(f"{where}, tag", tag, "no tag of an SGX stream")
        return list(pages.values())

    def _page(self, record: memoryview, where: str) -> _Page:
        offset, flags = RECORD.get(record, "OFFSET"), RECORD.get(record, "FLAGS")
        if offset % PAGE_SIZE:
            raise self.error(f"{where}, EADD.OFFSET", offset, "not on a page's start")
        if offset >= self.size:
            raise self.error(f"{where}, EADD.OFFSET", offset, f"beyond ELRANGE, which has {self.size:#x} bytes")
        if flags & ~SECINFO_KNOWN or flags >> 8 not in (PageType.TCS, PageType.REG):
            raise self.error(f"{where}, SECINFO.FLAGS", flags, "EADD adds TCS and REG pages with R, W and X")
        if any(record[24:]):
            raise self.error(f"{where}, SECINFO", bytes(record[24:]).hex(), "reserved bytes must be zero")
        return _Page(offset, flags)

    def _chunk(
        self, at: int, where: str, tag: bytes, offset: int, pages: dict[int, _Page], current: _Page | None
    ) -> None:
        name = tag.rstrip(b"\0").decode()
        if at + BLOCK + CHUNK > len(self._data):
            raise self.error(where, name, f"the file ends within its {CHUNK} bytes of data")
        page = pages.get(offset & -PAGE_SIZE)
        if offset % CHUNK:
            raise self.error(f"{where}, {name}.OFFSET", offset, f"not a multiple of {CHUNK}")
        if page is None:
            raise self.error(f"{where}, {name}.OFFSET", offset, "no EADD has added this page")
        if any(self._data[at + 16 : at + BLOCK]):
            raise self.error(where, bytes(self._data[at + 16 : at + BLOCK]).hex(), "reserved bytes must be zero")
        within = offset % PAGE_SIZE
        if within in page.chunks:
            raise self.error(f"{where}, {name}.OFFSET", offset, "this chunk has been given before")
        self.canonical &= page is current
        page.chunks[within] = (at + BLOCK, tag == EEXTEND)
        if tag == UNMEASRD:
            self._unmeasured.append(at)

    @functools.cached_property
    def in_order(self) -> bool:
        """Every page's measured chunks ascend: pages() then measures as the stream does."""
        position = -1
        for page in self._pages:
            for _, (at, measured) in sorted(page.chunks.items()):
                if measured and at < position:
                    return False
                position = max(position, at) if measured else position
        return True

    def regions(self) -> Iterator[Region]:
        """Neighbours of one kind together."""
        run: list[_Page] = []
        for page in self._pages:
            if run and (len(run) == LONGEST_RUN or not _continues(run[-1], page)):
                yield self._region(run)
                run = []
            run.append(page)
        if run:
            yield self._region(run)

    def _region(self, run: list[_Page]) -> Region:
        flags, measured = run[0].flags, _measured(run[0])
        name = "TCS" if flags >> 8 == PageType.TCS else "pages"
        size = len(run) * PAGE_SIZE
        content = ZEROS
        if any(page.chunks for page in run):
            filled = bytearray(size)
            for i, page in enumerate(run):
                for within, (at, _) in page.chunks.items():
                    start = i * PAGE_SIZE + within
                    filled[start : start + CHUNK] = self._data[at : at + CHUNK]
            content = memoryview(filled).toreadonly()
        return Region(name, run[0].offset, size, flags, measured, content)

    def measure(self, measurement: Measurement) -> None:
        """The stream itself, without what is not measured."""
        start = 0
        for at in [*self._unmeasured, len(self._data)]:
            for position in range(start, at, 1 << 24):
                measurement.update(self._data[position : min(position + (1 << 24), at)])
            start = at + BLOCK + CHUNK


LONGEST_RUN = (1 << 24) // PER_PAGE
"""Pages; what a run takes in memory is bounded."""


def _measured(page: _Page) -> int:
    return sum(1 << within // CHUNK for within, (_, measured) in page.chunks.items() if measured)


def _continues(last: _Page, page: _Page) -> bool:
    """Pages of one kind, side by side."""
    if page.offset != last.offset + PAGE_SIZE or page.flags != last.flags:
        return False
    measured = _measured(page)
    return measured == _measured(last) and (measured == ALL_MEASURED or bool(page.chunks) == bool(last.chunks))
