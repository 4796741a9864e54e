"""What an Open Enclave image's functions are called, as far as its own symbols tell.

Enclave and host know ECALLs and OCALLs by numbers, which oeedger8r gives them in the order of the EDL files.  ECALLs
are in a table of pointers.  The number of an OCALL is only in the code of the function that makes it, as the first
argument of a call of oe_call_host_function(): it is read from there.  An image without symbols has numbers alone.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from enclu.host.conventions.open_enclave.abi import DEFAULT_TABLE
from enclu.host.images.elf_file import PF_X, RELA, SYM

if TYPE_CHECKING:
    from capstone import CsInsn

    from enclu.host.images.elf_file import ElfFile

STT_FUNC = 2
BY_TABLE = "oe_call_host_function_by_table_id"
"""Only in enclaves of the time when there were several tables."""
CALLS = ("oe_call_host_function", "oe_switchless_call_host_function", BY_TABLE)
TABLES = ("oe_ecalls_table", "__oe_ecalls_table")
ECALL_PREFIX = "ecall_"
MOST_ECALLS = 4096
LONGEST_FUNCTION = 1 << 16
_CALL = 0xE8
_CLOBBERED = ("rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11")


@dataclass
class Names:
    """`ocalls` by (table, number); of the program's own functions, table is DEFAULT_TABLE."""

    ecalls: list[str] = field(default_factory=list)
    """By number; empty where there is no name."""
    ocalls: dict[tuple[int, int], str] = field(default_factory=dict)
    tables: bool = False
    """The enclave says with every call in which table the function is."""
    symbols: _Symbols | None = None

    def at(self, offset: int) -> str:
        """The function with this place in it, for people; empty if none is known."""
        function = self.symbols.around(offset) if self.symbols else None
        return f"{function[1]}+{offset - function[0]:#x}" if function else ""

    def ocall(self, table: int, number: int) -> str | None:
        return self.ocalls.get((table, number))


def read(elf: ElfFile) -> Names:
    """Raises ImageError for damaged tables."""
    symbols = _Symbols(elf)
    names = Names(tables=BY_TABLE in symbols.by_name, symbols=symbols)
    names.ecalls = _ecalls(elf, symbols)
    for name, table, number in _ocalls(elf, symbols):
        names.ocalls.setdefault((table, number), name)
    return names


class _Symbols:
    """.symtab: names that the linker no longer needs."""

    def __init__(self, elf: ElfFile) -> None:
        self.by_name: dict[str, dict[str, int]] = {}
        self._functions: dict[int, tuple[int, str]] = {}
        self._starts: list[int] = []
        table, strings = elf.section(".symtab"), elf.section(".strtab")
        if table is None or strings is None:
            return
        raw, text = elf.content(table), elf.content(strings)
        for at in range(SYM.size, len(raw) // SYM.size * SYM.size, SYM.size):
            symbol = SYM.unpack(raw[at : at + SYM.size])
            if not symbol["st_name"]:
                continue
            name = elf.string(text, symbol["st_name"], ".symtab, st_name")
            self.by_name.setdefault(name, symbol)
            if symbol["st_info"] & 0xF == STT_FUNC:
                known = self._functions.get(symbol["st_value"])
                if known is None or known[1].startswith("_"):
                    self._functions[symbol["st_value"]] = (symbol["st_size"], name)
        self._starts = sorted(self._functions)

    def value(self, name: str) -> int | None:
        symbol = self.by_name.get(name)
        return symbol["st_value"] if symbol else None

    def function(self, address: int) -> str | None:
        """The function that begins there."""
        known = self._functions.get(address)
        return known[1] if known else None

    def around(self, address: int) -> tuple[int, str] | None:
        """Start and name of the function with this address in it."""
        i = bisect.bisect_right(self._starts, address) - 1
        if i < 0:
            return None
        start = self._starts[i]
        size, name = self._functions[start]
        return (start, name) if address - start < min(size, LONGEST_FUNCTION) else None


def _ecalls(elf: ElfFile, symbols: _Symbols) -> list[str]:
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


def _ocalls(elf: ElfFile, symbols: _Symbols) -> Iterator[tuple[str, int, int]]:
    """(name, table, number) of the functions that make one OCALL each."""
    targets = {address: name for name in CALLS if (address := symbols.value(name)) is not None}
    if not targets:
        return
    for segment in elf.loads:
        if not segment.flags & PF_X:
            continue
        code = elf.data[segment.offset : segment.offset + segment.filesz]
        for place, target in _calls(code, segment.vaddr, targets):
            function = symbols.around(place)
            if function is None or function[0] in targets:
                continue
            start, name = function
            arguments = _constants(bytes(code[start - segment.vaddr : place - segment.vaddr]), start)
            first, second = arguments.get("rdi"), arguments.get("rsi")
            if targets[target] != BY_TABLE and first is not None:
                yield name, DEFAULT_TABLE, first
            elif first is not None and second is not None:
                yield name, first, second


def _calls(code: memoryview, address: int, targets: dict[int, str]) -> Iterator[tuple[int, int]]:
    """(address, target) of what looks like a direct call of one of the targets."""
    import numpy as np

    raw = np.frombuffer(code, np.uint8)
    at = np.flatnonzero(raw[: max(len(raw) - 4, 0)] == _CALL)
    distance = sum(raw[at + 1 + i].astype(np.int64) << 8 * i for i in range(4))
    distance = np.where(distance >= 1 << 31, distance - (1 << 32), distance)
    reached = at + address + 5 + distance
    for target in targets:
        for place in at[reached == target]:
            yield int(place) + address, target


def _constants(code: bytes, address: int) -> dict[str, int]:
    """Registers with a constant in them after the last of these instructions, which begin a function."""
    import capstone

    decoder: Any = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)  # type: ignore[no-untyped-call]
    known: dict[str, int] = {}
    for instruction in decoder.disasm(code, address):
        _follow(instruction, known)
    return known


def _follow(instruction: CsInsn, known: dict[str, int]) -> None:
    if instruction.mnemonic == "call":
        for register in _CLOBBERED:
            known.pop(register, None)
        return
    target, _, source = (part.strip() for part in instruction.op_str.partition(","))
    written = _whole(target)
    if written is None or instruction.mnemonic in ("cmp", "test", "push"):
        return
    value = None
    if instruction.mnemonic in ("mov", "movabs"):
        value = known.get(_whole(source) or "")
        if source[:1].isdigit() or source[:1] == "-":
            value = int(source, 0) & (1 << 64) - 1
    elif instruction.mnemonic == "xor" and target == source:
        value = 0
    known.pop(written, None)
    if value is not None and target[:1] in "er":
        known[written] = value


def _whole(register: str) -> str | None:
    """The 64-bit register of one that is written as a whole or in part; None for what is no general register."""
    name = register.rstrip("dwb") if register[:1] == "r" and register[1:2].isdigit() else register
    if name[:1] == "r":
        return name
    if name[:1] == "e":
        return "r" + name[1:]
    return _NARROW.get(name)


_NARROW = {
    part: f"r{register}"
    for register in ("ax", "bx", "cx", "dx")
    for part in (register, register[0] + "l", register[0] + "h")
} | {part: f"r{register}" for register in ("si", "di", "bp", "sp") for part in (register, register + "l")}
