"""A vDSO image: what the build assembled, and what it becomes in a program's memory.

Kernel: Documentation/ABI/stable/vdso; arch/x86/entry/vdso/extable.c for the exception table.
"""

from __future__ import annotations

import functools
import io
import struct
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from enclu.base.record import field, record

_SHNDX, _VALUE = 6, 8
"""Offsets in Elf64_Sym, whose fields are name, info, other, shndx, value and size."""
_SYM_SIZE = 24
_EXTABLE_ENTRY = struct.Struct("<QQ")
_E_SHOFF, _SH_OFFSET = 40, 24
"""Offsets in Elf64_Ehdr and Elf64_Shdr."""


@record(frozen=True)
class VdsoImage:
    """One image.  All offsets are in bytes from its start."""

    data: bytes
    symbols: dict[str, int]
    """Names, the stubs' included, to offsets."""
    extable: list[tuple[int, int]]
    """(instruction, fixup): where execution goes on when the instruction raises an exception."""
    host_symbols: dict[str, list[int]]
    """Names of the host kernel's functions to the offsets of their entries in .dynsym."""
    bases: set[int] = field(default_factory=set)
    """Addresses that `build` was asked for: where programs may have this image."""

    @property
    def syscall_stub(self) -> int:
        """Offset of `syscall; int3`."""
        return self.symbols["enclu_syscall"]

    @property
    def handler(self) -> int:
        """Offset of a signal handler that never gets anywhere."""
        return self.symbols["enclu_handler"]

    @property
    def sigreturn(self) -> int:
        """Offset of a signal restorer."""
        return self.symbols["enclu_sigreturn"]

    def fixup(self, rip: int) -> int | None:
        """Address of the fixup for the instruction at address `rip`, None if the table has none."""
        for insn, target in self.extable:
            if rip - insn in self.bases:
                return rip - insn + target
        return None

    def build(self, base: int, real_base: int, real_symbols: dict[str, int]) -> bytes:
        """The bytes to put at `base` in a program whose own vDSO is at `real_base`.

        `real_symbols` gives the host's functions as offsets from `real_base`.  A symbol's value is added to `base`
        modulo 2^64 by whoever looks it up, so it may be any distance; one that the host does not have becomes
        undefined.
        """
        image = bytearray(self.data)
        for name, entries in self.host_symbols.items():
            offset = real_symbols.get(name)
            for entry in entries:
                if offset is None:
                    struct.pack_into("<H", image, entry + _SHNDX, 0)
                    struct.pack_into("<Q", image, entry + _VALUE, 0)
                else:
                    struct.pack_into("<Q", image, entry + _VALUE, real_base + offset - base & (1 << 64) - 1)
        self.bases.add(base)
        return bytes(image)


@functools.cache
def load(name: str) -> VdsoImage:
    """The image assembled from NAME.S; the same object every time.  Raises FileNotFoundError if not built."""
    path = Path(__file__).with_name(f"{name}.so")
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing: install enclu with pip, or run hatch_build.py") from None
    elf = ELFFile(io.BytesIO(data))
    dynsym, symtab = elf.get_section_by_name(".dynsym"), elf.get_section_by_name(".symtab")
    assert isinstance(dynsym, SymbolTableSection) and isinstance(symtab, SymbolTableSection)
    host = elf.get_section_index(".host")
    entries: dict[str, list[int]] = {}
    for index, symbol in enumerate(dynsym.iter_symbols()):
        if symbol["st_shndx"] == host:
            entries.setdefault(symbol.name, []).append(dynsym["sh_offset"] + index * _SYM_SIZE)
    symbols = {s.name: s["st_value"] for s in symtab.iter_symbols() if s.name and isinstance(s["st_shndx"], int)}
    table = elf.get_section_by_name(".extable")
    extable = list(_EXTABLE_ENTRY.iter_unpack(table.data())) if table is not None else []
    return VdsoImage(_mapped(elf, data), symbols, extable, entries)


def _mapped(elf: ELFFile, data: bytes) -> bytes:
    """What programs get: stripped, with the section headers right behind what is loaded.

    Debuggers read the image from memory and use section headers only if they are in its last page.  So they find
    .eh_frame and can unwind.
    """
    loaded = next(p for p in elf.iter_segments() if p["p_type"] == "PT_LOAD")["p_filesz"]
    names = elf.get_section(elf["e_shstrndx"])
    image = bytearray(data[:loaded]) + names.data()
    image += bytes(-len(image) % 8)
    struct.pack_into("<Q", image, _E_SHOFF, len(image))
    size = elf["e_shentsize"]
    for index in range(elf.num_sections()):
        at = elf["e_shoff"] + index * size
        header = bytearray(data[at : at + size])
        if index == elf["e_shstrndx"]:
            struct.pack_into("<Q", header, _SH_OFFSET, loaded)
        image += header if elf.get_section(index)["sh_offset"] < loaded or index == elf["e_shstrndx"] else bytes(size)
    return bytes(image)
