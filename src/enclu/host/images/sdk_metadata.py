"""The metadata that the Intel SDK's tool writes into an enclave: what its loader adds, of one version.

Facts: intel/linux-sgx, common/inc/internal/metadata.h, psw/urts/loader.cpp.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from enclu.host.images.regions import TCS_FLAGS, ImageError
from enclu.sgx.epc import PAGE_SIZE, PageType
from enclu.sgx.layout import Structure
from enclu.sgx.structs import SIGSTRUCT, TCS

MAGIC = 0x86A80294635D0E4C
METADATA = Structure(
    "metadata", 1904,
    (0, "magic_num", "Q"), (8, "version", "Q"), (16, "size", "I"), (20, "tcs_policy", "I"),
    (24, "ssa_frame_size", "I"), (28, "max_save_buffer_size", "I"), (32, "desired_misc_select", "I"),
    (36, "tcs_min_pool", "I"), (40, "enclave_size", "Q"), (48, "attributes", "Q"), (56, "xfrm", "Q"),
    (64, "enclave_css", f"{SIGSTRUCT.size}s"), (1872, "patch_offset", "I"), (1876, "patch_size", "I"),
    (1880, "layout_offset", "I"), (1884, "layout_size", "I"), (1888, "elrange_offset", "I"),
    (1892, "elrange_size", "I"), (1896, "extend_offset", "I"), (1900, "extend_size", "I"),
)  # fmt: skip
LAYOUT_ENTRY = Structure(
    "layout_entry", 32,
    (0, "id", "H"), (2, "attributes", "H"), (4, "page_count", "I"), (8, "rva", "Q"), (16, "content_size", "I"),
    (20, "content_offset", "I"), (24, "si_flags", "Q"),
)  # fmt: skip
LAYOUT_GROUP = Structure(
    "layout_group", 32, (0, "id", "H"), (2, "entry_count", "H"), (4, "load_times", "I"), (8, "load_step", "Q")
)
PATCH_ENTRY = Structure("patch_entry", 32, (0, "dst", "Q"), (8, "src", "I"), (12, "size", "I"))
EXTEND_ENTRY = Structure("extend_entry", 16, (0, "entry_id", "I"), (4, "size", "I"), (8, "offset", "I"))
SHARED_OBJECT = Structure(
    "extend_entry_shared_object", 32, (0, "file_offset", "Q"), (8, "mem_offset", "Q"), (16, "size", "Q")
)
ELRANGE = Structure(
    "elrange_config_entry", 24,
    (0, "enclave_image_address", "Q"), (8, "elrange_start_address", "Q"), (16, "elrange_size", "Q"),
)  # fmt: skip

NAMES = {
    1: "heap, minimum", 2: "heap, initial", 3: "heap, maximum", 4: "TCS", 5: "thread data", 6: "SSA",
    7: "stack, maximum", 8: "stack, minimum", 10: "guard", 11: "dynamic heap, minimum", 12: "dynamic heap, initial",
    13: "dynamic heap, maximum", 14: "dynamic TCS", 15: "dynamic thread data", 16: "dynamic SSA",
    17: "dynamic stack, maximum", 18: "dynamic stack, minimum", 20: "reserved memory, minimum",
    21: "reserved memory, initial", 22: "reserved memory, maximum", 23: "user region",
}  # fmt: skip
"""Of layout entries, by id."""
TCS_DYN = 14
GROUP = 1 << 12
EADD, EEXTEND, EREMOVE, POST_ADD = 1 << 0, 1 << 1, 1 << 2, 1 << 3
"""Attributes of layout entries."""
EXTEND_SHARED_OBJECT = 0x1002
VERSION_GAP = 10
"""Added to the major version if the image says where ELRANGE is."""
NEWEST_MAJOR = 3
WITH_EXTRA_PAGE = (1, 3)
"""The version of SDK 1.5, which adds a page after segments whose size ends shortly before a page does."""
SI_FLAGS_KNOWN = 0xFF07
FRAME_SIZES = range(1, 5)
MOST_ENTRIES = 1 << 17
"""Layout entries after groups have been repeated; more than any enclave has threads."""


@dataclass(frozen=True)
class Entry:
    """A layout entry, at its place."""

    id: int
    attributes: int
    offset: int
    pages: int
    flags: int
    content_size: int
    content_offset: int

    @property
    def name(self) -> str:
        return NAMES.get(self.id, f"layout entry {self.id}")


class Metadata:
    """One metadata_t: `data` is all of it, `position` where it is in the file; `error` makes what is raised."""

    def __init__(self, data: memoryview, position: int, error: Callable[[str, object, str], ImageError]) -> None:
        self.data, self.position = data, position
        self.fields: dict[str, Any] = METADATA.unpack(data[: METADATA.size])
        version = self.fields["version"]
        self.version = (version >> 32, version & 0xFFFFFFFF)
        self.sigstruct: bytes = self.fields["enclave_css"]
        self._error = error

    @property
    def major(self) -> int:
        major: int = self.version[0] % VERSION_GAP
        return major

    @property
    def sigstruct_position(self) -> int:
        """In the file."""
        return self.position + METADATA.offset("enclave_css")

    @property
    def extended(self) -> bool:
        """Has a directory of extensions."""
        return self.version >= (self.version[0], {1: 5, 3: 2}.get(self.major, 1 << 32))

    def check(self) -> None:
        """What the loader checks before it uses the directories."""
        f = self.fields
        if self.major > NEWEST_MAJOR or not self.major:
            raise self._error("metadata.version", "{}.{}".format(*self.version), "no version that is known")
        if self.major == 1 and self.version[1] < WITH_EXTRA_PAGE[1]:
            raise self._error("metadata.version", "{}.{}".format(*self.version), "of an SDK before 1.5, not known")
        if f["tcs_policy"] > 1:
            raise self._error("metadata.tcs_policy", f["tcs_policy"], "0 binds threads to TCSes, 1 does not")
        if f["ssa_frame_size"] not in FRAME_SIZES:
            raise self._error("metadata.ssa_frame_size", f["ssa_frame_size"], "1 to 4 pages")

    def part(self, offset: int, size: int, field: str) -> memoryview:
        if offset + size > len(self.data):
            raise self._error(field, offset + size, f"beyond the metadata, which has {len(self.data):#x} bytes")
        return self.data[offset : offset + size]

    def table(self, name: str, entry: Structure) -> list[memoryview]:
        """The entries of a directory."""
        size = self.fields[f"{name}_size"]
        data = self.part(self.fields[f"{name}_offset"], size, f"metadata.dirs, {name}")
        if size % entry.size:
            raise self._error(f"metadata.dirs, {name}, size", size, f"entries have {entry.size} bytes")
        return [data[at : at + entry.size] for at in range(0, size, entry.size)]

    def shared_object(self) -> dict[str, int] | None:
        """A second ELF file, which lies in the first one."""
        for raw in self.table("extend", EXTEND_ENTRY) if self.extended else []:
            entry = EXTEND_ENTRY.unpack(raw)
            if entry["entry_id"] == EXTEND_SHARED_OBJECT:
                return SHARED_OBJECT.unpack(self.part(entry["offset"], SHARED_OBJECT.size, "extend_entry.offset"))
        return None

    def entries(self) -> list[Entry]:
        """The layout, groups repeated, in the order of loading."""
        table = self.table("layout", LAYOUT_ENTRY)
        found: list[Entry] = []
        for i, raw in enumerate(table):
            if not LAYOUT_ENTRY.get(raw, "id") & GROUP:
                found.append(self._entry(raw, i, 0))
                continue
            group, name = LAYOUT_GROUP.unpack(raw), f"layout_group {i}"
            if group["entry_count"] > i:
                raise self._error(f"{name}.entry_count", group["entry_count"], f"there are {i} entries before it")
            if group["load_times"] * group["entry_count"] > MOST_ENTRIES:
                raise self._error(f"{name}.load_times", group["load_times"], "more threads than any enclave has")
            members = table[i - group["entry_count"] : i]
            for times in range(1, group["load_times"] + 1):
                for j, member in enumerate(members, i - group["entry_count"]):
                    if LAYOUT_ENTRY.get(member, "id") & GROUP:
                        raise self._error(f"{name}.entry_count", group["entry_count"], "a group within a group")
                    found.append(self._entry(member, j, times * group["load_step"]))
            if len(found) > MOST_ENTRIES:
                raise self._error(f"{name}.load_times", group["load_times"], "more threads than any enclave has")
        self._check_places(found)
        return found

    def _entry(self, raw: memoryview, index: int, further: int) -> Entry:
        e, name = LAYOUT_ENTRY.unpack(raw), f"layout_entry {index}"
        if e["si_flags"] & ~SI_FLAGS_KNOWN:
            raise self._error(f"{name}.si_flags", e["si_flags"], "bits that SECINFO.FLAGS does not have")
        if e["attributes"] & EADD and e["si_flags"] and e["si_flags"] >> 8 not in (PageType.TCS, PageType.REG):
            raise self._error(f"{name}.si_flags", e["si_flags"], "EADD adds TCS and REG pages")
        if e["content_offset"]:
            self.part(e["content_offset"], e["content_size"], f"{name}.content_offset + content_size")
            room = PAGE_SIZE if e["si_flags"] == TCS_FLAGS else e["page_count"] * PAGE_SIZE
            if e["content_size"] > room:
                raise self._error(f"{name}.content_size", e["content_size"], f"the entry has {room:#x} bytes")
            if e["si_flags"] == TCS_FLAGS and e["content_size"] < TCS.offset("GSLIMIT") + 4:
                raise self._error(f"{name}.content_size", e["content_size"], "less than a TCS has")
        return Entry(e["id"], e["attributes"], e["rva"] + further, e["page_count"], e["si_flags"], e["content_size"],
                     e["content_offset"])  # fmt: skip

    def _check_places(self, entries: list[Entry]) -> None:
        size, end, before = self.fields["enclave_size"], 0, "the enclave's start"
        for entry in sorted(entries, key=lambda e: (e.offset, e.pages)):
            if entry.offset % PAGE_SIZE:
                raise self._error(f"{entry.name}, rva", entry.offset, "not on a page's start")
            if entry.offset < end:
                raise self._error(f"{entry.name}, rva", entry.offset, f"overlaps {before}, which ends at {end:#x}")
            end, before = entry.offset + entry.pages * PAGE_SIZE, entry.name
            if end > size:
                raise self._error(f"{entry.name}, page_count", entry.pages, f"ends beyond ELRANGE ({size:#x} bytes)")
