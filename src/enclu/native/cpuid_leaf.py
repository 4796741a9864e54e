"""The leaf that a CPUID in a program's text asks for, where the code before it leaves no choice.

A CPUID for a leaf that the machine answers as the host does can stay what it is: a stop less, of which the C library's
start makes dozens.  So constants are followed through the function that holds it, along every way on which control may
come: from its start, from jumps of other code, through jump tables, and from where nothing is seen to lead, as to the
code that handles exceptions.  What is not known to keep a register is taken to change it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import capstone
from capstone import x86_const as x86

LARGEST = 1 << 16
"""Bytes of a function that is looked through."""
MASK = (1 << 32) - 1
_ENDS = {"ret", "ud2", "hlt", "int3"}
_PLAIN = {
    "mov", "movabs", "movzx", "movsx", "movsxd", "lea", "push", "pop", "add", "adc", "sub", "sbb", "inc", "dec", "neg",
    "imul", "cdq", "cqo", "and", "or", "xor", "not", "shl", "shr", "sar", "bsf", "bsr", "bt", "cmp", "test", "nop",
    "endbr64", "cpuid", "movaps", "movups", "movdqa", "movdqu", "movd", "movq", "pxor",
}  # fmt: skip
"""Instructions of which the decoder tells rightly what registers they change, with SETcc and CMOVcc."""
_WIDE = {
    narrow: f"r{name}"
    for name in ("ax", "bx", "cx", "dx", "si", "di", "bp", "sp")
    for narrow in (f"r{name}", f"e{name}", name, f"{name[0]}h", f"{name[0]}l", f"{name}l")
} | {f"r{n}{part}": f"r{n}" for n in range(8, 16) for part in ("", "d", "w", "b")}
"""Names of registers to that of the whole one."""

Known = dict[str, int]
"""Registers to the low halves of their values."""


def _after(insn: Any, before: Known) -> Known:
    """What is known behind an instruction."""
    name = insn.mnemonic
    if name not in _PLAIN and not name.startswith(("set", "cmov", "j")):
        return {}
    after = dict(before)
    operands = insn.operands
    source = None
    if name in ("mov", "movabs") and operands[0].type == x86.X86_OP_REG and operands[0].size >= 4:
        if operands[1].type == x86.X86_OP_IMM:
            source = operands[1].imm & MASK
        elif operands[1].type == x86.X86_OP_REG:
            source = before.get(_WIDE.get(insn.reg_name(operands[1].reg), ""))
    elif name == "xor" and operands[0].size >= 4 and operands[0].reg == operands[1].reg != 0:
        source = 0
    for register in insn.regs_access()[1]:
        after.pop(_WIDE.get(insn.reg_name(register), ""), None)
    if source is not None:
        after[_WIDE[insn.reg_name(operands[0].reg)]] = source
    return after


def _tabled(insns: dict[int, Any], tables: Callable[[int], list[int]]) -> list[int]:
    """Where the function's indirect jumps may lead: to any address it forms, and through any table at one.

    Compilers jump by MOVSXD from a table of distances from itself, whose address LEA has formed.
    """
    formed = (
        insn.address + insn.size + insn.operands[1].mem.disp
        for insn in insns.values()
        if insn.mnemonic == "lea" and insn.operands[1].mem.base == x86.X86_REG_RIP
    )
    return [target for address in {*formed} for target in (address, *tables(address)) if target in insns]


def _following(insn: Any, tabled: list[int]) -> list[int] | None:
    """Addresses at which control may go on, an indirect jump at one of `tabled`; None if they cannot be told."""
    name, behind = insn.mnemonic.split()[-1], insn.address + insn.size  # behind prefixes: "bnd jmp"
    if name in _ENDS:
        return []
    if not name.startswith(("j", "loop")):
        return [behind]
    if insn.operands[0].type == x86.X86_OP_REG:
        return tabled or None
    if insn.operands[0].type != x86.X86_OP_IMM:
        return None
    target = insn.operands[0].imm
    return [target] if name == "jmp" else [target, behind]


def leaves(
    code: bytes, begin: int, entries: Iterable[int], tables: Callable[[int], list[int]] = lambda address: []
) -> dict[int, int]:
    """What EAX always is at the CPUIDs of the function `code` that lies at `begin`, by address, where it is known.

    Other code leads to its start and to `entries`; a jump table at an address leads to `tables` of it, at most.
    """
    insns = _decoded(code, begin)
    tabled = _tabled(insns, tables)
    known: dict[int, Known] = {}
    to_do: list[tuple[int, Known]] = [(address, {}) for address in (begin, *entries) if address in insns]
    unseen = (address for address, insn in insns.items() if insn.mnemonic != "nop")  # padding is led to by nothing
    while to_do:
        address, state = to_do.pop()
        before = known.get(address)
        merged = state if before is None else {name: v for name, v in before.items() if state.get(name) == v}
        if merged != before:
            known[address] = merged
            following = _following(insns[address], tabled)
            inside = [each for each in following or () if begin <= each < begin + len(code)]
            if following is None or not insns.keys() >= set(inside):  # or into the middle of an instruction
                return {}
            after = _after(insns[address], merged)
            to_do += [(each, after) for each in inside]
        if not to_do:
            to_do += [(each, Known()) for each in unseen if each not in known][:1]
    return {
        address: state["rax"]
        for address, state in known.items()
        if insns[address].mnemonic == "cpuid" and "rax" in state
    }


def _decoded(code: bytes, begin: int) -> dict[int, Any]:
    """The instructions by address; none if some bytes are no instruction."""
    if len(code) > LARGEST:
        return {}
    decoder: Any = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    decoder.detail = True
    insns = {insn.address: insn for insn in decoder.disasm(code, begin)}
    return insns if sum(insn.size for insn in insns.values()) == len(code) else {}
