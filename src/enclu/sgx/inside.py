"""What is otherwise in an enclave: instructions, and exceptions.  SDM 3D section 36.6.1 and chapter 40."""

from __future__ import annotations

from typing import TYPE_CHECKING

from enclu.sgx.exceptions import Fault, Vector

if TYPE_CHECKING:
    from enclu.sgx.processor import Processor

_PREFIXES = bytes.fromhex("26 2e 36 3e 64 65 66 67 f0 f2 f3")
_REX = range(0x40, 0x50)
_ILLEGAL = bytes.fromhex("6c 6d 6e 6f 8e ca cb cd cf e4 e5 e6 e7 ec ed ee ef")
"""INS, OUTS, MOV to a segment register, far RET, INT n, IRET, IN, OUT."""
_ILLEGAL_0F = bytes.fromhex("33 34 37 a1 a2 a9 b2 b4 b5")
"""RDPMC, SYSENTER, GETSEC, POP FS, CPUID, POP GS, LSS, LFS, LGS."""
_ILLEGAL_GROUPS = {b"\xff": (3, 5), b"\x0f\x00": (0, 1), b"\x0f\x01": (0, 1, 4)}
"""Opcode -> values of ModRM.reg: far CALL, far JMP; SLDT, STR; SGDT, SIDT, SMSW."""
MAX_LENGTH = 15
"""Bytes of the longest instruction."""


def illegal(code: bytes) -> bool:
    """The instruction that begins with `code` is one of those that raise #UD in an enclave (SDM 3D table 36-1)."""
    at = 0
    while at < len(code) and code[at] in _PREFIXES:
        at += 1
    if at < len(code) and code[at] in _REX:
        at += 1
    opcode = code[at : at + 1]
    if opcode == b"\x0f":
        opcode = code[at : at + 2]
        if len(opcode) == 2 and opcode[1] in _ILLEGAL_0F:
            return True
    elif opcode and opcode[0] in _ILLEGAL:
        return True
    modrm = code[at + len(opcode) : at + len(opcode) + 1]
    return bool(modrm) and modrm[0] >> 3 & 7 in _ILLEGAL_GROUPS.get(opcode, ())


def exception(cpu: Processor, fault: Fault, *, stepped: bool, int1: bool = False) -> Fault | None:
    """What enclave mode makes of an exception that a processor without it took there; None: nothing, it goes on.

    SDM 3D sections 40.4.1 (INT1 and INT3) and 40.2.5 (TF).  `stepped` says that a #DB is the trap of TF, `int1` that it
    is INT1's.
    """
    base, size = cpu.mode.elrange
    rip = cpu.regs.rip
    if fault.vector == Vector.BP:
        return fault if cpu.mode.dbgoptin else Fault(Vector.UD, why="INT3 after an opt-out entry")
    if int1 and not cpu.mode.dbgoptin:
        return Fault(Vector.UD, why="INT1 after an opt-out entry")
    if fault.vector == Vector.DB:
        return fault if cpu.mode.dbgoptin or not stepped else None
    if not base <= rip < base + size:
        return Fault(Vector.GP, why="instruction fetch outside ELRANGE in enclave mode")
    if fault.vector == Vector.GP and illegal(cpu.code_at(rip, MAX_LENGTH)):
        return Fault(Vector.UD, why="instruction illegal in an enclave")
    return fault
