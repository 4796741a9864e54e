"""A vDSO image: what the build assembled, and what it becomes in a program's memory.

Kernel: Documentation/ABI/stable/vdso; arch/x86/entry/vdso/extable.c for the exception table.
"""

from __future__ import annotations

import functools
import os
import struct
from typing import NamedTuple

from enclu.base.elf import E_SHOFF, SH_OFFSET, SHDR, SHN_LORESERVE, SHN_UNDEF, ST_SHNDX, ST_VALUE, Elf

_EXTABLE_ENTRY = struct.Struct("<QQ")
_UNDO_ENTRY = struct.Struct("<QQ")


class VdsoImage(NamedTuple):
    """One image.  All offsets are in bytes from its start."""

    data: bytes
    symbols: dict[str, int]
    """Names, the stubs' included, to offsets."""
    extable: list[tuple[int, int]]
    """(instruction, fixup): where execution goes on when the instruction raises an exception."""
    host_symbols: dict[str, list[int]]
    """Names of the host kernel's functions to the offsets of their entries in .dynsym."""
    undo: list[tuple[int, int]]
    """(instruction, rule), in order: how a thread is taken out of the code from there on (see `native.trampoline`)."""
    bases: set[int]
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
                    struct.pack_into("<H", image, entry + ST_SHNDX, SHN_UNDEF)
                    struct.pack_into("<Q", image, entry + ST_VALUE, 0)
                else:
                    struct.pack_into("<Q", image, entry + ST_VALUE, real_base + offset - base & (1 << 64) - 1)
        self.bases.add(base)
        return bytes(image)


@functools.cache
def load(name: str) -> VdsoImage:
    """The image assembled from NAME.S; the same object every time.  Raises FileNotFoundError if not built."""
    path = os.path.join(os.path.dirname(__file__), f"{name}.so")
    try:
        with open(path, "rb") as file:
            elf = Elf(file.read())
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing: install enclu with pip, or run hatch_build.py") from None
    host = elf.section(".host")
    entries: dict[str, list[int]] = {}
    for symbol in elf.symbols(".dynsym"):
        if host is not None and symbol.section == host.number:
            entries.setdefault(symbol.name, []).append(symbol.at)
    symbols = {s.name: s.value for s in elf.symbols(".symtab") if s.name and SHN_UNDEF < s.section < SHN_LORESERVE}
    table = elf.section(".extable")
    extable = list(_EXTABLE_ENTRY.iter_unpack(elf.content(table))) if table is not None else []
    return VdsoImage(_mapped(elf), symbols, extable, entries, _undo(elf), set())


def _undo(elf: Elf) -> list[tuple[int, int]]:
    """In order of addresses; of several rules at one, the last holds."""
    table = elf.section(".undo")
    return sorted(dict(_UNDO_ENTRY.iter_unpack(elf.content(table))).items()) if table is not None else []


def _mapped(elf: Elf) -> bytes:
    """What programs get: stripped, with the section headers right behind what is loaded.

    Debuggers read the image from memory and use section headers only if they are in its last page.  So they find
    .eh_frame and can unwind.
    """
    names = elf.sections[elf.names_index]
    (loaded,) = elf.loaded()
    image = bytearray(elf.data[:loaded]) + elf.content(names)
    image += bytes(-len(image) % 8)
    struct.pack_into("<Q", image, E_SHOFF, len(image))
    for section in elf.sections:
        header = bytearray(elf.data[section.header : section.header + SHDR.size])
        if section is names:
            struct.pack_into("<Q", header, SH_OFFSET, loaded)
        image += header if section.offset < loaded or section is names else bytes(SHDR.size)
    return bytes(image)
