"""DR0 to DR3, DR6 and DR7 of a traced thread, which this module alone reads and writes.

The machine's own are breakpoints at instructions: such a one stops the thread before it executes an instruction that
begins at the address, prefixes included, and changes no byte.  A debugger's may watch data, too; they come behind.
SDM 3B section 18.2; kernel: arch/x86/kernel/ptrace.c (ptrace_set_debugreg).
"""

from __future__ import annotations

import enum
import errno
import signal
from typing import TYPE_CHECKING, NamedTuple

from enclu.native import ptrace

if TYPE_CHECKING:
    from enclu.native.thread import Thread

COUNT = 4
TRAP_BRKPT, TRAP_HWBKPT = 1, 4
"""si_code of SIGTRAP at INT1, and at one (include/uapi/asm-generic/siginfo.h)."""
INT1 = b"\xf1"
_DR0 = 848
"""offsetof(struct user, u_debugreg)."""
_DR6, _DR7 = _DR0 + 6 * 8, _DR0 + 7 * 8


class Access(enum.IntEnum):
    """DR7.R/W: what of an address is watched."""

    EXECUTED = 0
    WRITTEN = 1
    ACCESSED = 3


_LEN = {1: 0, 2: 1, 8: 2, 4: 3}
"""DR7.LEN by bytes."""


class Watch(NamedTuple):
    """What a debugger watches: `size` bytes, a power of two to which the address is aligned; of an instruction 1."""

    address: int
    access: Access
    size: int = 1

    @property
    def valid(self) -> bool:
        return self.size in _LEN and self.address % self.size == 0


def load(thread: Thread, addresses: tuple[int, ...]) -> None:
    """Stop the thread at these addresses, and at no others but a debugger's.  Raises OSError."""
    if thread.breakpoints != addresses:
        _load(thread, addresses, thread.watches)


def watch(thread: Thread, watches: tuple[Watch, ...]) -> None:
    """Have a debugger's registers be these.  Raises OSError, ENOSPC where the machine's leave too few."""
    if thread.watches != watches:
        _load(thread, thread.breakpoints, watches)


def _load(thread: Thread, addresses: tuple[int, ...], watches: tuple[Watch, ...]) -> None:
    if len(addresses) + len(watches) > COUNT:
        raise OSError(errno.ENOSPC, "the four debug registers are all in use")
    if thread.breakpoints or thread.watches:
        ptrace.ptrace(ptrace.POKEUSER, thread.tid, _DR7, 0)
        thread.breakpoints, thread.watches = (), ()
    control = 0
    for number, (address, access, size) in enumerate((*((a, Access.EXECUTED, 1) for a in addresses), *watches)):
        ptrace.ptrace(ptrace.POKEUSER, thread.tid, _DR0 + 8 * number, address)
        control |= 1 << 2 * number | (access | _LEN[size] << 2) << 16 + 4 * number  # L0 to L3; R/W and LEN
    if control:
        ptrace.ptrace(ptrace.POKEUSER, thread.tid, _DR7, control)
    thread.breakpoints, thread.watches = addresses, watches


def met(thread: Thread) -> Watch | None:
    """Which of a debugger's has stopped the thread, if one has.  It is told once."""
    if not thread.watches:
        return None
    status = ptrace.ptrace_value(ptrace.PEEKUSER, thread.tid, _DR6)
    first = len(thread.breakpoints)
    for number, watched in enumerate(thread.watches, first):
        if status >> number & 1:
            ptrace.ptrace(ptrace.POKEUSER, thread.tid, _DR6, 0)
            return watched
    return None


def int1_at(thread: Thread) -> int | None:
    """Where the INT1 stands that a stop which says TRAP_BRKPT is for, if it is.

    Before RIP, for it traps; at RIP beneath KVM on AMD's processors, which makes a fault of it.
    """
    rip = thread.regs.rip
    return next((at for at in (rip - 1, rip) if thread.space.peek(at, 1) == INT1), None)


def told(thread: Thread, info: ptrace.SigInfo) -> ptrace.SigInfo:
    """The siginfo of a stop, where the host kernel did not know a breakpoint of ours for one.

    Once in a million or so it finds nothing in DR6, and says TRAP_BRKPT as of an INT1.
    """
    rip = thread.regs.rip
    trap = info.signo == signal.SIGTRAP and info.code == TRAP_BRKPT
    if trap and rip in thread.breakpoints and int1_at(thread) is None:
        return ptrace.SigInfo.fault(signal.SIGTRAP, TRAP_HWBKPT, rip)
    return info
