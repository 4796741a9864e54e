"""What an Open Enclave image's functions are called, as far as its own symbols tell.

Enclave and host know ECALLs and OCALLs by numbers, which oeedger8r gives them in the order of the EDL files.  ECALLs
are in a table of pointers.  The number of an OCALL is only in the code of the function that makes it, as the first
argument of a call of oe_call_host_function(): it is read from there.  An image without symbols has numbers alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from enclu.host.conventions.open_enclave.abi import CALL_ARGS, CALL_ARGS_WITH_TABLE, DEFAULT_TABLE
from enclu.host.images import call_sites
from enclu.host.images.call_sites import Symbols
from enclu.host.images.elf_file import RELA

if TYPE_CHECKING:
    from enclu.host.images.elf_file import ElfFile
    from enclu.sgx.layout import Structure

BY_TABLE = "oe_call_host_function_by_table_id"
"""Only in enclaves of the time when there were several tables."""
CALLS = ("oe_call_host_function", "oe_switchless_call_host_function", BY_TABLE)
TABLES = ("oe_ecalls_table", "__oe_ecalls_table")
ECALL_PREFIX = "ecall_"
MOST_ECALLS = 4096


@dataclass
class Names:
    """`ocalls` by (table, number); of the program's own functions, table is DEFAULT_TABLE."""

    ecalls: list[str] = field(default_factory=list)
    """By number; empty where there is no name."""
    ocalls: dict[tuple[int, int], str] = field(default_factory=dict)
    tables: bool = False
    """The enclave says with every call in which table the function is."""
    symbols: Symbols | None = None

    @property
    def call_args(self) -> Structure:
        """Of what a call of a function of an EDL file passes, in either direction."""
        return CALL_ARGS_WITH_TABLE if self.tables else CALL_ARGS

    def at(self, offset: int) -> str:
        """The function with this place in it, for people; empty if none is known."""
        function = self.symbols.around(offset) if self.symbols else None
        return f"{function[1]}+{offset - function[0]:#x}" if function else ""

    def rename(self, names: Mapping[str, str]) -> None:
        """OCALLs that are known by other names."""
        self.ocalls = {key: names.get(name, name) for key, name in self.ocalls.items()}

    def ocall(self, table: int, number: int) -> str | None:
        return self.ocalls.get((table, number))


def read(elf: ElfFile) -> Names:
    """Raises ImageError for damaged tables."""
    symbols = Symbols(elf)
    names = Names(tables=BY_TABLE in symbols.by_name, symbols=symbols)
    names.ecalls = _ecalls(elf, symbols)
    for name, table, number in _ocalls(elf, symbols):
        names.ocalls.setdefault((table, number), name)
    return names


def _ecalls(elf: ElfFile, symbols: Symbols) -> list[str]:
    """By the relocations that fill the table with pointers."""
    table = next((t for t in map(symbols.by_name.get, TABLES) if t is not None), None)
    relocations = elf.section(".rela.dyn")
    if table is None or relocations is None:
        return []
    start, names = table["st_value"], [""] * min(table["st_size"] // 8, MOST_ECALLS)
    raw = elf.content(relocations)
    for at in range(0, len(raw) // RELA.size * RELA.size, RELA.size):
        place = RELA.get(raw, "r_offset", at) - start
        if 0 <= place < 8 * len(names) and place % 8 == 0:
            name = symbols.function(RELA.get(raw, "r_addend", at)) or ""
            names[place // 8] = name.removeprefix(ECALL_PREFIX)
    return names


def _ocalls(elf: ElfFile, symbols: Symbols) -> Iterator[tuple[str, int, int]]:
    """(name, table, number) of the functions that make one OCALL each."""
    for name, callee, arguments in call_sites.callers(elf, symbols, CALLS):
        first, second = arguments.get("rdi"), arguments.get("rsi")
        if callee != BY_TABLE and first is not None:
            yield name, DEFAULT_TABLE, first
        elif first is not None and second is not None:
            yield name, first, second
