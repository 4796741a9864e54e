"""System calls that an ignored signal has interrupted, because the thread is traced.

To a thread that is not traced the kernel sends no signal that is ignored (sig_ignored() in kernel/signal.c).  A traced
one is interrupted by it as by any other.  Most calls begin again behind that by themselves.  Those here have given up
by then, and the program would get an EINTR that it cannot have natively: of a child that ends, say, of which it does
not want to know.  So they are made again, their limit of time from its beginning.

A signal with a handler may come after that, before the call has begun.  Then it is what has interrupted the call.
"""

from __future__ import annotations

import errno
import signal
from typing import TYPE_CHECKING

from enclu.base.abi import NR
from enclu.native import proc, ptrace
from enclu.native.inject import SYSCALL_SIZE, call_again
from enclu.native.signals import bit

if TYPE_CHECKING:
    from enclu.native.thread import Thread

NEVER_RESTARTED = frozenset(
    NR[name]
    for name in (
        "read", "readv", "recvfrom", "recvmsg", "recvmmsg", "accept", "accept4",  # of a socket with SO_RCVTIMEO
        "write", "writev", "sendto", "sendmsg", "sendmmsg", "connect",  # of one with SO_SNDTIMEO
        "epoll_wait", "epoll_pwait", "epoll_pwait2", "rt_sigtimedwait", "msgrcv", "msgsnd", "semop", "semtimedop",
        "io_getevents", "io_pgetevents", "io_uring_enter",
    )
)  # fmt: skip
"""Calls that give EINTR after a signal, whatever its action says (signal(7)), and have done nothing then."""
_BY_DEFAULT = (signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH)
"""Signals whose default action is to ignore them.  But SIGCONT: it follows a stop, which has interrupted the call."""
_INTERRUPTED = -errno.EINTR & (1 << 64) - 1


def undo(thread: Thread, signo: int) -> None:
    """The thread has stopped for a signal that somebody has sent, and that is not delivered yet."""
    regs, again = thread.regs, thread.made_again
    if regs.rax == _INTERRUPTED and regs.orig_rax in NEVER_RESTARTED:
        if _ignored(thread, signo):
            call_again(thread)
            thread.made_again = _call(thread)
    elif again is not None and regs.orig_rax == ptrace.NO_SYSCALL and not _ignored(thread, signo):
        thread.made_again = None
        if again == _call(thread):
            regs.rip, regs.rax = regs.rip + SYSCALL_SIZE, _INTERRUPTED
            thread.store()


def _call(thread: Thread) -> tuple[int, ...]:
    """A call that is about to be made."""
    regs = thread.regs
    return regs.rip, regs.rsp, regs.rax, regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9


def _ignored(thread: Thread, signo: int) -> bool:
    status = proc.status(thread.tid)
    by_default = signo in _BY_DEFAULT and not int(status["SigCgt"], 16) & bit(signo)
    return by_default or bool(int(status["SigIgn"], 16) & bit(signo))
