"""Open Enclave images: ELF files whose section .oeinfo says what the loader adds, and holds the SIGSTRUCT.

Facts: openenclave/openenclave, host/sgx/loadelf.c, host/sgx/create.c, host/sgx/sgxload.c.  The loader fills in what
only it knows: places in the properties, and variables that the enclave exports for it.
"""

from __future__ import annotations

import mmap
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from enclu.base.abi import MAP_NORESERVE
from enclu.host.images.elf_file import DT_NEEDED, EHDR, ET_DYN, PT_TLS, RELA, ElfFile, Module, Section
from enclu.host.images.image import ALL_32, MAXIMUM_SIZE, Image, size_for
from enclu.host.images.regions import NOT_MEASURED, REG_R, REG_RW, TCS_FLAGS, ZEROS, Region, filled
from enclu.host.images.source import Source
from enclu.sgx.epc import PAGE_SIZE
from enclu.sgx.layout import Structure
from enclu.sgx.structs import MISC_EXINFO, SIGSTRUCT, TCS, Attribute

SECTION = ".oeinfo"
HEADER = Structure(
    "oe_enclave_properties_header", 32,
    (0, "size", "I"), (4, "enclave_type", "I"), (8, "num_heap_pages", "Q"), (16, "num_stack_pages", "Q"),
    (24, "num_tcs", "Q"),
)  # fmt: skip
_CONFIG = ((0, "product_id", "H"), (2, "security_version", "H"), (4, "flags", "I"))
_KSS = ((8, "family_id", "16s"), (24, "extended_product_id", "16s"), (40, "attributes", "Q"))
CONFIGS = {
    16: Structure("oe_sgx_enclave_config", 16, *_CONFIG, (8, "attributes", "Q")),
    24: Structure("oe_sgx_enclave_config", 24, *_CONFIG, (8, "attributes", "Q"), (16, "xfrm", "Q")),
    48: Structure("oe_sgx_enclave_config", 48, *_CONFIG, *_KSS),
    56: Structure("oe_sgx_enclave_config", 56, *_CONFIG, *_KSS, (48, "xfrm", "Q")),
    64: Structure("oe_sgx_enclave_config", 64, *_CONFIG, *_KSS, (48, "xfrm", "Q"), (56, "start_address", "Q")),
}
"""By size: it has grown."""
IMAGE_INFO = Structure(
    "oe_sgx_enclave_image_info", 48,
    (0, "oeinfo_rva", "Q"), (8, "oeinfo_size", "Q"), (16, "reloc_rva", "Q"), (24, "reloc_size", "Q"),
    (32, "heap_rva", "Q"), (40, "enclave_size", "Q"),
)  # fmt: skip
END_MARKER = 8
ENCLAVE_TYPE_SGX = 2
CAPTURE_PF_GP, ZERO_BASE = 1 << 0, 1 << 1
"""Of config.flags."""
CONTROL_PAGES, THREAD_DATA_PAGES = 4, 1
"""A TCS, two SSA frames and a guard page; what follows the thread-local variables."""
STACK_FILL = filled(b"\xcc" * PAGE_SIZE)
VARIABLES = (
    "_enclave_rva", "_reloc_rva", "_reloc_size", "_td_from_tcs_offset", "_tdata_rva", "_tdata_size", "_tdata_align",
    "_tbss_size", "_tbss_align",
)  # fmt: skip
"""What the loader sets in the enclave."""
R_X86_64_TPOFF64 = 18
MOST_TCS = 1024
SIGNED_ATTRIBUTE_MASK, SIGNED_XFRM_MASK = 0xFFFF_FFFF_FFFF_FF7B, 0xFFFF_FFFF_FFFF_FF1B
"""oesign's: processors with and without AVX and KSS."""


@dataclass(frozen=True)
class Loader:
    """What has changed in the loader from version to version.  Images do not say for which they are."""

    name: str
    clears_header: bool = True
    """Of the ELF header: e_shoff, e_shnum and e_shstrndx."""
    dynamic_symbols: bool = True
    """The variables are in .dynsym, not .symtab; and threads have as many pages for variables as they need."""
    plt: bool = False
    """.rela.plt, too, is among the relocations."""
    counts_tls: bool = True
    """ELRANGE's size takes account of thread-local variables."""
    tells_end: bool = False
    """The enclave is told where its pages end, not how large ELRANGE is."""
    gs_before_fs: bool = False
    """OGSBASE is a page before OFSBASE."""


NEW_LOADERS = (
    Loader("0.16 and later", clears_header=False, plt=True),
    Loader("0.12 to 0.15"),
    Loader("0.11", counts_tls=False),
)
OLD_LOADERS = (
    Loader("0.10", dynamic_symbols=False),
    Loader("0.8 and 0.9", dynamic_symbols=False, tells_end=True),
    Loader("0.5 to 0.7", dynamic_symbols=False, tells_end=True, gs_before_fs=True),
)


def candidates(elf: ElfFile) -> tuple[Loader, ...]:
    """The loaders for which the image may be, the likeliest first."""
    return NEW_LOADERS if "_td_from_tcs_offset" in elf.dynamic_symbols else OLD_LOADERS


class OpenEnclaveImage(Image):
    """An enclave that oesign has signed."""

    format = "open-enclave"

    @classmethod
    def read(cls, source: Source) -> Self | None:
        """The image as the loader for which it was signed has it; its SIGSTRUCT tells which that is."""
        elf = source.elf
        if elf is None or elf.section(SECTION) is None:
            return None
        images = [cls(source.path, elf, source.sigstruct, loader) for loader in candidates(elf)]
        for image in images:
            if image.sigstruct is not None and SIGSTRUCT.get(image.sigstruct, "ENCLAVEHASH") == image.mrenclave():
                return image
        return images[0]

    def __init__(self, path: Path, elf: ElfFile, sigstruct: bytes | None, loader: Loader) -> None:
        super().__init__(path)
        self.loader = loader
        self.elf = elf
        if self.elf.type != ET_DYN:
            raise self.error("e_type", self.elf.type, "Open Enclave's images are shared objects or PIE")
        section = self.elf.section(SECTION)
        if section is None:
            raise self.error(SECTION, "missing", "Open Enclave's images have this section")
        self._read_properties(section)
        if DT_NEEDED in dict(self.elf.dynamic):
            raise self.error("DT_NEEDED", "present", "enclaves that load a second module are not supported")
        self._tls_pages = self._read_tls()
        self._image, self._image_size = self._stage()
        self._relocations = self._read_relocations()
        self._place()
        self._patch(section)
        own = bytes(elf.data[self.sigstruct_position :][: SIGSTRUCT.size])
        self.sigstruct = sigstruct if sigstruct is not None else own if any(own) else None
        self.check_regions()

    def how_to_sign(self) -> str:
        name = shlex.quote(str(self.path))
        return f"Open Enclave's `oesign sign -e {name} -c CONFIG -k KEY.pem` makes it, or {super().how_to_sign()}"

    def _read_properties(self, section: Section) -> None:
        raw = self.elf.content(section)
        self.elf.slice(section.offset, HEADER.size, f"section {SECTION}, sh_size")
        if len(raw) < HEADER.size:
            raise self.error(f"section {SECTION}, sh_size", len(raw), f"properties have more than {HEADER.size} bytes")
        header = HEADER.unpack(raw[: HEADER.size])
        self.properties_size: int = header["size"]
        config_size = header["size"] - HEADER.size - IMAGE_INFO.size - SIGSTRUCT.size - END_MARKER
        if config_size not in CONFIGS:
            known = ", ".join(f"{header['size'] - config_size + n:#x}" for n in CONFIGS)
            raise self.error("properties.header.size", header["size"], f"known are {known}")
        if header["size"] > len(raw):
            raise self.error("properties.header.size", header["size"], f"the section has {len(raw):#x} bytes")
        if header["enclave_type"] != ENCLAVE_TYPE_SGX:
            raise self.error("properties.header.enclave_type", header["enclave_type"], "not for SGX")
        table = CONFIGS[config_size]
        self.config = table.unpack(raw[HEADER.size : HEADER.size + table.size])
        self._info = HEADER.size + table.size
        """Where oe_sgx_enclave_image_info is in the properties."""
        self.sigstruct_position = section.offset + self._info + IMAGE_INFO.size
        """In the file."""
        self.heap_pages: int = header["num_heap_pages"]
        self.stack_pages: int = header["num_stack_pages"]
        self.threads: int = header["num_tcs"]
        if not 0 < self.threads <= MOST_TCS:
            raise self.error("num_tcs", self.threads, f"1 to {MOST_TCS}")
        for field in ("num_heap_pages", "num_stack_pages"):
            if header[field] > MAXIMUM_SIZE // PAGE_SIZE:
                raise self.error(field, header[field], "more than the largest enclave")
        self.attributes = self.config["attributes"] & ~Attribute.INIT
        self.debug = bool(self.attributes & Attribute.DEBUG)
        self.misc_select = MISC_EXINFO if self.config["flags"] & CAPTURE_PF_GP else 0

    def _read_tls(self) -> int:
        """Pages of thread-local variables for each thread."""
        if not self.loader.dynamic_symbols:
            self._symbols = self.elf.symbols(".symtab", ".strtab")
        else:
            self._symbols = self.elf.dynamic_symbols
        size, segment = 0, next((s for s in self.elf.segments if s.type == PT_TLS), None)
        self._tdata, self._tbss = self.elf.section(".tdata"), self.elf.section(".tbss")
        self._tdata_align = self._tdata.align if self._tdata else 0
        if self._tdata and segment and segment.vaddr == self._tdata.address:
            self._tdata_align = segment.align
        for section, align in ((self._tdata, self._tdata_align), (self._tbss, self._tbss.align if self._tbss else 0)):
            if section is not None and section.size:
                if section.size > MAXIMUM_SIZE or align > MAXIMUM_SIZE:
                    raise self.error(f"section {section.name}, sh_size", section.size, "more than any thread has")
                size += -(-section.size // (align or 1)) * (align or 1)
        return -(-size // PAGE_SIZE) if self.loader.dynamic_symbols else 1

    def _stage(self) -> tuple[memoryview, int]:
        """The segments in memory, as they will be; what is zero takes no memory."""
        loads, end = self.elf.loads, 0
        if not loads or loads[0].vaddr:
            raise self.error("p_vaddr of the first PT_LOAD", loads[0].vaddr if loads else "missing", "must be zero")
        for segment in loads:
            if segment.vaddr & -PAGE_SIZE < end:
                raise self.error(f"program header {segment.index}, p_vaddr", segment.vaddr,
                                 f"the segment before ends at {end:#x}")  # fmt: skip
            if not segment.flags & 7 and self.loader.dynamic_symbols:
                raise self.error(f"program header {segment.index}, p_flags", segment.flags, "a segment without rights")
            end = segment.end
        size = -(-end // PAGE_SIZE) * PAGE_SIZE
        if size > MAXIMUM_SIZE:
            raise self.error("p_vaddr + p_memsz of the last PT_LOAD", end, "more than the largest enclave")
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE
        try:
            image = memoryview(mmap.mmap(-1, size, flags=flags))
        except OSError as error:
            why = f"no room for it: {error.strerror}"
            raise self.error("p_vaddr + p_memsz of the last PT_LOAD", end, why) from None
        for segment in loads:
            raw = self.elf.data[segment.offset : segment.offset + segment.filesz]
            image[segment.vaddr : segment.vaddr + segment.filesz] = raw
        header = loads[0]
        if self.loader.clears_header and header.filesz >= EHDR.size and not header.offset:
            for field in ("e_shoff", "e_shnum", "e_shstrndx"):
                EHDR.put(image, field, 0)
        return image, size

    def _read_relocations(self) -> memoryview:
        """What the enclave relocates itself by: .rela.dyn and .rela.plt, in whole pages."""
        names = (".rela.dyn", ".rela.plt") if self.loader.plt else (".rela.dyn",)
        tables = [s for s in map(self.elf.section, names) if s is not None]
        if not tables or tables[0].name != ".rela.dyn" or not tables[0].size:
            return memoryview(b"")
        table = bytearray(b"".join(bytes(self.elf.content(s)) for s in tables))
        values = [s["st_value"] for s in self.elf.symbol_table()]
        for at in range(0, len(table) // RELA.size * RELA.size, RELA.size):
            info = RELA.get(table, "r_info", at)
            if info & 0xFFFFFFFF == R_X86_64_TPOFF64:
                if info >> 32 >= len(values):
                    raise self.error("r_info", info, f"there are {len(values)} symbols")
                table[at + RELA.offset("r_addend") : at + RELA.size] = values[info >> 32].to_bytes(8, "little")
        return memoryview(bytes(table).ljust(-(-len(table) // PAGE_SIZE) * PAGE_SIZE, b"\0"))

    def _place(self) -> None:
        self._heap = self._image_size + len(self._relocations)
        self._thread_size = (2 + self.stack_pages + CONTROL_PAGES + self._tls_pages + THREAD_DATA_PAGES) * PAGE_SIZE
        end = self._heap + self.heap_pages * PAGE_SIZE + self.threads * self._thread_size
        if not self.loader.counts_tls:
            end += self.threads * (1 - self._tls_pages) * PAGE_SIZE
        self.size, self._shift = size_for(end), 0
        self._told_size = end if self.loader.tells_end else self.size
        if self.config["flags"] & ZERO_BASE:
            self.base, self._shift = 0, self.config.get("start_address", 0)
            if self._shift % PAGE_SIZE:
                raise self.error("config.start_address", self._shift, "not on a page's start")
            self.size = size_for(end + self._shift)
        self.check_size("size of the image, heap, stacks and threads", self.size)

    def _patch(self, section: Section) -> None:
        """What the loader tells the enclave."""
        start = section.address
        if start + self.properties_size > self._image_size:
            raise self.error(f"section {SECTION}, sh_addr", start, f"the segments end at {self._image_size:#x}")
        info = IMAGE_INFO.pack(
            oeinfo_rva=start, oeinfo_size=self.properties_size, reloc_rva=self._image_size,
            reloc_size=len(self._relocations), heap_rva=self._heap, enclave_size=self._told_size,
        )  # fmt: skip
        signature = start + self._info + IMAGE_INFO.size
        self._image[start + self._info : signature] = info
        self._image[signature : signature + SIGSTRUCT.size] = bytes(SIGSTRUCT.size)
        symbols = self._symbols
        values = {
            "_reloc_rva": self._image_size, "_reloc_size": len(self._relocations),
            "_td_from_tcs_offset": (self._tls_pages + CONTROL_PAGES) * PAGE_SIZE,
        }  # fmt: skip
        if "_enclave_rva" in symbols:
            values["_enclave_rva"] = symbols["_enclave_rva"]["st_value"]
        if self._tdata and self._tdata.size:
            values |= {"_tdata_rva": self._tdata.address, "_tdata_size": self._tdata.size,
                       "_tdata_align": self._tdata_align}  # fmt: skip
        if self._tbss and self._tbss.size:
            values |= {"_tbss_size": self._tbss.size, "_tbss_align": self._tbss.align}
        for name, value in values.items():
            if name in symbols:
                at = symbols[name]["st_value"]
                if at + 8 > self._image_size:
                    raise self.error(f"symbol {name}, st_value", at, f"the segments end at {self._image_size:#x}")
                self._image[at : at + 8] = value.to_bytes(8, "little")

    def sigstruct_fields(self) -> dict[str, Any]:
        """As oesign has them."""
        config = self.config
        return super().sigstruct_fields() | {
            "ISVPRODID": config["product_id"], "ISVSVN": config["security_version"],
            "ISVFAMILYID": config.get("family_id", b""), "ISVEXTPRODID": config.get("extended_product_id", b""),
            "ATTRIBUTEMASK": SIGNED_ATTRIBUTE_MASK, "XFRMMASK": SIGNED_XFRM_MASK, "MISCSELECT": 0,
            "MISCMASK": ALL_32 & ~self.misc_select,
        }  # fmt: skip

    def details(self) -> dict[str, Any]:
        return {"loader": self.loader.name, "heap pages": self.heap_pages, "stack pages": self.stack_pages}

    @property
    def modules(self) -> tuple[Module, ...]:
        return (self.elf.module(self._shift),)

    @property
    def convention(self) -> str:
        return "open-enclave"

    def regions(self) -> Iterator[Region]:
        return (region.moved(self._shift) for region in self._image_regions())

    def _image_regions(self) -> Iterator[Region]:
        for segment in self.elf.loads:
            if not segment.flags & 7:
                continue  # as old loaders do
            start, end = segment.vaddr & -PAGE_SIZE, -(-segment.end // PAGE_SIZE) * PAGE_SIZE
            held = min(end, -(-(segment.vaddr + segment.filesz) // PAGE_SIZE) * PAGE_SIZE)
            name = f"segment {segment.index}"
            if start < held:
                yield Region(name, start, held - start, segment.secinfo_flags, content=self._image[start:held])
            if held < end:
                yield Region(name, held, end - held, segment.secinfo_flags, content=self._zeros(held, end))
        if self._relocations:
            size = len(self._relocations)
            yield Region("relocations", self._image_size, size, REG_R, content=self._relocations)
        if self.heap_pages:
            yield Region("heap", self._heap, self.heap_pages * PAGE_SIZE, REG_RW, NOT_MEASURED)
        at = self._heap + self.heap_pages * PAGE_SIZE
        for _ in range(self.threads):
            yield from self._thread(at)
            at += self._thread_size

    def _zeros(self, start: int, end: int) -> memoryview:
        """Memory that is zero unless the loader has set a variable there."""
        places = [self._symbols[name]["st_value"] for name in VARIABLES if name in self._symbols]
        return self._image[start:end] if any(start - 8 < p < end for p in places) else ZEROS

    def _thread(self, at: int) -> Iterator[Region]:
        yield Region("guard", at, PAGE_SIZE, 0, added=False)
        at += PAGE_SIZE
        if self.stack_pages:
            yield Region("stack", at, self.stack_pages * PAGE_SIZE, REG_RW, content=STACK_FILL)
            at += self.stack_pages * PAGE_SIZE
        yield Region("guard", at, PAGE_SIZE, 0, added=False)
        at += PAGE_SIZE
        data = self._shift + at + (self._tls_pages + CONTROL_PAGES) * PAGE_SIZE
        tcs = TCS.pack(
            OSSA=self._shift + at + PAGE_SIZE, NSSA=2, OENTRY=self._shift + self.elf.entry, OFSBASE=data,
            OGSBASE=data - PAGE_SIZE * self.loader.gs_before_fs, FSLIMIT=0xFFFFFFFF, GSLIMIT=0xFFFFFFFF,
        )  # fmt: skip
        yield Region("TCS", at, PAGE_SIZE, TCS_FLAGS, content=memoryview(tcs))
        yield Region("SSA", at + PAGE_SIZE, 2 * PAGE_SIZE, REG_RW)
        yield Region("guard", at + 3 * PAGE_SIZE, PAGE_SIZE, 0, added=False)
        pages = self._tls_pages + THREAD_DATA_PAGES
        yield Region("thread data", at + CONTROL_PAGES * PAGE_SIZE, pages * PAGE_SIZE, REG_RW)
