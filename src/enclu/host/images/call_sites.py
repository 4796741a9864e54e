"""Functions of an image by its symbols, and with which constants they call others.

Enclaves make an OCALL by a function of its own, whose code alone has the OCALL's number: as the first argument of a
call of the runtime.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from enclu.host.images.elf_file import PF_X, SYM

if TYPE_CHECKING:
    from capstone import CsInsn

    from enclu.host.images.elf_file import ElfFile

STT_FUNC = 2
LONGEST_FUNCTION = 1 << 16
CALL, JUMP = 0xE8, 0xE9
"""CALL and JMP with a displacement of 32 bits (SDM 2A): a function's last call may be a jump."""
_CLOBBERED = ("rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11")


class Symbols:
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


def calls(
    code: memoryview, address: int, targets: Mapping[int, str], opcodes: tuple[int, ...] = (CALL,)
) -> Iterator[tuple[int, int]]:
    """(address, target) of what looks like a direct call of one of the targets."""
    import numpy as np

    raw = np.frombuffer(code, np.uint8)
    at = np.flatnonzero(np.isin(raw[: max(len(raw) - 4, 0)], opcodes))
    distance = sum(raw[at + 1 + i].astype(np.int64) << 8 * i for i in range(4))
    distance = np.where(distance >= 1 << 31, distance - (1 << 32), distance)
    reached = at + address + 5 + distance
    for target in targets:
        for place in at[reached == target]:
            yield int(place) + address, target


def callers(
    elf: ElfFile, symbols: Symbols, callees: Iterable[str], opcodes: tuple[int, ...] = (CALL,)
) -> Iterator[tuple[str, str, dict[str, int]]]:
    """(caller, callee, registers with a constant in them) of each call of one of these functions by another."""
    targets = {address: name for name in callees if (address := symbols.value(name)) is not None}
    if not targets:
        return
    for segment in elf.loads:
        if not segment.flags & PF_X:
            continue
        code = elf.data[segment.offset : segment.offset + segment.filesz]
        for place, target in calls(code, segment.vaddr, targets, opcodes):
            function = symbols.around(place)
            if function is None or function[0] in targets:
                continue
            start, name = function
            before = bytes(code[start - segment.vaddr : place - segment.vaddr])
            yield name, targets[target], constants(before, start)


def constants(code: bytes, address: int) -> dict[str, int]:
    """Registers with a constant in them after the last of these instructions, which begin a function."""
    import capstone

    decoder: Any = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
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
