"""Which signal an unhandled exception becomes.  Kernel: arch/x86/kernel/traps.c, arch/x86/mm/fault.c."""

from __future__ import annotations

import signal
from dataclasses import dataclass

from enclu.base.abi import (
    BUS_ADRALN,
    BUS_ADRERR,
    FPE_FLTINV,
    FPE_INTDIV,
    ILL_ILLOPC,
    ILL_ILLOPN,
    SEGV_ACCERR,
    SEGV_MAPERR,
    SI_KERNEL,
    TRAP_TRACE,
)
from enclu.linux.fault import Resolution
from enclu.sgx.exceptions import Fault, Vector


@dataclass(frozen=True)
class Signal:
    """A signal with what its siginfo says: si_signo, si_code and si_addr."""

    signo: int
    code: int
    address: int = 0


def signal_of(fault: Fault, resolution: Resolution | None, rip: int) -> Signal:
    """The signal for `fault` at `rip`, after any AEX.

    `resolution` is the page fault handler's verdict.  Every floating-point exception looks like an invalid operation:
    the kernel judges by the synthetic FSW or MXCSR.
    """
    vector = fault.vector
    if vector == Vector.PF:
        if resolution is Resolution.SIGBUS:
            return Signal(signal.SIGBUS, BUS_ADRERR, fault.address)
        code = SEGV_MAPERR if resolution is Resolution.SIGSEGV_MAPERR else SEGV_ACCERR
        return Signal(signal.SIGSEGV, code, fault.address)
    if vector == Vector.UD:
        return Signal(signal.SIGILL, ILL_ILLOPN, rip)
    if vector == Vector.NM:
        return Signal(signal.SIGILL, ILL_ILLOPC, rip)
    if vector == Vector.DE:
        return Signal(signal.SIGFPE, FPE_INTDIV, rip)
    if vector in (Vector.MF, Vector.XM):
        return Signal(signal.SIGFPE, FPE_FLTINV, rip)
    if vector == Vector.BP:
        return Signal(signal.SIGTRAP, SI_KERNEL)
    if vector == Vector.DB:
        return Signal(signal.SIGTRAP, TRAP_TRACE, rip)
    if vector == Vector.AC:
        return Signal(signal.SIGBUS, BUS_ADRALN)
    if vector in (Vector.SS, Vector.NP):
        return Signal(signal.SIGBUS, SI_KERNEL)
    return Signal(signal.SIGSEGV, SI_KERNEL)
