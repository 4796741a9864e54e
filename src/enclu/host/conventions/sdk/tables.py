"""The tables of functions in an enclave, which edger8r generates: is an EDL file of this enclave?

SDK: gen_ecall_table and gen_entry_table of sdk/edger8r/linux/CodeGen.ml.  Enclaves whose symbols are stripped do not
say where the tables are.
"""

from __future__ import annotations

import mmap
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import SymbolTableSection

from enclu.host.edl.interface import Interface
from enclu.host.errors import HostError

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
_RELEASE = re.compile(rb"SGX_TRTS_VERSION_(\d{1,3})\.(\d{1,3})\.(\d{1,6})")


@dataclass(frozen=True)
class Tables:
    """Names of ECALLs, None where there is no symbol; how many OCALLs, None if the enclave has no such table."""

    ecalls: tuple[str | None, ...]
    ocalls: int | None


def release(path: Path) -> tuple[int, int, int] | None:
    """The SDK's release by which an image was built; None if it does not say."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            found = _RELEASE.search(content)
            parts = [int(part) for part in found.groups()] if found else []
    except (OSError, ValueError):
        return None
    return (parts[0], parts[1], parts[2]) if parts else None


def string_lengths(release: tuple[int, int, int] | None) -> bool:
    """Whether ECALLs' structures have the lengths of strings, as since SDK 2.1.2, which calls itself 2.1.102.

    Builds from source have 2.1.3 for 2.1.3, and 2.1.42002 for 2.1.
    """
    if release is None or release[:2] != (2, 1):
        return release is None or release[:2] > (2, 1)
    return release[2] in (2, 3, 102, 103)


def read(path: Path) -> Tables | None:
    """The tables of an image; None if its symbols do not say where they are."""
    try:
        with path.open("rb") as file:
            return _read(ELFFile(file), file)
    except Exception:  # pyelftools raises whatever a damaged file has it run into
        return None


def _read(elf: ELFFile, file: BinaryIO) -> Tables | None:
    symbols = elf.get_section_by_name(".symtab")
    if not isinstance(symbols, SymbolTableSection) or symbols.data_size > MOST_SYMBOLS:
        return None
    wanted: dict[str, int] = {}
    functions: dict[int, str] = {}
    for symbol in symbols.iter_symbols():
        if symbol.name in (ECALLS, OCALLS):
            wanted[symbol.name] = symbol["st_value"]
        elif symbol["st_info"]["type"] == "STT_FUNC" and symbol.name.startswith(_BRIDGE):
            functions[symbol["st_value"]] = symbol.name
    if ECALLS not in wanted:
        return None
    start = wanted[ECALLS]
    (count,) = _COUNT.unpack(_bytes(elf, file, start, _COUNT.size))
    if count > MOST:
        return None
    (ocalls,) = _COUNT.unpack(_bytes(elf, file, wanted[OCALLS], _COUNT.size)) if OCALLS in wanted else (None,)
    places = {start + _COUNT.size + i * _ENTRY: i for i in range(count)}
    names: list[str | None] = [None] * count
    for section in elf.iter_sections():
        if not isinstance(section, RelocationSection) or not section.is_RELA():
            continue
        for relocation in section.iter_relocations():
            if relocation["r_offset"] in places:
                name = functions.get(relocation["r_addend"], "")
                names[places[relocation["r_offset"]]] = name.removeprefix(_BRIDGE) or None
    return Tables(tuple(names), ocalls)


def _bytes(elf: ELFFile, file: BinaryIO, address: int, length: int) -> bytes:
    for segment in elf.iter_segments("PT_LOAD"):
        if segment["p_vaddr"] <= address and address + length <= segment["p_vaddr"] + segment["p_filesz"]:
            file.seek(address - segment["p_vaddr"] + segment["p_offset"])
            return file.read(length)
    return b""


def check(path: Path, interface: Interface) -> None:
    """Raise HostError if the enclave's functions are others than the interface's."""
    tables = read(path)
    if tables is None:
        return
    wrong = f"{interface.path} is not of {path}"
    for number, (declared, name) in enumerate(zip(interface.ecalls, tables.ecalls, strict=False)):
        if name is not None and name != declared.name:
            raise HostError(f"{wrong}: ECALL {number} is `{declared.name}' in the one and `{name}' in the other")
    for what, declares, has in (
        ("ECALLs", len(interface.ecalls), len(tables.ecalls)),
        ("OCALLs", len(interface.ocalls), tables.ocalls),
    ):
        if has is not None and declares != has:
            raise HostError(f"{wrong}: {declares} {what} in the one and {has} in the other; another SDK's files?")
