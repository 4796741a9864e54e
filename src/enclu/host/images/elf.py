"""Raw ELF images: those of Linux's SGX selftest, and our own.

Linux, tools/testing/selftests/sgx/load.c: the first PT_LOAD holds TCSes, the others ordinary pages, and one page of
heap follows, not measured.  Our own images say more: a PT_LOAD without permissions holds TCSes, wherever it is, and a
note says how much heap and how many addresses without pages follow.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from enclu.host.images.elf_file import PF_R, PF_W, ElfFile, Module, Segment
from enclu.host.images.image import Image, size_for
from enclu.host.images.regions import NOT_MEASURED, REG_RW, TCS_FLAGS, Region
from enclu.host.images.source import Source
from enclu.sgx.epc import PAGE_SIZE, PageType
from enclu.sgx.layout import Structure
from enclu.sgx.structs import TCS, Attribute

NOTE_NAME, NOTE_TYPE = b"enclu", 1
NOTE = Structure(
    "note", 40,
    (0, "HEAP_PAGES", "Q"), (8, "SPARE_PAGES", "Q"), (16, "ATTRIBUTES", "Q"), (24, "XFRM", "Q"),
    (32, "MISCSELECT", "I"), (36, "SSAFRAMESIZE", "I"),
)  # fmt: skip
"""The description of the note in section .note.enclu.  HEAP_PAGES: read-write pages after the image, not measured.
SPARE_PAGES: addresses after the heap, without pages.  The others are what SECS is to have."""
MAX_SSA_FRAME = 16
"""Pages; XSAVE areas are far smaller."""
SELFTEST_HEAP = PAGE_SIZE
"""ENCL_HEAP_SIZE_DEFAULT."""
TCS_ZERO = ("STATE", "CSSA", "AEP")
"""Fields that must be zero for EADD (SDM 3D section 35.8)."""


class ElfImage(Image):
    """An enclave that is an ELF file with TCSes in a segment; FILE.sig next to it has its SIGSTRUCT."""

    format = "elf"

    @classmethod
    def read(cls, source: Source) -> Self | None:
        return None if source.elf is None else cls(source.path, source.elf, source.sigstruct_beside())

    def __init__(self, path: Path, elf: ElfFile, sigstruct: bytes | None) -> None:
        super().__init__(path, sigstruct)
        self._elf = elf
        loads = self._elf.loads
        if not loads:
            raise self.error("e_phnum", len(self._elf.segments), "an enclave has PT_LOAD segments")
        note = next((d for n, t, d in self._elf.notes() if n == NOTE_NAME and t == NOTE_TYPE), None)
        if note is not None and len(note) != NOTE.size:
            raise self.error(".note.enclu, n_descsz", len(note), f"has {NOTE.size} bytes")
        self.own = note is not None or any(not s.flags & 7 for s in loads)
        """One of ours; otherwise the kernel's selftest."""
        self.fixes_secs = self.own
        self.heap_pages, self.spare_pages = 0 if self.own else 1, 0
        if note is not None:
            self._take(NOTE.unpack(note))
        if not self.own and loads[0].flags & 7 != PF_R | PF_W:
            raise self.error(
                f"program header {loads[0].index}, p_flags", loads[0].flags,
                "not an enclave: no segment holds TCSes, and there is neither .note.sgxmeta nor .oeinfo",
            )  # fmt: skip
        self._end = self._check_order(loads)
        self.size = size_for(self._end + (self.heap_pages + self.spare_pages) * PAGE_SIZE)
        self.check_size("heap and spare pages, with the segments", self.size)
        self._wish_what_is_signed()
        self.check_regions()
        self._check_tcs()

    def _take(self, note: dict[str, Any]) -> None:
        self.heap_pages, self.spare_pages = note["HEAP_PAGES"], note["SPARE_PAGES"]
        self.attributes = note["ATTRIBUTES"] & ~(Attribute.INIT | Attribute.DEBUG)
        self.xfrm, self.misc_select = note["XFRM"], note["MISCSELECT"]
        self.ssa_frame_size = note["SSAFRAMESIZE"]
        if not 1 <= self.ssa_frame_size <= MAX_SSA_FRAME:
            raise self.error(".note.enclu, SSAFRAMESIZE", self.ssa_frame_size, f"1 to {MAX_SSA_FRAME} pages")

    def _check_order(self, loads: list[Segment]) -> int:
        """The end of the last segment."""
        end = 0
        for segment in loads:
            name = f"program header {segment.index}, p_{'vaddr' if self.own else 'offset'}"
            start = self._start(segment)
            if start % PAGE_SIZE:
                raise self.error(name, start, "not on a page's start")
            if start < end:
                raise self.error(name, start, f"the segment before ends at {end:#x}")
            end = start + self._length(segment)
        return end

    def _start(self, segment: Segment) -> int:
        if self.own:
            return segment.vaddr
        return (segment.offset & -PAGE_SIZE) - (self._elf.loads[0].offset & -PAGE_SIZE)

    def _length(self, segment: Segment) -> int:
        return -(-(segment.memsz if self.own else segment.filesz) // PAGE_SIZE) * PAGE_SIZE

    @property
    def modules(self) -> tuple[Module, ...]:
        return (
            Module(
                self._elf, tuple((self._start(s) + s.offset % PAGE_SIZE * (not self.own), s) for s in self._elf.loads)
            ),
        )

    @property
    def convention(self) -> str:
        return "enclu" if self.own else super().convention

    def details(self) -> dict[str, Any]:
        return {"heap pages": self.heap_pages, "spare pages": self.spare_pages}

    def regions(self) -> Iterator[Region]:
        for position, segment in enumerate(self._elf.loads):
            yield from self._segment(segment, position)
        heap = self.heap_pages * PAGE_SIZE
        if heap:
            yield Region("heap", self._end, heap, REG_RW, NOT_MEASURED)
        if self.spare_pages:
            yield Region("spare", self._end + heap, self.spare_pages * PAGE_SIZE, REG_RW, NOT_MEASURED, added=False)

    def _segment(self, segment: Segment, position: int) -> Iterator[Region]:
        holds_tcs = not segment.flags & 7 if self.own else position == 0
        name = "TCS" if holds_tcs else f"segment {segment.index}"
        flags = TCS_FLAGS if holds_tcs else segment.secinfo_flags
        if self.own:
            for region in self._elf.regions_of(segment, name):
                yield Region(name, region.offset, region.size, flags, content=region.content)
            return
        # The selftest's loader adds the file's pages as they are, with whatever follows the segment in its last one.
        start, length = segment.offset & -PAGE_SIZE, self._length(segment)
        raw = self._elf.data[start : start + length]
        whole = len(raw) & -PAGE_SIZE
        if whole:
            yield Region(name, self._start(segment), whole, flags, content=raw[:whole])
        if whole < length:
            last = memoryview(bytes(raw[whole:]).ljust(PAGE_SIZE, b"\0"))
            yield Region(name, self._start(segment) + whole, PAGE_SIZE, flags, content=last)

    def _check_tcs(self) -> None:
        """What EADD checks, and EENTER would: an ordinary program has something else there."""
        for region in self.regions():
            if region.page_type != PageType.TCS:
                continue
            for run in region.pages():
                for at in range(0, len(run.data), PAGE_SIZE):
                    self._check_one_tcs(bytes(run.data[at : at + PAGE_SIZE]), run.offset + at)

    def _check_one_tcs(self, page: bytes, offset: int) -> None:
        tcs = TCS.unpack(page)
        where = f"TCS at {offset:#x}"
        for field in TCS_ZERO:
            if tcs[field]:
                raise self.error(f"{where}, {field}", tcs[field], "must be zero; not an enclave?")
        if not TCS.reserved_ok(page):
            raise self.error(f"{where}, reserved bytes", page.strip(b"\0")[:8].hex(), "must be zero; not an enclave?")
        for field in ("OSSA", "OFSBASE", "OGSBASE"):
            if tcs[field] % PAGE_SIZE:
                raise self.error(f"{where}, {field}", tcs[field], "not on a page's start; not an enclave?")
