"""Which signal an unhandled exception becomes.  Kernel: arch/x86/kernel/traps.c, arch/x86/mm/fault.c."""

from __future__ import annotations

import enum
import signal
from typing import TYPE_CHECKING

from enclu.base.abi import (
    BUS_ADRALN,
    BUS_ADRERR,
    FPE_FLTDIV,
    FPE_FLTINV,
    FPE_FLTOVF,
    FPE_FLTRES,
    FPE_FLTUND,
    FPE_INTDIV,
    ILL_ILLOPC,
    ILL_ILLOPN,
    SEGV_ACCERR,
    SEGV_MAPERR,
    SI_KERNEL,
    TRAP_TRACE,
)
from enclu.sgx.exceptions import Fault, Vector
from enclu.sgx.processor import Signal

if TYPE_CHECKING:
    from enclu.sgx.processor import Processor


class Resolution(enum.Enum):
    """What becomes of a page fault."""

    RESOLVED = enum.auto()
    SIGSEGV_MAPERR = enum.auto()
    SIGSEGV_ACCERR = enum.auto()
    SIGBUS = enum.auto()


_FLOATING_POINT = ((0x01, FPE_FLTINV), (0x04, FPE_FLTDIV), (0x08, FPE_FLTOVF), (0x12, FPE_FLTUND), (0x20, FPE_FLTRES))
"""Exception flags of FSW and MXCSR, in the order in which fpu__exception_code() looks at them, and si_code."""


def signal_of(fault: Fault, cpu: Processor, resolution: Resolution | None = None) -> Signal:
    """The signal for `fault` of a processor, after any AEX.

    `resolution` is the page fault handler's verdict, if it is known.
    """
    signo, code, address = _siginfo(fault, cpu, resolution)
    return Signal(signo, code, address, (fault.vector, fault.error_code, fault.address))


def _siginfo(fault: Fault, cpu: Processor, resolution: Resolution | None) -> tuple[int, int, int]:
    vector, rip = fault.vector, cpu.regs.rip
    if vector == Vector.PF:
        if resolution is Resolution.SIGBUS:
            return signal.SIGBUS, BUS_ADRERR, fault.address
        code = SEGV_MAPERR if resolution is Resolution.SIGSEGV_MAPERR else SEGV_ACCERR
        return signal.SIGSEGV, code, fault.address
    if vector in (Vector.MF, Vector.XM):
        return signal.SIGFPE, _floating_point_code(vector, cpu.xsave()), rip
    known: dict[int, tuple[int, int, int]] = {
        Vector.UD: (signal.SIGILL, ILL_ILLOPN, rip), Vector.NM: (signal.SIGILL, ILL_ILLOPC, rip),
        Vector.DE: (signal.SIGFPE, FPE_INTDIV, rip), Vector.BP: (signal.SIGTRAP, SI_KERNEL, 0),
        Vector.DB: (signal.SIGTRAP, TRAP_TRACE, rip), Vector.AC: (signal.SIGBUS, BUS_ADRALN, 0),
        Vector.SS: (signal.SIGBUS, SI_KERNEL, 0), Vector.NP: (signal.SIGBUS, SI_KERNEL, 0),
    }  # fmt: skip
    return known.get(vector, (signal.SIGSEGV, SI_KERNEL, 0))


def _floating_point_code(vector: int, image: bytes | bytearray) -> int:
    """fpu__exception_code(), by the control and status words in the XSAVE image."""
    if vector == Vector.MF:
        control, raised = (int.from_bytes(image[at : at + 2], "little") for at in (0, 2))
        unmasked = raised & ~control
    else:
        mxcsr = int.from_bytes(image[24:28], "little")
        unmasked = mxcsr & ~(mxcsr >> 7)
    return next((code for flags, code in _FLOATING_POINT if unmasked & flags), FPE_FLTINV)
