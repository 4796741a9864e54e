"""Instructions that depend on XCR0, which is XFRM in an enclave: XSAVE and its relatives, XRSTOR, XGETBV.

SDM 1 sections 13.3 and 13.7 to 13.10; SDM 2 for the encodings; SDM 3D section 39.7.2 (XFRM).
"""

from __future__ import annotations

import enum
import re
from typing import TYPE_CHECKING

from enclu.base.record import record
from enclu.sgx.xsave import HEADER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from enclu.sgx.processor import Registers

PATTERN = re.compile(rb"\x0f(?:\xae[\x20-\x37\x60-\x77\xa0-\xb7]|\xc7[\x20-\x27\x60-\x67\xa0-\xa7]|\x01\xd0)")
"""Opcode and ModRM: 0F AE /4, /5 and /6 and 0F C7 /4, with memory, and 0F 01 D0.  No two overlap."""
TAILS = (b"\x0f", b"\x0f\xae", b"\x0f\xc7", b"\x0f\x01")
"""What may be the beginning of one, where the bytes end."""
LONGEST = 15
"""Bytes of an instruction."""
_SEGMENTS = {0x64: "fs_base", 0x65: "gs_base"}
_PREFIXES = frozenset((0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65, 0x67))
"""Those that leave these instructions what they are.  With LOCK, 66, F2 and F3 they are others, or #UD."""
_REX = range(0x40, 0x50)
_REX_W, _REX_X, _REX_B = 8, 2, 1
_ADDRESS_SIZE = 0x67
_GPR = (
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
)  # fmt: skip
"""In the order in which instructions encode them."""
_WRAP, _WRAP_32 = (1 << 64) - 1, (1 << 32) - 1
XCOMP_BV = slice(HEADER + 8, HEADER + 16)
XSTATE_BV = slice(HEADER, HEADER + 8)


class Kind(enum.Enum):
    """What such an instruction does with XCR0."""

    SAVES = enum.auto()
    """XSAVE, XSAVEC, XSAVEOPT: what is saved is EDX:EAX & XCR0."""
    RESTORES = enum.auto()
    """XRSTOR: the same, and an image that has anything outside XCR0 is #GP."""
    READS = enum.auto()
    """XGETBV."""


@record(frozen=True)
class Instruction:
    """One of them, decoded; of XGETBV only kind and size count."""

    kind: Kind
    size: int
    registers: tuple[tuple[str, int], ...] = ()
    """Of the operand's address: names and scales, "rip" among them."""
    displacement: int = 0
    segment: str = ""
    narrow: bool = False
    """Addresses are 32 bits wide."""
    at_rcx: bytes = b""
    """The same instruction with its operand at RCX."""

    def address(self, regs: Registers) -> int:
        """Linear address of the operand."""
        offset: int = self.displacement + sum(getattr(regs, name) * scale for name, scale in self.registers)
        if any(name == "rip" for name, _ in self.registers):
            offset += self.size
        offset &= _WRAP_32 if self.narrow else _WRAP
        base: int = getattr(regs, self.segment) if self.segment else 0
        return base + offset & _WRAP


def starts(code: bytes | memoryview, at: int) -> Iterator[int]:
    """Where an instruction may begin that has its opcode at index `at` of the code: there, and at each prefix before.

    A processor that begins at any of them executes the opcode.
    """
    yield at
    for before in range(at - 1, max(at - LONGEST + 3, 0) - 1, -1):
        if code[before] not in _PREFIXES and code[before] not in _REX:
            return
        yield before


def decode(code: bytes) -> Instruction | None:
    """The instruction that `code` begins with, None if it is no such one, or not whole."""
    at, segment, narrow = 0, "", False
    while at < len(code) and (code[at] in _PREFIXES or code[at] in _REX):
        if code[at] in _SEGMENTS:
            segment = _SEGMENTS[code[at]]
        narrow = narrow or code[at] == _ADDRESS_SIZE
        at += 1
    rex = code[at - 1] if at and code[at - 1] in _REX else 0  # one that is followed by another prefix is ignored
    if not PATTERN.match(code, at):
        return None
    if code[at + 1] == 0x01:
        return Instruction(Kind.READS, at + 3)
    restores = code[at + 1] == 0xAE and code[at + 2] >> 3 & 7 == 5
    kind = Kind.RESTORES if restores else Kind.SAVES
    operand = _operand(code, at + 2, rex)
    if operand is None or operand[2] > LONGEST:
        return None
    registers, displacement, size = operand
    at_rcx = bytes((0x40 | rex & _REX_W, 0x0F, code[at + 1], code[at + 2] & 0x38 | 1))
    return Instruction(kind, size, registers, displacement, segment, narrow, at_rcx)


def _operand(code: bytes, at: int, rex: int) -> tuple[tuple[tuple[str, int], ...], int, int] | None:
    """Registers and displacement of the memory operand with ModRM at `at`, and where it ends (SDM 2 section 2.1.5)."""
    mod, rm = code[at] >> 6, code[at] & 7
    at += 1
    registers: tuple[tuple[str, int], ...]
    size = (0, 1, 4)[mod]
    if rm == 4:
        if at >= len(code):
            return None
        scale, index, base = 1 << (code[at] >> 6), code[at] >> 3 & 7 | (rex & _REX_X) << 2, code[at] & 7
        at += 1
        registers = () if index == 4 else ((_GPR[index], scale),)
        if base == 5 and mod == 0:
            size = 4
        else:
            registers = (*registers, (_GPR[base | (rex & _REX_B) << 3], 1))
    elif rm == 5 and mod == 0:
        registers, size = (("rip", 1),), 4
    else:
        registers = ((_GPR[rm | (rex & _REX_B) << 3], 1),)
    if at + size > len(code):
        return None
    return registers, int.from_bytes(code[at : at + size], "little", signed=True), at + size


def restorable(image: bytes, xcr0: int) -> bool:
    """XRSTOR takes an image with this header: it says of no component outside XCR0 that it is there.

    SDM 1 section 13.8.1.  What else can be wrong with a header is wrong for every XCR0.
    """
    compacted = int.from_bytes(image[XCOMP_BV], "little")
    there = int.from_bytes(image[XSTATE_BV], "little") | (compacted & ~(1 << 63) if compacted >> 63 else 0)
    return not there & ~xcr0
