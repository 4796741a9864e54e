"""Exceptions that the host processor took in an enclave, which runs there without enclave mode."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from enclu.base.abi import TRAP_TRACE
from enclu.native import signals, user_dispatch
from enclu.native.debug_registers import TRAP_BRKPT, TRAP_HWBKPT, int1_at
from enclu.native.inject import call_again
from enclu.sgx import inside
from enclu.sgx.exceptions import Fault, Vector
from enclu.sgx.processor import RFLAGS_RF, RFLAGS_TF

if TYPE_CHECKING:
    from enclu.native import ptrace
    from enclu.native.thread import Thread

USER_CS, USER_DS = 0x33, 0x2B
"""Selectors of 64-bit user mode (__USER_CS and __USER_DS in arch/x86/include/asm/segment.h)."""
INT_3 = b"\xcd\x03"
"""The long form of INT3."""


def in_enclave(thread: Thread, fault: Fault, code: int) -> Fault | None:
    """What the exception is to a processor in enclave mode, at whose instruction RIP is then; None: nothing.

    `code` is the siginfo's: it tells the kinds of #DB apart.
    """
    if to_64_bit_mode(thread.regs):
        return Fault(Vector.UD, why="SYSENTER or a far transfer in an enclave")
    stepped = fault.vector == Vector.DB and code == TRAP_TRACE
    int1 = fault.vector == Vector.DB and code == TRAP_BRKPT and int1_at(thread) is not None
    if fault.vector == Vector.BP or int1 or (stepped and not thread.mode.dbgoptin):
        undo_trap(thread, code)
    return inside.exception(thread, fault, stepped=stepped, int1=int1)


def undo_trap(thread: Thread, code: int) -> None:
    """Go back to INT3 or INT1, which trapped, or undo a POPF that set TF where it has no effect.

    At a breakpoint of ours nothing has been executed yet.
    """
    regs = thread.regs
    if code == TRAP_HWBKPT:
        regs.rflags &= ~RFLAGS_RF
    elif code == TRAP_TRACE:
        if not thread.mode.dbgoptin:
            regs.rflags &= ~RFLAGS_TF
    elif code == TRAP_BRKPT:
        at = int1_at(thread)
        if at is not None:
            regs.rip = at
    elif thread.space.peek(regs.rip - 2, 2) == INT_3:
        regs.rip -= 2
    else:
        regs.rip -= 1


def is_dispatched(thread: Thread, signo: int, info: ptrace.SigInfo) -> bool:
    """The host kernel has made a SIGSYS of a SYSCALL in an enclave (`native.in_process`).

    Or of one that had been sent and was blocked: nothing else could have had it delivered.
    """
    if signo != signal.SIGSYS or not thread.in_process or not thread.mode.enclave:
        return False
    return info.code == user_dispatch.SYS_USER_DISPATCH or bool(thread.blocked & signals.bit(signo))


def undo_syscall(thread: Thread) -> Fault:
    """SYSCALL in an enclave is #UD.  The instruction itself has overwritten RCX and R11."""
    call_again(thread)
    return Fault(Vector.UD, why="SYSCALL in an enclave")


def to_64_bit_mode(regs: ptrace.UserRegs) -> bool:
    """Whether an enclave has left 64-bit mode, as the instructions that do so, #UD to hardware, run here: undo it.

    Intel's processors have SYSENTER in 64-bit mode.  The kernel returns from it to code of 32 bits elsewhere, and where
    it came from is lost (do_SYSENTER_32() in arch/x86/entry/common.c).
    """
    if regs.cs == USER_CS:
        return False
    regs.cs, regs.ss = USER_CS, USER_DS
    return True
