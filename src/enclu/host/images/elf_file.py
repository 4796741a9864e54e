"""ELF files, read with suspicion: every offset is checked against the file before anything is read or allocated."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from enclu.host.images.regions import ZEROS, ImageError, Region
from enclu.sgx.epc import PAGE_SIZE, PageType
from enclu.sgx.layout import Structure

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

EHDR = Structure(
    "Elf64_Ehdr", 64,
    (0, "e_ident", "16s"), (16, "e_type", "H"), (18, "e_machine", "H"), (20, "e_version", "I"), (24, "e_entry", "Q"),
    (32, "e_phoff", "Q"), (40, "e_shoff", "Q"), (48, "e_flags", "I"), (52, "e_ehsize", "H"), (54, "e_phentsize", "H"),
    (56, "e_phnum", "H"), (58, "e_shentsize", "H"), (60, "e_shnum", "H"), (62, "e_shstrndx", "H"),
)  # fmt: skip
PHDR = Structure(
    "Elf64_Phdr", 56,
    (0, "p_type", "I"), (4, "p_flags", "I"), (8, "p_offset", "Q"), (16, "p_vaddr", "Q"), (24, "p_paddr", "Q"),
    (32, "p_filesz", "Q"), (40, "p_memsz", "Q"), (48, "p_align", "Q"),
)  # fmt: skip
SHDR = Structure(
    "Elf64_Shdr", 64,
    (0, "sh_name", "I"), (4, "sh_type", "I"), (8, "sh_flags", "Q"), (16, "sh_addr", "Q"), (24, "sh_offset", "Q"),
    (32, "sh_size", "Q"), (40, "sh_link", "I"), (44, "sh_info", "I"), (48, "sh_addralign", "Q"),
    (56, "sh_entsize", "Q"),
)  # fmt: skip
SYM = Structure(
    "Elf64_Sym", 24,
    (0, "st_name", "I"), (4, "st_info", "B"), (5, "st_other", "B"), (6, "st_shndx", "H"), (8, "st_value", "Q"),
    (16, "st_size", "Q"),
)  # fmt: skip
DYN = Structure("Elf64_Dyn", 16, (0, "d_tag", "q"), (8, "d_val", "Q"))
RELA = Structure("Elf64_Rela", 24, (0, "r_offset", "Q"), (8, "r_info", "Q"), (16, "r_addend", "q"))
NHDR = Structure("Elf64_Nhdr", 12, (0, "n_namesz", "I"), (4, "n_descsz", "I"), (8, "n_type", "I"))

MAGIC = b"\x7fELF"
ET_EXEC, ET_DYN, EM_X86_64 = 2, 3, 62
PT_LOAD, PT_DYNAMIC, PT_NOTE, PT_TLS = 1, 2, 4, 7
PF_X, PF_W, PF_R = 1, 2, 4
DT_NULL, DT_NEEDED, DT_PLTRELSZ, DT_STRTAB, DT_SYMTAB, DT_RELA, DT_RELASZ = 0, 1, 2, 5, 6, 7, 8
DT_TEXTREL, DT_JMPREL = 22, 23
SHT_RELA, SHT_NOBITS = 4, 8
SHN_UNDEF = 0


@dataclass(frozen=True)
class Segment:
    """A program header."""

    index: int
    type: int
    flags: int
    offset: int
    vaddr: int
    filesz: int
    memsz: int
    align: int

    @property
    def end(self) -> int:
        return self.vaddr + self.memsz

    @property
    def secinfo_flags(self) -> int:
        """SECINFO.FLAGS of ordinary pages with these rights."""
        return PageType.REG << 8 | bool(self.flags & PF_R) | bool(self.flags & PF_W) << 1 | bool(self.flags & PF_X) << 2


@dataclass(frozen=True)
class Section:
    """A section header."""

    name: str
    type: int
    address: int
    offset: int
    size: int
    align: int
    flags: int


@dataclass(frozen=True)
class Module:
    """An ELF file that an enclave consists of, and where its segments are in ELRANGE."""

    elf: ElfFile
    segments: tuple[tuple[int, Segment], ...]
    """(offset of its first byte from ELRANGE's base, segment)."""


class ElfFile:
    """A 64-bit little-endian x86-64 ELF file, `data` being all of it.  Raises ImageError."""

    def __init__(self, path: Path, data: memoryview) -> None:
        self.path, self.data = path, data
        header = EHDR.unpack(self.slice(0, EHDR.size, "ELF header"))
        ident = header["e_ident"]
        if ident[:4] != MAGIC:
            raise self.error("e_ident", ident[:4].hex(), "not an ELF file")
        if ident[4] == 1:
            raise self.error("e_ident[EI_CLASS]", 1, "a 32-bit enclave; the machine has 64-bit enclaves only")
        if ident[4] != 2 or ident[5] != 1:
            raise self.error("e_ident", ident.hex(), "not a 64-bit little-endian file")
        if header["e_machine"] != EM_X86_64:
            raise self.error("e_machine", header["e_machine"], "not for x86-64")
        self.type: int = header["e_type"]
        self.entry: int = header["e_entry"]
        self._header = header
        self.segments = list(self._segments())
        self.loads = [s for s in self.segments if s.type == PT_LOAD]

    def error(self, field: str, value: object, wrong: str) -> ImageError:
        return ImageError(self.path, field, value, wrong)

    def slice(self, offset: int, size: int, field: str) -> memoryview:
        """Bytes of the file.  Raises ImageError, naming the field, if there are not so many."""
        if offset + size > len(self.data):
            raise self.error(field, offset + size, f"ends beyond the file, which has {len(self.data):#x} bytes")
        return self.data[offset : offset + size]

    def _table(self, offset: str, entry_size: str, count: str, entry: Structure) -> Iterator[dict[str, Any]]:
        header = self._header
        if not header[count]:
            return
        if header[entry_size] != entry.size:
            raise self.error(entry_size, header[entry_size], f"entries have {entry.size} bytes")
        table = self.slice(header[offset], header[count] * entry.size, offset)
        for i in range(header[count]):
            yield entry.unpack(table[i * entry.size : (i + 1) * entry.size])

    def _segments(self) -> Iterator[Segment]:
        for i, p in enumerate(self._table("e_phoff", "e_phentsize", "e_phnum", PHDR)):
            name = f"program header {i}"
            if p["p_type"] == PT_LOAD and p["p_filesz"] > p["p_memsz"]:
                raise self.error(f"{name}, p_filesz", p["p_filesz"], f"more than p_memsz, {p['p_memsz']:#x}")
            if p["p_filesz"]:
                self.slice(p["p_offset"], p["p_filesz"], f"{name}, p_offset + p_filesz")
            if p["p_vaddr"] + p["p_memsz"] >= 1 << 64:
                raise self.error(f"{name}, p_memsz", p["p_memsz"], "ends beyond the address space")
            yield Segment(i, p["p_type"], p["p_flags"], p["p_offset"], p["p_vaddr"], p["p_filesz"], p["p_memsz"],
                          p["p_align"])  # fmt: skip

    @functools.cached_property
    def sections(self) -> list[Section]:
        headers = list(self._table("e_shoff", "e_shentsize", "e_shnum", SHDR))
        names = self._header["e_shstrndx"]
        if not headers:
            return []
        if names >= len(headers):
            raise self.error("e_shstrndx", names, f"there are {len(headers)} sections")
        strings = self.slice(headers[names]["sh_offset"], headers[names]["sh_size"], "section names, sh_size")
        return [
            Section(self.string(strings, s["sh_name"], f"section {i}, sh_name"), s["sh_type"], s["sh_addr"],
                    s["sh_offset"], s["sh_size"], s["sh_addralign"], s["sh_flags"])
            for i, s in enumerate(headers)
        ]  # fmt: skip

    def section(self, name: str) -> Section | None:
        return next((s for s in self.sections if s.name == name), None)

    def content(self, section: Section) -> memoryview:
        if section.type == SHT_NOBITS:
            raise self.error(f"section {section.name}, sh_type", section.type, "has no bytes in the file")
        return self.slice(section.offset, section.size, f"section {section.name}, sh_offset + sh_size")

    def string(self, strings: memoryview, offset: int, field: str) -> str:
        """A NUL-terminated string of a string table."""
        if offset >= len(strings):
            raise self.error(field, offset, f"the string table has {len(strings):#x} bytes")
        return bytes(strings[offset : offset + 256]).split(b"\0")[0].decode("latin-1")

    @functools.cached_property
    def dynamic(self) -> list[tuple[int, int]]:
        """(d_tag, d_val) up to DT_NULL."""
        segment = next((s for s in self.segments if s.type == PT_DYNAMIC), None)
        if segment is None:
            return []
        table = self.slice(segment.offset, segment.filesz // DYN.size * DYN.size, "dynamic segment")
        entries = []
        for at in range(0, len(table), DYN.size):
            tag, value = DYN.get(table, "d_tag", at), DYN.get(table, "d_val", at)
            if tag == DT_NULL:
                break
            entries.append((tag, value))
        return entries

    def symbol_table(self, table: str = ".dynsym") -> list[dict[str, int]]:
        """The entries of a symbol table, the first of which is empty."""
        section = self.section(table)
        symbols = self.content(section) if section is not None else self.data[:0]
        end = len(symbols) // SYM.size * SYM.size
        return [SYM.unpack(symbols[at : at + SYM.size]) for at in range(0, end, SYM.size)]

    def symbols(self, table: str, strings: str) -> dict[str, dict[str, int]]:
        """Symbols by name; the first of each name."""
        section = self.section(strings)
        found: dict[str, dict[str, int]] = {}
        if section is not None:
            names = self.content(section)
            for symbol in self.symbol_table(table)[1:]:
                if symbol["st_name"]:
                    found.setdefault(self.string(names, symbol["st_name"], f"{table}, st_name"), symbol)
        return found

    @functools.cached_property
    def dynamic_symbols(self) -> dict[str, dict[str, int]]:
        return self.symbols(".dynsym", ".dynstr")

    def relocations(self, address: int, size: int, field: str) -> NDArray[np.uint64]:
        """RELA entries of the section at `address`, `size` bytes of it: a row (r_offset, r_info, r_addend) each."""
        import numpy as np

        section = next((s for s in self.sections if s.address == address and s.type != SHT_NOBITS), None)
        if section is None:
            raise self.error(field, address, "no section begins there")
        count = size // RELA.size
        raw = self.slice(section.offset, count * RELA.size, f"{field}, size")
        return np.frombuffer(raw, "<u8").reshape(count, 3)

    def notes(self) -> Iterator[tuple[bytes, int, memoryview]]:
        """(name, type, description) of the notes in PT_NOTE segments."""
        for segment in self.segments:
            if segment.type == PT_NOTE:
                yield from self._notes(self.slice(segment.offset, segment.filesz, "PT_NOTE"))

    def _notes(self, data: memoryview) -> Iterator[tuple[bytes, int, memoryview]]:
        at = 0
        while at + NHDR.size <= len(data):
            note = NHDR.unpack(data[at : at + NHDR.size])
            name = at + NHDR.size
            description = name + (note["n_namesz"] + 3 & ~3)
            at = description + (note["n_descsz"] + 3 & ~3)
            if description + note["n_descsz"] > len(data):
                raise self.error("n_descsz", note["n_descsz"], f"the note segment has {len(data):#x} bytes")
            yield (bytes(data[name : name + note["n_namesz"]]).rstrip(b"\0"), note["n_type"],
                   data[description : description + note["n_descsz"]])  # fmt: skip

    def module(self, shift: int = 0) -> Module:
        """Loaded so that address 0 is at the offset `shift` in ELRANGE."""
        return Module(self, tuple((segment.vaddr + shift, segment) for segment in self.loads))

    def regions_of(self, segment: Segment, name: str, at: int = 0) -> Iterator[Region]:
        """The segment's pages, `at` bytes further in ELRANGE: what is in the file, zeros around it."""
        flags, start = segment.secinfo_flags, segment.vaddr + at
        raw = self.data[segment.offset : segment.offset + segment.filesz]
        first, position = start & -PAGE_SIZE, 0
        if start % PAGE_SIZE and raw:
            position = min(PAGE_SIZE - start % PAGE_SIZE, len(raw))
            yield Region(name, first, PAGE_SIZE, flags, content=padded(raw[:position], start % PAGE_SIZE))
            first += PAGE_SIZE
        whole = (len(raw) - position) & -PAGE_SIZE
        if whole:
            yield Region(name, first, whole, flags, content=raw[position : position + whole])
            first, position = first + whole, position + whole
        if position < len(raw):
            yield Region(name, first, PAGE_SIZE, flags, content=padded(raw[position:], 0))
            first += PAGE_SIZE
        end = -(-(start + segment.memsz) // PAGE_SIZE) * PAGE_SIZE
        if first < end:
            yield Region(name, first, end - first, flags, content=ZEROS)


def padded(data: memoryview, before: int) -> memoryview:
    """A page that has `data` after `before` zeros."""
    return memoryview((bytes(before) + bytes(data)).ljust(PAGE_SIZE, b"\0"))
