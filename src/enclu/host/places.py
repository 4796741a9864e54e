"""What is at an offset in an enclave, in its programmer's words: symbol, file and line, or else the part of ELRANGE.

    Places.of(enclave.image).at(rip - enclave.base)       # decode_frame+0x1a (codec.c:42)

An image may be damaged, or hostile: then less is told, and why.
"""

from __future__ import annotations

import bisect
import functools
import os
import weakref
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from enclu.host.errors import HostError
from enclu.host.images import Image, ImageError
from enclu.host.images.elf_file import PF_X, SHN_UNDEF, SHT_NOBITS, SYM, ElfFile, Module
from enclu.host.images.regions import map_file
from enclu.host.lines import Line, LinesError, LineTable
from enclu.sgx.layout import Structure

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

STT_NOTYPE, STT_OBJECT, STT_FUNC, STT_GNU_IFUNC = 0, 1, 2, 10
STB_GLOBAL, STB_WEAK = 1, 2
SHN_LORESERVE = 0xFF00
SHF_COMPRESSED, ELFCOMPRESS_ZLIB = 1 << 11, 1
CHDR = Structure("Elf64_Chdr", 24, (0, "ch_type", "I"), (8, "ch_size", "Q"), (16, "ch_addralign", "Q"))
LARGEST_TABLE = 64 << 20
"""Bytes of a section of symbols or debug information that is looked through."""
ALIASES = 256
"""Names of one address that are looked at."""
DEBUG_SECTIONS = (".debug_line", ".debug_line_str", ".debug_str")
_RANK = {STB_GLOBAL: 2, STB_WEAK: 1}
_NUMPY = {"B": "u1", "H": "<u2", "I": "<u4", "Q": "<u8"}


@dataclass(frozen=True)
class Place:
    """What is there; None and "" where that is not known."""

    address: int
    """From ELRANGE's base."""
    symbol: str | None = None
    offset: int = 0
    """From the symbol's beginning, or else from the region's."""
    file: str | None = None
    line: int | None = None
    region: str = ""
    """The part of ELRANGE, as the image calls it: segment 2, heap, stack, TCS, guard."""
    missing: str = ""
    """Why symbol or line is not told."""

    def __str__(self) -> str:
        what = f"{self.symbol or self.region or 'ELRANGE'}{self.offset:+#x}"
        return what if self.line is None else f"{what} ({os.path.basename(self.file or '')}:{self.line})"


class Places:
    """Of one image; what is asked for is read when it is."""

    @classmethod
    def of(cls, image: Image) -> Places:
        """The same for the same image."""
        known = _KNOWN.get(image)
        return known if known is not None else _KNOWN.setdefault(image, cls(image))

    def __init__(self, image: Image, symbols: str | os.PathLike[str] | None = None) -> None:
        """`symbols` is an ELF file that has what the image lacks: not stripped, or what was stripped from it.

        Raises HostError if it cannot be of this image.
        """
        self._regions = sorted((r.offset, r.size, r.name) for r in image.regions())
        self._modules = [_Module(module) for module in image.modules]
        self._missing = "no part of the image is there"
        if symbols is not None:
            self._modules[:1] = [_Module(_instead(image, Path(symbols)))]
        elif not self._modules:
            self._missing = f"images of the format {image.format} have no symbols"

    def at(self, address: int) -> Place:
        """What is at this offset from ELRANGE's base."""
        region, start = self._region(address)
        for module in self._modules:
            linked = module.linked(address)
            if linked is not None:
                symbol, missing = module.symbol(linked)
                line, no_line = module.line(linked) if module.code(address) else (None, "")
                name, offset = symbol or (None, address - start)
                file, number = (line.file, line.line) if line else (None, None)
                return Place(address, name, offset, file, number, region, missing or no_line)
        return Place(address, None, address - start, region=region, missing=self._missing)

    def _region(self, address: int) -> tuple[str, int]:
        """Name and beginning of the part of ELRANGE."""
        at = bisect.bisect_right(self._regions, address, key=lambda region: region[0]) - 1
        if at < 0 or address >= sum(self._regions[at][:2]):
            return "", 0
        start, _, name = self._regions[at]
        while at and self._regions[at - 1][2] == name and sum(self._regions[at - 1][:2]) == start:
            at -= 1
            start = self._regions[at][0]
        return name, start


_KNOWN: weakref.WeakKeyDictionary[Image, Places] = weakref.WeakKeyDictionary()


def _instead(image: Image, path: Path) -> Module:
    """The file's symbols for the image's segments.  Raises HostError."""
    elf = ElfFile(path, map_file(path))
    if not image.modules:
        return elf.module()  # the image has forgotten of what it was made
    mine = image.modules[0]
    if [(s.vaddr, s.memsz, s.flags) for s in elf.loads] != [(s.vaddr, s.memsz, s.flags) for _, s in mine.segments]:
        raise HostError(f"{path}: not of {image.path}, whose segments are elsewhere")
    return Module(elf, mine.segments)


class _Module:
    """One ELF file of an image."""

    def __init__(self, module: Module) -> None:
        self._elf, self._segments = module.elf, module.segments

    def linked(self, address: int) -> int | None:
        """The address that the linker gave what is there; None if it is in no segment."""
        for start, segment in self._segments:
            if start <= address < start + segment.memsz:
                return segment.vaddr + address - start
        return None

    def code(self, address: int) -> bool:
        return any(s.flags & PF_X and start <= address < start + s.memsz for start, s in self._segments)

    # Symbols.

    def symbol(self, address: int) -> tuple[tuple[str, int] | None, str]:
        """((name, offset from it), why there is none)."""
        table, names, why = self._symbols
        if why:
            return None, why
        try:
            row = self._nearest(table, address)
            if row is None:
                return None, "no symbol is there"
            name = self._elf.string(names, int(table["st_name"][row]), "st_name")
        except ImageError as error:
            return None, str(error)
        return (_printable(name), address - int(table["st_value"][row])), ""

    @functools.cached_property
    def _symbols(self) -> tuple[NDArray[np.void], memoryview, str]:
        """Those that stand for code or data, the string table with their names, and why there are none."""
        import numpy as np

        none = np.empty(0, "V1"), self._elf.data[:0]
        try:
            found = self._read_symbols()
        except ImageError as error:
            return *none, str(error)
        return (*found, "") if found else (*none, "stripped: it has no symbols")

    def _read_symbols(self) -> tuple[NDArray[np.void], memoryview] | None:
        """Raises ImageError."""
        import numpy as np

        row = np.dtype([(name, _NUMPY[code]) for _, name, code in SYM.fields])
        for table, strings in ((".symtab", ".strtab"), (".dynsym", ".dynstr")):
            section, names = self._elf.section(table), self._elf.section(strings)
            if section is None or names is None or section.type == SHT_NOBITS:
                continue
            if section.size > LARGEST_TABLE:
                raise self._elf.error(f"section {table}, sh_size", section.size, "more symbols than any enclave has")
            content = self._elf.content(section)
            found = np.frombuffer(content[: len(content) // SYM.size * SYM.size], row)
            types, place = found["st_info"] & 0xF, found["st_shndx"]
            real = np.isin(types, (STT_NOTYPE, STT_OBJECT, STT_FUNC, STT_GNU_IFUNC)) & (found["st_name"] != 0)
            found = found[real & (place != SHN_UNDEF) & (place < SHN_LORESERVE)]
            if len(found):
                return found, self._elf.content(names)
        return None

    def _nearest(self, table: NDArray[np.void], address: int) -> int | None:
        """The symbol that the address is in; or, for labels of assembly, the last one before in its section."""
        import numpy as np

        values, wanted = table["st_value"], np.uint64(address)
        before = values <= wanted
        within = np.flatnonzero(before & (wanted - values < table["st_size"]))
        if not len(within):
            sections = enumerate(self._elf.sections)
            section = next((i for i, s in sections if s.address and s.address <= address < s.address + s.size), 0)
            labels = before & (table["st_shndx"] == section)
            if not labels.any():
                return None
            within = np.flatnonzero(labels & (values == values[labels].max()) & (table["st_size"] == 0))
        if not len(within):
            return None  # behind the last function that is told: padding
        # Of several, the one that begins last; of its names, one with a type, and the most public one.
        within = within[values[within] == values[within].max()][:ALIASES]
        infos = table["st_info"][within].tolist()
        order = [(info & 0xF != STT_NOTYPE, _RANK.get(info >> 4, 0), -i) for i, info in enumerate(infos)]
        return int(within[order.index(max(order))])

    # Lines.

    def line(self, address: int) -> tuple[Line | None, str]:
        """(line of the code at an address, why it is not known)."""
        lines, why = self._lines
        if lines is None:
            return None, why
        try:
            found = lines.at(address)
        except LinesError as error:
            return None, f"debug information that cannot be read: {error}"
        if found is None:
            return None, "no line of a source file is told for it"
        return Line(_printable(found.file), found.line), ""

    @functools.cached_property
    def _lines(self) -> tuple[LineTable | None, str]:
        """The lines, and why there are none."""
        lowest = min((s.vaddr for _, s in self._segments if s.flags & PF_X), default=0)
        try:
            line, *strings = (self._debug_section(name) for name in DEBUG_SECTIONS)
            return (
                (LineTable(line, *strings, lowest=lowest), "") if line else (None, "it has no debug information (-g)")
            )
        except (ImageError, LinesError) as error:
            return None, f"debug information that cannot be read: {error}"

    def _debug_section(self, name: str) -> bytes:
        """A section's content, or nothing.  Raises ImageError."""
        section = self._elf.section(name)
        if section is None or section.type == SHT_NOBITS:
            return b""
        content, size, start = self._elf.content(section), section.size, 0
        if section.flags & SHF_COMPRESSED:
            if size < CHDR.size:
                raise self._elf.error(f"section {name}, sh_size", size, "cut short")
            header, start = CHDR.unpack(content[: CHDR.size]), CHDR.size
            size = header["ch_size"]
            if header["ch_type"] != ELFCOMPRESS_ZLIB:
                raise self._elf.error(f"section {name}, ch_type", header["ch_type"], "not compressed by zlib")
        if size > LARGEST_TABLE:
            raise self._elf.error(f"section {name}, size", size, "more debug information than is looked through")
        if not start or not size:
            return bytes(content[:size])
        try:
            return zlib.decompressobj().decompress(content[start:], size)
        except zlib.error as error:
            raise self._elf.error(f"section {name}", "damaged", str(error)) from None


def _printable(text: str) -> str:
    """For terminals: nothing that moves the cursor."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
