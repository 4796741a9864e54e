"""SGXS streams: all that MRENCLAVE hashes, one after the other.  The format: fortanix/rust-sgx, doc/SGXS.md.

A stream is a list of records, each of 64 bytes; EEXTEND and UNMEASRD are followed by 256 bytes of data.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from enclu.base.workers import worker
from enclu.host.images.edp import is_edp
from enclu.host.images.image import Finding, Image
from enclu.host.images.regions import ALL_MEASURED, ZEROS, Region
from enclu.host.images.source import Source
from enclu.sgx.epc import PAGE_SIZE, PageType
from enclu.sgx.layout import Structure
from enclu.sgx.measurement import BLOCK, CHUNK, HASHER, PER_PAGE, Measurement

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RECORD = Structure(
    "record", BLOCK, (0, "TAG", "8s"), (8, "OFFSET", "Q"), (16, "FLAGS", "Q"), (24, "REST", "40s"),
)  # fmt: skip
ECREATE_RECORD = Structure("ECREATE", BLOCK, (0, "TAG", "8s"), (8, "SSAFRAMESIZE", "I"), (12, "SIZE", "Q"))
ECREATE, EADD, EEXTEND = b"ECREATE\0", b"EADD\0\0\0\0", b"EEXTEND\0"
UNSIZED, UNMEASRD = b"UNSIZED\0", b"UNMEASRD"
SHORT_RUN, BATCH, LONGEST_RUN = 4, 256, (1 << 24) // PER_PAGE
"""Pages that are looked at together: what a run takes in memory and time is bounded."""
STEP, WORTH_A_THREAD = 1 << 22, 1 << 20
"""Bytes: hashed at a time, and of a file that is worth to be hashed while it is read."""
SECINFO_KNOWN = 0xFF07
"""Bits of SECINFO.FLAGS that may be set for EADD: the page type, R, W and X."""


class _Page:
    """One EADD with what follows it."""

    __slots__ = ("chunks", "flags", "offset")

    def __init__(self, offset: int, flags: int) -> None:
        self.offset, self.flags = offset, flags
        self.chunks: dict[int, tuple[int, bool]] = {}
        """By position in the page: where the data is in the file, and whether it is measured."""


@dataclass(frozen=True)
class _Full:
    """Pages side by side, all of whose chunks are measured in order; `at` is where the first EADD is in the file."""

    offset: int
    pages: int
    flags: int
    at: int


class _HashAhead:
    """Hashes a stream in the background, while it is read: most have nothing that is not measured."""

    def __init__(self, data: memoryview) -> None:
        self._data, self._stopped = data, False
        self._hash = hashlib.sha256()
        self._done = worker(HASHER).submit(self._run)

    def _run(self) -> None:
        for at in range(0, len(self._data), STEP):
            if self._stopped:
                return
            self._hash.update(self._data[at : at + STEP])

    def stop(self) -> None:
        self._stopped = True

    def result(self) -> hashlib._Hash:
        """Of all of it."""
        self._done.result()
        return self._hash.copy()


class SgxsImage(Image):
    """An enclave that is a stream of ECREATE, EADD and EEXTEND."""

    format = "sgxs"
    fixes_secs = False

    @classmethod
    def read(cls, source: Source) -> Self | None:
        known = source.data[:8] in (ECREATE, UNSIZED)
        return cls(source.path, source.data, source.sigstruct_beside()) if known else None

    def __init__(self, path: Path, data: memoryview, sigstruct: bytes | None) -> None:
        super().__init__(path, sigstruct)
        self._data = data
        self.canonical = True
        """Pages and chunks in ascending order, nothing twice: see the format's description."""
        self._unmeasured: list[int] = []
        """Where UNMEASRD records begin."""
        ahead = _HashAhead(data) if len(data) > WORTH_A_THREAD else None
        try:
            self._parts = self._read()
        finally:
            if ahead is not None and (self._unmeasured or not hasattr(self, "_parts")):
                ahead.stop()
                ahead = None
        self._ahead = ahead
        self._wish_what_is_signed()

    def _read(self) -> list[_Page | _Full]:
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
        pages: dict[int, _Page | _Full] = {}
        parts: list[_Page | _Full] = []
        at, last, current = BLOCK, -1, None
        while at < len(data):
            record, where = data[at : at + BLOCK], f"record at {at:#x}"
            if len(record) < BLOCK:
                raise self.error(where, len(record), f"the file ends within the record, which has {BLOCK} bytes")
            tag = bytes(record[:8])
            if tag == EADD:
                page = self._page(record, where)
                count = self._full_pages(at)
                offsets = range(page.offset, page.offset + max(count, 1) * PAGE_SIZE, PAGE_SIZE)
                for offset in offsets:
                    if offset in pages:
                        raise self.error(f"{where}, EADD.OFFSET", offset, "this page has been added before")
                part = _Full(page.offset, count, page.flags, at) if count else page
                self.canonical &= offsets[0] > last and not (page.flags >> 8 == PageType.TCS and page.flags & 7)
                pages |= dict.fromkeys(offsets, part)
                parts.append(part)
                last, current = offsets[-1], part
                at += count * PER_PAGE or BLOCK
            elif tag in (EEXTEND, UNMEASRD):
                self._chunk(at, where, tag, pages, current)
                at += BLOCK + CHUNK
            else:
                raise self.error(f"{where}, tag", tag, "no tag of an SGX stream")
        return parts

    def _full_pages(self, at: int) -> int:
        """How many pages, from the EADD at `at` on, are side by side, of one kind, and measured whole and in order."""
        end = min(LONGEST_RUN, (len(self._data) - at) // PER_PAGE)
        count, step = 0, SHORT_RUN
        while count < end:
            pages = min(step, end - count)
            found = self._matching(at, count, pages)
            count, step = count + found, BATCH
            if found < pages:
                break
        return count

    def _matching(self, at: int, before: int, pages: int) -> int:
        """Of so many pages, `before` pages after the EADD at `at`: how many continue what begins there."""
        import numpy as np

        start, offset = at + before * PER_PAGE, RECORD.get(self._data, "OFFSET", at) + before * PAGE_SIZE
        words = np.frombuffer(self._data[start : start + pages * PER_PAGE], "<u8").reshape(pages, PER_PAGE // 8)
        chunks = words[:, 8:].reshape(pages, PAGE_SIZE // CHUNK, (BLOCK + CHUNK) // 8)[:, :, :8]
        wanted_adds, wanted_chunks, from_zero = _headers()
        adds, extends = wanted_adds[:pages], wanted_chunks[:pages]
        adds[:, 1] = from_zero[:pages, 0] + np.uint64(offset)
        adds[:, 2] = RECORD.get(self._data, "FLAGS", at)
        extends[:, :, 1] = from_zero[:pages] + np.uint64(offset)
        right = (words[:, :8] == adds).all(axis=1) & (adds[:, 1] < self.size)
        if right.all() and np.array_equal(chunks, extends):
            return pages
        right &= (chunks == extends).all(axis=(1, 2))
        return pages if right.all() else int(right.argmin())

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
        self, at: int, where: str, tag: bytes, pages: dict[int, _Page | _Full], current: _Page | _Full | None
    ) -> None:
        name, offset = tag.rstrip(b"\0").decode(), RECORD.get(self._data, "OFFSET", at)
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
        if isinstance(page, _Full) or within in page.chunks:
            raise self.error(f"{where}, {name}.OFFSET", offset, "this chunk has been given before")
        self.canonical &= page is current
        page.chunks[within] = (at + BLOCK, tag == EEXTEND)
        if tag == UNMEASRD:
            self._unmeasured.append(at)

    @functools.cached_property
    def in_order(self) -> bool:
        """Every page's measured chunks ascend: pages() then measures as the stream does."""
        position = -1
        for page in self._parts:
            if isinstance(page, _Full):
                continue
            for _, (at, measured) in sorted(page.chunks.items()):
                if measured and at < position:
                    return False
                position = max(position, at) if measured else position
        return True

    @property
    def tcs(self) -> list[int]:
        found: list[int] = []
        for part in self._parts:
            if part.flags >> 8 == PageType.TCS:
                pages = part.pages if isinstance(part, _Full) else 1
                found += range(part.offset, part.offset + pages * PAGE_SIZE, PAGE_SIZE)
        return found

    @property
    def convention(self) -> str:
        return "edp" if is_edp(self) else super().convention

    def findings(self) -> Iterator[Finding]:
        if not self.canonical:
            yield Finding("not canonical", False, "the stream's pages or chunks are not in ascending order")
        yield from super().findings()

    def details(self) -> dict[str, Any]:
        return {"canonical": self.canonical}

    def regions(self) -> Iterator[Region]:
        """Neighbours of one kind together."""
        run: list[_Page] = []
        for part in self._parts:
            if run and (isinstance(part, _Full) or len(run) == LONGEST_RUN or not _continues(run[-1], part)):
                yield self._region(run)
                run = []
            if isinstance(part, _Full):
                yield self._full_region(part)
            else:
                run.append(part)
        if run:
            yield self._region(run)

    def _full_region(self, part: _Full) -> Region:
        import numpy as np

        raw = np.frombuffer(self._data[part.at : part.at + part.pages * PER_PAGE], np.uint8)
        chunks = raw.reshape(part.pages, PER_PAGE)[:, BLOCK:].reshape(part.pages, PAGE_SIZE // CHUNK, BLOCK + CHUNK)
        content = np.ascontiguousarray(chunks[:, :, BLOCK:]).reshape(-1).data.toreadonly()
        return Region(_name(part.flags), part.offset, part.pages * PAGE_SIZE, part.flags, content=content)

    def _region(self, run: list[_Page]) -> Region:
        flags, measured = run[0].flags, _measured(run[0])
        size = len(run) * PAGE_SIZE
        content = ZEROS
        if any(page.chunks for page in run):
            filled = bytearray(size)
            for i, page in enumerate(run):
                for within, (at, _) in page.chunks.items():
                    start = i * PAGE_SIZE + within
                    filled[start : start + CHUNK] = self._data[at : at + CHUNK]
            content = memoryview(filled).toreadonly()
        return Region(_name(flags), run[0].offset, size, flags, measured, content)

    def measure(self, measurement: Measurement) -> None:
        """The stream itself, without what is not measured."""
        if self._ahead is not None:
            measurement.take(self._ahead.result())
            return
        start = 0
        for at in [*self._unmeasured, len(self._data)]:
            for position in range(start, at, STEP):
                measurement.update(self._data[position : min(position + STEP, at)])
            start = at + BLOCK + CHUNK


@functools.cache
def _headers() -> tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.uint64]]:
    """Of BATCH pages: the EADD records and the EEXTEND records, as words, to be completed; and the chunks' offsets."""
    import numpy as np

    adds, chunks = np.zeros((BATCH, 8), "<u8"), np.zeros((BATCH, PAGE_SIZE // CHUNK, 8), "<u8")
    adds[:, 0], chunks[:, :, 0] = int.from_bytes(EADD, "little"), int.from_bytes(EEXTEND, "little")
    offsets = np.arange(0, BATCH * PAGE_SIZE, CHUNK, dtype="<u8").reshape(BATCH, PAGE_SIZE // CHUNK)
    return adds, chunks, offsets


def _name(flags: int) -> str:
    return "TCS" if flags >> 8 == PageType.TCS else "pages"


def _measured(page: _Page) -> int:
    return sum(1 << within // CHUNK for within, (_, measured) in page.chunks.items() if measured)


def _continues(last: _Page, page: _Page) -> bool:
    """Pages of one kind, side by side."""
    if page.offset != last.offset + PAGE_SIZE or page.flags != last.flags:
        return False
    measured = _measured(page)
    return measured == _measured(last) and (measured == ALL_MEASURED or bool(page.chunks) == bool(last.chunks))
