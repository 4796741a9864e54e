"""Instructions of the enclave, as far as an audit looks at them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import capstone
from capstone import x86_const

from enclu.host.errors import HostError
from enclu.sgx.inside import MAX_LENGTH

if TYPE_CHECKING:
    from collections.abc import Iterable

    from enclu.host.frames import Gprsgx
    from enclu.sweep.audit.target import Target

DIRECTION = frozenset(("cld", "std"))
LOADS = frozenset(("popf", "popfq", "popfd", "sahf"))
ZEROING = frozenset(("xor", "sub"))
STACK = frozenset(("rsp", "rbp", "esp"))


@dataclass(frozen=True)
class Instruction:
    """One that is there."""

    address: int
    text: str
    sets_flags: bool
    """Arithmetic ones."""
    loads_flags: bool
    """From memory or a register."""
    clears: bool
    """Of a register by itself: whatever was in it, the flags are the same."""
    reads: frozenset[str]
    """Registers, as the widest that they are part of."""
    writes: frozenset[str]
    constant: bool
    """What it writes is always the same."""
    of_stack_pointer: bool
    """No operand but the stack pointer and numbers."""


@lru_cache(1)
def _decoder() -> capstone.Cs:
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    decoder.detail = True
    return decoder


def at(target: Target, address: int) -> Instruction | None:
    """The instruction at an address of the enclave; None if there is none that can be read."""
    found = _decoded(target, address)
    if found is None:
        return None
    read, written = found.regs_access()
    operands = [part.strip() for part in found.op_str.split(",")]
    sets = x86_const.X86_REG_EFLAGS in written and found.mnemonic not in DIRECTION
    registers = [o for o in operands if not o.lstrip("-").startswith("0x") and not o.lstrip("-").isdigit()]
    return Instruction(
        address, f"{found.mnemonic} {found.op_str}".strip(), sets, found.mnemonic in LOADS,
        found.mnemonic in ZEROING and len(operands) == 2 and operands[0] == operands[1],
        _wide(found, read), _wide(found, written), _constant(found, operands),
        bool(registers) and all(o in STACK for o in registers),
    )  # fmt: skip


def _wide(instruction: capstone.CsInsn, registers: Iterable[int]) -> frozenset[str]:
    names = (str(instruction.reg_name(number)) for number in registers)
    return frozenset(f"r{name[1:]}" if name[:1] == "e" and len(name) == 3 else name.rstrip("dwb") for name in names)


def _constant(instruction: capstone.CsInsn, operands: list[str]) -> bool:
    if instruction.mnemonic in ZEROING and len(operands) == 2:
        return operands[0] == operands[1]
    return bool(instruction.mnemonic in ("mov", "movabs") and instruction.operands[1].type == x86_const.X86_OP_IMM)


def memory(target: Target, frame: Gprsgx) -> list[tuple[int, int]]:
    """Address and size of each operand in memory of the instruction that an interrupted enclave stands before.

    An AEX leaves of a #PF's address no more than the page (SDM 3D section 39.4).
    """
    found = _decoded(target, frame.rip)
    places = []
    for operand in found.operands if found is not None else ():
        if operand.type == x86_const.X86_OP_MEM and not operand.mem.segment:
            assert found is not None
            base = _register(found, frame, operand.mem.base)
            index = _register(found, frame, operand.mem.index)
            address = base + index * operand.mem.scale + operand.mem.disp
            places.append((address & (1 << 64) - 1, operand.size))
    return places


def _register(instruction: capstone.CsInsn, frame: Gprsgx, number: int) -> int:
    if number == x86_const.X86_REG_INVALID:
        return 0
    name = str(instruction.reg_name(number))
    if name in ("rip", "eip"):
        return frame.rip + int(instruction.size)
    value: int | None = vars(frame).get(name)
    if value is None and name.startswith("e"):
        value = vars(frame)["r" + name[1:]] & 0xFFFF_FFFF
    return value or 0


def _decoded(target: Target, address: int) -> capstone.CsInsn | None:
    try:
        code = target.stepping.read(address, MAX_LENGTH)
    except HostError:
        try:
            code = target.stepping.read(address, -address % 4096 or MAX_LENGTH)
        except HostError:
            return None
    found: capstone.CsInsn | None = next(_decoder().disasm(code, address, 1), None)
    return found
