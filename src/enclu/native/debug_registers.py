"""DR0 to DR3 and DR7 of a traced thread, which this module alone writes: breakpoints at instructions.

Such a breakpoint stops the thread before it executes an instruction that begins at the address, prefixes included, and
changes no byte.  SDM 3B section 18.2; kernel: arch/x86/kernel/ptrace.c (ptrace_set_debugreg).
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from enclu.native import ptrace

if TYPE_CHECKING:
    from enclu.native.thread import Thread

COUNT = 4
TRAP_BRKPT, TRAP_HWBKPT = 1, 4
"""si_code of SIGTRAP at INT1, and at one (include/uapi/asm-generic/siginfo.h)."""
INT1 = b"\xf1"
RFLAGS_RF = 1 << 16
"""Resume flag: the next instruction meets no breakpoint."""
_DR0 = 848
"""offsetof(struct user, u_debugreg)."""
_DR7 = _DR0 + 7 * 8


def load(thread: Thread, addresses: tuple[int, ...]) -> None:
    """Stop the thread at these addresses, at most `COUNT`, and no others.  Raises OSError."""
    if thread.breakpoints == addresses:
        return
    if thread.breakpoints:
        ptrace.ptrace(ptrace.POKEUSER, thread.tid, _DR7, 0)
        thread.breakpoints = ()
    for number, address in enumerate(addresses):
        ptrace.ptrace(ptrace.POKEUSER, thread.tid, _DR0 + 8 * number, address)
    if addresses:  # L0 to L3; R/W and LEN of an instruction are 0
        ptrace.ptrace(ptrace.POKEUSER, thread.tid, _DR7, sum(1 << 2 * number for number in range(len(addresses))))
    thread.breakpoints = addresses


def told(thread: Thread, info: ptrace.SigInfo) -> ptrace.SigInfo:
    """The siginfo of a stop, where the host kernel did not know a breakpoint of ours for one.

    Once in a million or so it finds nothing in DR6, and says TRAP_BRKPT as of an INT1.  That stands before RIP.
    """
    rip = thread.regs.rip
    lost = info.signo == signal.SIGTRAP and info.code == TRAP_BRKPT and rip in thread.breakpoints
    if lost and thread.space.peek(rip - 1, 1) != INT1:
        return ptrace.SigInfo.fault(signal.SIGTRAP, TRAP_HWBKPT, rip)
    return info
