"""The tables of functions in an image of the SDK, which edger8r generates.

SDK: gen_ecall_table, gen_entry_table and gen_tproxy_table of sdk/edger8r/linux/CodeGen.ml.  The table of OCALLs has no
names: those are of the functions that call sgx_ocall() with their numbers.  Enclaves whose symbols are stripped do not
say where the tables are.
"""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from enclu.host.images import call_sites
from enclu.host.images.elf_file import RELA, SHT_RELA, ElfFile
from enclu.host.images.regions import ImageError, map_file

ECALLS, OCALLS = "g_ecall_table", "g_dyn_entry_table"
_COUNT = struct.Struct("<Q")
_ENTRY = 16
"""Bytes of an ECALL's entry: an address, then flags."""
_BRIDGE = "sgx_"
"""Before the name of an ECALL's function: the function that takes its arguments from the structure."""
MOST = 1 << 16
"""ECALLs; more than any enclave has."""
MOST_SYMBOLS = 32 << 20
"""Bytes of symbols that are looked through."""
_MAKES_OCALLS = ("sgx_ocall", "sgx_ocall_switchless")
_RUNTIME = ("do_add_thread",)
"""The runtime's own callers of sgx_ocall(), with numbers that are in no table or, here, with 0 for any."""
_RELEASE = re.compile(rb"SGX_TRTS_VERSION_(\d{1,3})\.(\d{1,3})\.(\d{1,6})")


@dataclass(frozen=True)
class Tables:
    """Names of ECALLs, None where there is no symbol; how many OCALLs, None if the enclave has no such table."""

    ecalls: tuple[str | None, ...]
    ocalls: int | None
    ocall_names: dict[int, str] = field(default_factory=dict)
    """By number, of those OCALLs that the enclave's code makes."""


def release(path: Path) -> tuple[int, int, int] | None:
    """The SDK's release by which an image was built; None if it does not say."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            found = _RELEASE.search(content)
            parts = [int(part) for part in found.groups()] if found else []
    except (OSError, ValueError):
        return None
    return (parts[0], parts[1], parts[2]) if parts else None


def read(path: Path) -> Tables | None:
    """The tables of an image; None if its symbols do not say where they are, or it is damaged."""
    try:
        elf = ElfFile(path, map_file(path))
        table = elf.section(".symtab")
        if table is None or table.size > MOST_SYMBOLS:
            return None
        symbols = call_sites.Symbols(elf)
        found = _read(elf, symbols)
    except ImageError:
        return None
    if found is not None and found.ocalls is not None:
        for name, number in _ocalls(elf, symbols):
            if number < found.ocalls:
                found.ocall_names.setdefault(number, name)
    return found


def _ocalls(elf: ElfFile, symbols: call_sites.Symbols) -> Iterator[tuple[str, int]]:
    """Functions that call sgx_ocall(), and with which number."""
    for name, _, arguments in call_sites.callers(elf, symbols, _MAKES_OCALLS, (call_sites.CALL, call_sites.JUMP)):
        number = arguments.get("rdi")
        if name not in _RUNTIME and number is not None:
            yield name, number


def _read(elf: ElfFile, symbols: call_sites.Symbols) -> Tables | None:
    """Raises ImageError."""
    start = symbols.value(ECALLS)
    count = None if start is None else _number(elf, start)
    if start is None or count is None or count > MOST:
        return None
    names: list[str | None] = [None] * count
    first = start + _COUNT.size
    for place, function in _relocations(elf, first, first + count * _ENTRY):
        name = symbols.function(function) or ""
        if (place - first) % _ENTRY == 0 and name.startswith(_BRIDGE):
            names[(place - first) // _ENTRY] = name.removeprefix(_BRIDGE)
    table = symbols.value(OCALLS)
    return Tables(tuple(names), None if table is None else _number(elf, table))


def _relocations(elf: ElfFile, start: int, end: int) -> Iterator[tuple[int, int]]:
    """(r_offset, r_addend) of those between two addresses: pointers that the enclave will have there."""
    import numpy as np

    for section in elf.sections:
        if section.type == SHT_RELA:
            raw = elf.content(section)
            rows = np.frombuffer(raw[: len(raw) // RELA.size * RELA.size], "<u8").reshape(-1, 3)
            within = rows[(rows[:, 0] >= start) & (rows[:, 0] < end)]
            yield from zip(within[:, 0].tolist(), within[:, 2].tolist(), strict=True)


def _number(elf: ElfFile, address: int) -> int | None:
    """The number with which a table begins; None if it is not in the file."""
    for segment in elf.loads:
        if segment.vaddr <= address and address + _COUNT.size <= segment.vaddr + segment.filesz:
            at = address - segment.vaddr + segment.offset
            number: int = _COUNT.unpack(elf.data[at : at + _COUNT.size])[0]
            return number
    return None
