"""Sections and symbols of 64-bit ELF files, as far as a start of enclu needs them.  ELF: gABI chapter 4, elf.h.

For files of enclu's own and of the kernel's, which are whole.  Libraries that can do more take longer to load than most
programs to run.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
PHDR = struct.Struct("<IIQQQQQQ")
SHDR = struct.Struct("<IIQQQQIIQQ")
SYM = struct.Struct("<IBBHQQ")
PT_LOAD = 1
E_SHOFF = 40
SH_OFFSET = 24
ST_SHNDX, ST_VALUE = 6, 8
SHN_UNDEF, SHN_LORESERVE = 0, 0xFF00


class Section(NamedTuple):
    """Elf64_Shdr, with its place in the table."""

    number: int
    name: str
    header: int
    """Offset of the header itself."""
    offset: int
    size: int
    link: int


class Symbol(NamedTuple):
    """Elf64_Sym."""

    name: str
    at: int
    """Offset of the symbol itself."""
    section: int
    value: int


class Elf:
    """An ELF file, whole in memory."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        header = EHDR.unpack_from(data)
        at, size, count, self.names_index = header[6], header[11], header[12], header[13]
        table = [SHDR.unpack_from(data, at + i * size) for i in range(count)]
        names = table[self.names_index][4]
        self.sections = [
            Section(i, self._string(names + row[0]), at + i * size, row[4], row[5], row[6])
            for i, row in enumerate(table)
        ]
        self._by_name = {section.name: section for section in self.sections}

    def loaded(self) -> list[int]:
        """Bytes that each PT_LOAD has of the file."""
        header = EHDR.unpack_from(self.data)
        at, size, count = header[5], header[9], header[10]
        table = (PHDR.unpack_from(self.data, at + i * size) for i in range(count))
        return [row[5] for row in table if row[0] == PT_LOAD]

    def section(self, name: str) -> Section | None:
        return self._by_name.get(name)

    def content(self, section: Section) -> bytes:
        return self.data[section.offset : section.offset + section.size]

    def symbols(self, table: str) -> Iterator[Symbol]:
        """Of .symtab or .dynsym; none if it is not there."""
        section = self.section(table)
        if section is None:
            return
        strings = self.sections[section.link].offset
        for at in range(section.offset, section.offset + section.size, SYM.size):
            name, _info, _other, index, value, _size = SYM.unpack_from(self.data, at)
            yield Symbol(self._string(strings + name), at, index, value)

    def _string(self, at: int) -> str:
        return self.data[at : self.data.index(b"\0", at)].decode()
