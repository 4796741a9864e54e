"""Shared objects signed by the Intel SGX SDK: ELF segments, and metadata that says what its loader adds.

Facts: intel/linux-sgx, common/inc/internal/metadata.h, psw/urts/loader.cpp, psw/urts/parser/elfparser.cpp.  A file
may have metadata for several versions of the loader, each with a layout and a SIGSTRUCT of its own.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from enclu.host.images import sdk_tables
from enclu.host.images.elf_file import (
    DT_JMPREL,
    DT_PLTRELSZ,
    DT_RELA,
    DT_RELASZ,
    DT_TEXTREL,
    ET_DYN,
    NHDR,
    ElfFile,
    Module,
    Segment,
)
from enclu.host.images.image import Finding, Image
from enclu.host.images.regions import ALL_MEASURED, NOT_MEASURED, TCS_FLAGS, ZEROS, Region, filled, map_file
from enclu.host.images.sdk_metadata import (
    EADD,
    EEXTEND,
    ELRANGE,
    EREMOVE,
    MAGIC,
    METADATA,
    NEWEST_MAJOR,
    PATCH_ENTRY,
    POST_ADD,
    TCS_DYN,
    VERSION_GAP,
    WITH_EXTRA_PAGE,
    Entry,
    Metadata,
)
from enclu.host.images.source import Source
from enclu.sgx.epc import PAGE_SIZE
from enclu.sgx.structs import TCS, Attribute

SECTION, NOTE_NAME = ".note.sgxmeta", b"sgx_metadata\0"
REBUILD = "build it anew with SGX_MODE=HW (sgx_trts and sgx_tservice in place of sgx_trts_sim and sgx_tservice_sim)"
"""What is to be done about an enclave of the simulation mode."""
TCS_POLICY_BIND = 0
EDMM_MAJOR = 3
"""Of the metadata's version, since the SDK has its present memory management."""


@dataclass(frozen=True)
class RunTime:
    """How memory and TCSes are managed while the enclave runs."""

    edmm: bool = False
    """By the enclave itself, with SGX2."""
    bind: bool = True
    """Threads of the application are bound to a TCS as long as they live."""
    dynamic_tcs: tuple[int, ...] = ()
    """Offsets of pages that the enclave makes TCSes of."""
    minimum_tcs: int = 0
    """So many of them are made before they are needed."""


class IntelSdkImage(Image):
    """A shared object that sgx_sign has signed."""

    format = "intel-sdk"

    @classmethod
    def read(cls, source: Source) -> Self | None:
        elf = source.elf
        if elf is None or elf.section(SECTION) is None:
            return None
        return cls(source.path, elf, source.sigstruct, source.metadata_version)

    def __init__(
        self, path: Path, elf: ElfFile, sigstruct: bytes | None, version: tuple[int, int] | None = None
    ) -> None:
        """The ELF file's content is changed, as the metadata's patches want it.  `version` chooses among several."""
        super().__init__(path)
        self._elf = elf
        if self._elf.type != ET_DYN:
            raise self.error("e_type", self._elf.type, "the SDK's enclaves are shared objects")
        self.all_metadata = self._read_metadata()
        self.metadata = self._choose(version)
        self.metadata.check()
        self.metadata_version = self.metadata.version
        self.sigstruct_position = self.metadata.sigstruct_position
        f = self.metadata.fields
        self.enclave_size: int = f["enclave_size"]
        self.size, self._shift = self.enclave_size, 0
        self.check_size("metadata.enclave_size", self.enclave_size)
        if self.metadata.version[0] > VERSION_GAP:
            self._read_elrange()
        self.ssa_frame_size = f["ssa_frame_size"]
        self.misc_select = f["desired_misc_select"]
        self.attributes = f["attributes"] & ~Attribute.INIT
        self.xfrm = f["xfrm"]
        self.tcs_policy: int = f["tcs_policy"]
        self.tcs_min_pool: int = f["tcs_min_pool"]
        self.sigstruct = sigstruct if sigstruct is not None else self.metadata.sigstruct
        self.entry: int = self._elf.entry
        self._entries = self.metadata.entries()
        self._writable = self._relocated_pages()
        second = self.metadata.shared_object()
        self._second: tuple[ElfFile, int] | None = None
        if second is not None:
            part = self._elf.slice(second["file_offset"], second["size"], "extend_entry_shared_object")
            self._second = ElfFile(path, part), second["mem_offset"]
        self._patch()
        self.check_regions()

    def other_versions(self) -> list[IntelSdkImage]:
        found = []
        for metadata in self.all_metadata:
            if metadata is not self.metadata:
                other = IntelSdkImage(self.path, ElfFile(self.path, map_file(self.path)), None, metadata.version)
                if other._measured_parts() == self._measured_parts():
                    other._mrenclave = self.mrenclave()
                found.append(other)
        return found

    def _measured_parts(self) -> list[object]:
        """What MRENCLAVE depends on, besides the file: other metadata often have the same."""
        metadata, parts = self.metadata, EADD | EEXTEND
        contents = [
            bytes(metadata.part(e.content_offset, e.content_size, e.name)) if e.content_offset else e.content_size
            for e in self._entries
        ]
        entries = [
            (e.attributes & parts, e.offset, e.pages, e.flags, content)
            for e, content in zip(self._entries, contents, strict=True)
            if e.attributes & EADD and e.flags
        ]
        patches = [
            (
                PATCH_ENTRY.get(raw, "dst"),
                bytes(self.metadata.part(PATCH_ENTRY.get(raw, "src"), PATCH_ENTRY.get(raw, "size"), "patch_entry")),
            )
            for raw in metadata.table("patch", PATCH_ENTRY)
        ]
        return [self.size, self._shift, self.ssa_frame_size, metadata.version == WITH_EXTRA_PAGE, entries, patches,
                metadata.shared_object()]  # fmt: skip

    @property
    def simulation(self) -> bool:
        """Built for the SDK's simulation mode: it does not execute ENCLU."""
        return "g_global_data_sim" in self._elf.dynamic_symbols

    @property
    def text_relocations(self) -> bool:
        """Code pages are writable, for relocations."""
        return bool(self._writable)

    @property
    def run_time(self) -> RunTime:
        """As the metadata has it."""
        bind = self.tcs_policy == TCS_POLICY_BIND
        if self.metadata.major != EDMM_MAJOR:
            return RunTime(bind=bind)
        made = tuple(self._shift + e.offset for e in self._entries if e.id == TCS_DYN and e.attributes & POST_ADD)
        return RunTime(True, bind, made, self.tcs_min_pool if made else 0)

    @property
    def removed(self) -> list[tuple[int, int]]:
        """(offset, size) of pages that are measured, and removed again before the enclave runs."""
        both = EADD | EREMOVE
        return [(self._shift + e.offset, e.pages * PAGE_SIZE) for e in self._entries if e.attributes & both == both]

    @property
    def tcs(self) -> list[int]:
        both = EADD | EREMOVE
        return [self._shift + e.offset for e in self._entries
                if e.flags == TCS_FLAGS and e.attributes & both == EADD]  # fmt: skip

    def findings(self) -> Iterator[Finding]:
        if self.text_relocations:
            yield Finding("text relocations", True, "relocations write to code pages, which therefore are writable")
        if self.simulation:
            yield Finding(
                "simulation", True, f"built for the SDK's simulation mode: it never executes ENCLU; {REBUILD}"
            )
        if self.reserved:
            yield Finding("dynamic", False, "adds pages at run time (EDMM), which are not measured")
        yield from super().findings()

    def details(self) -> dict[str, Any]:
        details = {
            "metadata": "{}.{}".format(*self.metadata.version),
            "other metadata": ["{}.{}".format(*m.version) for m in self.all_metadata if m is not self.metadata],
            "TCS policy": "unbound" if self.tcs_policy else "bound", "TCS minimum pool": self.tcs_min_pool,
            "simulation": self.simulation,
        }  # fmt: skip
        release, functions = sdk_tables.release(self.path), sdk_tables.read(self.path)
        if release is not None:
            details["SDK"] = ".".join(map(str, release))
        if functions is not None:
            details["ECALLs"] = [name or "?" for name in functions.ecalls]
            details["OCALLs"] = functions.ocalls or 0
        return details

    def _read_metadata(self) -> list[Metadata]:
        section = self._elf.section(SECTION)
        if section is None:
            raise self.error(SECTION, "missing", "the SDK's enclaves have this section")
        raw = self._elf.content(section)
        if len(raw) < NHDR.size + len(NOTE_NAME):
            raise self.error(f"{SECTION}, sh_size", len(raw), "too small for a note")
        note = NHDR.unpack(raw[: NHDR.size])
        if bytes(raw[NHDR.size : NHDR.size + note["n_namesz"]]) != NOTE_NAME:
            raise self.error(f"{SECTION}, n_namesz", note["n_namesz"], "the note is not called sgx_metadata")
        start = NHDR.size + len(NOTE_NAME)
        if start + note["n_descsz"] > len(raw):
            raise self.error(f"{SECTION}, n_descsz", note["n_descsz"], f"the section has {len(raw):#x} bytes")
        found, at, end = [], start, start + note["n_descsz"]
        while at + METADATA.size <= end and METADATA.get(raw, "magic_num", at) == MAGIC:
            size = METADATA.get(raw, "size", at)
            if size < METADATA.size or at + size > end:
                raise self.error("metadata.size", size, f"at least {METADATA.size:#x}, and {end - at:#x} at most")
            found.append(Metadata(memoryview(bytes(raw[at : at + size])), section.offset + at, self.error))
            at += size
        if not found:
            magic = METADATA.get(raw, "magic_num", start) if start + 8 <= len(raw) else 0
            raise self.error("metadata.magic_num", magic, f"not signed yet? {self.how_to_sign()}")
        return found

    def how_to_sign(self) -> str:
        """The SDK's tool lays out heap and threads, too, by what the configuration says."""
        name, signed = shlex.quote(str(self.path)), shlex.quote(str(self.path.with_suffix(".signed.so")))
        tool = f"`sgx_sign sign -enclave {name} -key KEY.pem -config CONFIG.xml -out {signed}` writes the metadata"
        return f"{tool}; before that, {REBUILD}, for it is of the simulation mode" if self.simulation else tool

    def _choose(self, version: tuple[int, int] | None) -> Metadata:
        """As the loader does: the highest version that is not 2.x, which only loaders of its time take."""
        if version is not None:
            for metadata in self.all_metadata:
                if metadata.version == version:
                    return metadata
            there = ", ".join("{}.{}".format(*m.version) for m in self.all_metadata)
            raise self.error("metadata.version", "{}.{}".format(*version), f"there are only {there}")
        usual = [m for m in self.all_metadata if m.major not in (0, 2) and m.major <= NEWEST_MAJOR]
        return max(usual or self.all_metadata, key=lambda m: m.version)

    def _read_elrange(self) -> None:
        entries = self.metadata.table("elrange", ELRANGE)
        if len(entries) != 1:
            raise self.error("metadata.dirs, elrange", len(entries), "one entry")
        e = ELRANGE.unpack(entries[0])
        start, image, size = e["elrange_start_address"], e["enclave_image_address"], e["elrange_size"]
        self.check_size("elrange_size", size)
        if start % size:
            raise self.error("elrange_start_address", start, f"not a multiple of elrange_size, {size:#x}")
        if image % PAGE_SIZE or not start <= image <= start + size - self.enclave_size:
            raise self.error("enclave_image_address", image, "the image does not lie in ELRANGE")
        self.size, self.base, self._shift = size, start, image - start

    def _relocated_pages(self) -> set[int]:
        """Page numbers that relocations write to, if there are any in the text: those pages are writable."""
        tags = dict(self._elf.dynamic)
        if DT_TEXTREL not in tags:
            return set()
        import numpy as np

        pages: set[int] = set()
        for table, size in ((DT_RELA, DT_RELASZ), (DT_JMPREL, DT_PLTRELSZ)):
            if table in tags:
                entries = self._elf.relocations(tags[table], tags.get(size, 0), f"dynamic entry {table}")
                offsets = entries[:, 0][entries[:, 1] & 0xFFFFFFFF != 0]
                across = offsets[offsets % PAGE_SIZE > PAGE_SIZE - 8] + 8
                pages.update(np.unique(np.concatenate((offsets, across)) // PAGE_SIZE).tolist())
        return pages

    def _patch(self) -> None:
        for raw in self.metadata.table("patch", PATCH_ENTRY):
            p = PATCH_ENTRY.unpack(raw)
            source = self.metadata.part(p["src"], p["size"], "patch_entry.src + size")
            self._elf.slice(p["dst"], p["size"], "patch_entry.dst + size")[:] = source

    @property
    def modules(self) -> tuple[Module, ...]:
        first = self._elf.module(self._shift)
        return (first,) if self._second is None else (first, self._second[0].module(self._second[1] + self._shift))

    @property
    def convention(self) -> str:
        return "sdk"

    def regions(self) -> Iterator[Region]:
        return (region.moved(self._shift) for region in self._image_regions())

    def _image_regions(self) -> Iterator[Region]:
        loads = [(self._elf, segment, 0) for segment in self._elf.loads]
        if self._second is not None:
            loads += [(self._second[0], segment, self._second[1]) for segment in self._second[0].loads]
        last: Segment | None = None
        for elf, segment, further in loads:
            if last is not None and self._extra_page(last, segment.vaddr & -PAGE_SIZE):
                yield self._page_after(last)
            if last is None or segment.vaddr > last.vaddr:
                last = segment
            name = f"segment {segment.index}"
            for region in elf.regions_of(segment, name, further):
                yield from self._with_relocations(region)
        if last is not None and self._extra_page(last, None):
            yield self._page_after(last)
        for entry in self._entries:
            yield from self._entry_regions(entry)

    def _extra_page(self, segment: Segment, following: int | None) -> bool:
        if self.metadata.version != WITH_EXTRA_PAGE:
            return False
        end = _round(segment.end)
        return end < _round(_round(segment.memsz) + segment.vaddr) and (following is None or end < following)

    def _page_after(self, segment: Segment) -> Region:
        return Region(f"segment {segment.index}", _round(segment.end), PAGE_SIZE, segment.secinfo_flags)

    def _with_relocations(self, region: Region) -> Iterator[Region]:
        """Cut where pages must be writable; what is not in the file has no relocations."""
        if not self._writable or region.flags & 2 or region.content is ZEROS:
            yield region
            return
        start = region.offset
        for page in range(region.offset, region.offset + region.size, PAGE_SIZE):
            following = page + PAGE_SIZE
            ends = following == region.offset + region.size
            if ends or (page // PAGE_SIZE in self._writable) != (following // PAGE_SIZE in self._writable):
                flags = region.flags | (2 if page // PAGE_SIZE in self._writable else 0)
                content = region.content[start - region.offset : following - region.offset]
                yield Region(region.name, start, following - start, flags, content=content)
                start = following

    def _entry_regions(self, entry: Entry) -> Iterator[Region]:
        size = entry.pages * PAGE_SIZE
        if not size:
            return
        if not entry.attributes & EADD or not entry.flags:
            yield Region(entry.name, entry.offset, size, entry.flags, NOT_MEASURED, added=False)
            return
        measured = ALL_MEASURED if entry.attributes & EEXTEND else NOT_MEASURED
        if not entry.content_offset:
            pattern = entry.content_size.to_bytes(4, "little") * (PAGE_SIZE // 4)
            content = filled(pattern) if entry.content_size else ZEROS
            yield Region(entry.name, entry.offset, size, entry.flags, measured, content)
            return
        raw = bytes(self.metadata.part(entry.content_offset, entry.content_size, entry.name))
        if entry.flags == TCS_FLAGS:
            page = bytearray(raw.ljust(PAGE_SIZE, b"\0"))
            for field in ("OSSA", "OFSBASE", "OGSBASE"):
                value = TCS.get(page, field) + entry.offset
                TCS.put(page, field, value % (1 << 64))
            yield Region(entry.name, entry.offset, size, entry.flags, measured, memoryview(bytes(page)))
            return
        # As segments are, these are measured whatever the attributes say.
        held = _round(len(raw))
        if held:
            yield Region(entry.name, entry.offset, held, entry.flags, content=memoryview(raw.ljust(held, b"\0")))
        if held < size:
            yield Region(entry.name, entry.offset + held, size - held, entry.flags)


def _round(size: int) -> int:
    return -(-size // PAGE_SIZE) * PAGE_SIZE
