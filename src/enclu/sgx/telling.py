"""What the processor did, as events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from enclu.base.events import AepFaulted, Aex, EnclaveException, Leaf, LeafFaulted, LeafRefused
from enclu.sgx.exceptions import Vector
from enclu.sgx.structs import EncluLeaf, ErrorCode

if TYPE_CHECKING:
    from enclu.base.listeners import Events
    from enclu.sgx.exceptions import Fault
    from enclu.sgx.processor import Processor

_RETURN_A_CODE = (EncluLeaf.EACCEPT, EncluLeaf.EACCEPTCOPY, EncluLeaf.EGETKEY)
NAMES = {int(leaf): leaf.name for leaf in EncluLeaf}


class Origin:
    """Where a processor is before an AEX changes its registers."""

    __slots__ = ("base", "eid", "rbx", "rip", "tcs")

    def __init__(self, cpu: Processor) -> None:
        mode, regs = cpu.mode, cpu.regs
        self.eid, self.base = (mode.eid, mode.elrange[0]) if mode.enclave else (0, 0)
        """EID 0: in no enclave."""
        self.tcs = mode.tcs_la
        self.rip, self.rbx = regs.rip, regs.rbx


Before = tuple[int, int, int, int, int]
"""RDI, RSI, RBX, RCX and RSP."""


def before(cpu: Processor) -> Before:
    """Of a leaf that is about to be executed."""
    regs = cpu.regs
    return regs.rdi, regs.rsi, regs.rbx, regs.rcx, regs.rsp


def executed(events: Events, cpu: Processor, leaf: int, tcs: int, before: Before, *, notified: bool) -> None:
    """An ENCLU leaf was executed, in the TCS that was in use before, or is now; ERESUME may have entered anew."""
    rax = cpu.regs.rax if leaf == EncluLeaf.EENTER or notified or leaf in _RETURN_A_CODE else 0
    events.emit(Leaf, cpu.mode.eid, NAMES[leaf], tcs or cpu.mode.tcs_la, rax, *before)


def recorded(events: Events, eid: int, leaf: int, tcs: int, rax: int, before: Before) -> None:
    """The same of a leaf that was executed where nobody could tell at once."""
    events.emit(Leaf, eid, NAMES[leaf], tcs, rax, *before)


def refused(events: Events, cpu: Processor, leaf: int) -> None:
    """If the leaf that was executed in an enclave returned an error code."""
    if leaf in _RETURN_A_CODE and cpu.regs.rax and events.heard(LeafRefused):
        from enclu.sgx import refused  # for leaves that are, alone

        reason = f"{ErrorCode(cpu.regs.rax).name}: {refused.why(cpu, leaf)}"
        events.emit(LeafRefused, cpu.mode.eid, NAMES[leaf], cpu.mode.tcs_la, reason)


def left(events: Events, where: Origin, fault: Fault | None) -> None:
    """An AEX, for an exception or an interrupt."""
    events.emit(Aex, where.eid, where.tcs, -1 if fault is None else fault.vector, where.rip)


def no_code(events: Events, cpu: Processor, fault: Fault) -> None:
    """If this fault of code outside is of what an AEX has led to: RIP is the AEP, with the registers of table 37-1."""
    regs = cpu.regs
    if fault.vector == Vector.PF and fault.address == regs.rip == regs.rcx and regs.rax == EncluLeaf.ERESUME:
        why = "no code is there, where the thread goes on after an AEX: RCX of EENTER or ERESUME"
        events.emit(AepFaulted, regs.rbx, regs.rip, why)


def raised(events: Events, where: Origin, fault: Fault) -> None:
    """An exception of which the kernel could not remove the cause."""
    if fault.leaf is not None:
        tcs = where.rbx if fault.leaf in (EncluLeaf.EENTER, EncluLeaf.ERESUME) else where.tcs
        name = NAMES.get(fault.leaf, f"ENCLU[{fault.leaf:#x}]")
        events.emit(
            LeafFaulted, where.eid, name, tcs, fault.vector, fault.error_code, fault.address, fault.reason
        )  # fmt: skip
    elif where.eid:
        events.emit(
            EnclaveException, where.eid, where.tcs, fault.vector, fault.error_code, fault.address, where.rip,
            where.rip - where.base, fault.reason,
        )  # fmt: skip
