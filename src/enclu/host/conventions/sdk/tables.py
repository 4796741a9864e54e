"""The tables of functions in an enclave, which edger8r generates: is an EDL file of this enclave?

SDK: gen_ecall_table, gen_entry_table and gen_tproxy_table of sdk/edger8r/linux/CodeGen.ml.  The table of OCALLs has no
names: those are of the functions that call sgx_ocall() with their numbers.  Enclaves whose symbols are stripped do not
say where the tables are.
"""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import SymbolTableSection

from enclu.host.conventions import call_sites
from enclu.host.edl.interface import Interface
from enclu.host.errors import HostError
from enclu.host.images.elf_file import ElfFile
from enclu.host.images.regions import ImageError, map_file

ECALLS, OCALLS = "g_ecall_table", "g_dyn_entry_table"
_COUNT = struct.Struct("<Q")
_ENTRY = 16
"""Bytes of an ECALL's entry: an address, then flags."""
_BRIDGE = "sgx_"
"""Before the name of an ECALL's function: the function that takes its arguments from the structure."""
MOST = 1 << 16
"""ECALLs; more than any enclave has."""
MOST_SHOWN = 8
"""Names in a message."""
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
            tables = _read(ELFFile(file), file)
    except Exception:  # pyelftools raises whatever a damaged file has it run into
        return None
    if tables is not None and tables.ocalls is not None:
        try:
            for name, number in _ocalls(ElfFile(path, map_file(path))):
                if number < tables.ocalls:
                    tables.ocall_names.setdefault(number, name)
        except (ImageError, OSError):
            pass  # without names, then
    return tables


def _ocalls(elf: ElfFile) -> Iterator[tuple[str, int]]:
    """Functions that call sgx_ocall(), and with which number."""
    symbols = call_sites.Symbols(elf)
    for name, _, arguments in call_sites.callers(elf, symbols, _MAKES_OCALLS, (call_sites.CALL, call_sites.JUMP)):
        number = arguments.get("rdi")
        if name not in _RUNTIME and number is not None:
            yield name, number


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
    problem = _ecall_problem(interface, tables) or _ocall_problem(interface, tables)
    if problem:
        built = release(path)
        hint = f"; it is of SDK {built[0]}.{built[1]}, whose files are taken with sdk={built[:2]}" if built else ""
        raise HostError(f"{interface.path} is not of {path}: {problem}{hint}")


def _ecall_problem(interface: Interface, tables: Tables) -> str | None:
    has, declares = tables.ecalls, [ecall.name for ecall in interface.ecalls]
    for number, (declared, name) in enumerate(zip(declares, has, strict=False)):
        if name is not None and name != declared:
            return f"ECALL {number} is `{declared}' in the one and `{name}' in the other"
    if len(has) == len(declares):
        return None
    return f"{len(declares)} ECALLs in the one and {len(has)} in the other" + _differing(declares, filter(None, has))


def _ocall_problem(interface: Interface, tables: Tables) -> str | None:
    names, declares = tables.ocall_names, [ocall.name for ocall in interface.ocalls]
    for number, name in sorted(names.items()):
        # A name that is not declared proves nothing: compilers put small functions into others.
        if interface.ocall_numbers.get(name, number) != number:
            declared = f"is `{declares[number]}'" if number < len(declares) else "is none"
            return f"OCALL {number} {declared} in the one and `{name}' in the other"
    if tables.ocalls is None or tables.ocalls == len(declares):
        return None
    more = _differing(declares, names.values())
    return f"{len(declares)} OCALLs in the one and {tables.ocalls} in the other" + more


def _differing(declared: Iterable[str], names: Iterable[str]) -> str:
    """Functions of one of them, in words."""
    declared, names = list(declared), list(names)
    alone = [name for name in names if name not in declared]
    missing = [name for name in declared if name not in names]
    words = f"; the enclave alone has {_listed(alone)}" if alone else ""
    return words + (f"; it has no {_listed(missing)}" if missing else "")


def _listed(names: list[str]) -> str:
    shown = ", ".join(f"`{name}'" for name in names[:MOST_SHOWN])
    return shown + (f" and {len(names) - MOST_SHOWN} more" if len(names) > MOST_SHOWN else "")
