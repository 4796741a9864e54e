"""System calls that set masks and actions of signals, which `signals` must know.  Handlers as `calls` tells."""

from __future__ import annotations

import errno
import signal
from typing import TYPE_CHECKING

from enclu.native import ptrace, signals
from enclu.native.process import SIGACTION

if TYPE_CHECKING:
    from enclu.native.thread import Thread


class SignalCalls:
    """Answers rt_sigaction and its relatives."""

    CALLS = "rt_sigaction rt_sigprocmask rt_sigreturn"

    def rt_sigaction(self, thread: Thread) -> int | None:
        regs, space = thread.regs, thread.space
        signo, new, old, size = regs.rdi, regs.rsi, regs.rdx, regs.r10
        if size != 8 or not 1 <= signo <= 64 or signo in (signal.SIGKILL, signal.SIGSTOP):
            return None
        try:
            wanted = space.read(new, SIGACTION.size) if new else None
            result, former = signals.action(thread, signo, wanted)
            if old and result == 0:
                space.write(old, former)
        except OSError:
            result = -errno.EFAULT
        return result

    def rt_sigreturn(self, thread: Thread) -> None:
        """The host kernel makes it; the mask that it restores is known before."""
        signals.note_sigreturn(thread)

    def rt_sigprocmask(self, thread: Thread) -> int | None:
        regs = thread.regs
        how, new, old, size = regs.rdi & 0xFFFF_FFFF, regs.rsi, regs.rdx, regs.r10
        if size != 8:
            return None
        before = ptrace.signal_mask(thread.tid)
        try:
            if new:
                given = int.from_bytes(thread.space.read(new, 8), "little")
                given &= ~(signals.bit(signal.SIGKILL) | signals.bit(signal.SIGSTOP))
                if how == signal.SIG_BLOCK:
                    after = before | given
                elif how == signal.SIG_UNBLOCK:
                    after = before & ~given
                elif how == signal.SIG_SETMASK:
                    after = given
                else:
                    raise OSError(errno.EINVAL, "how")
                signals.set_mask(thread, after)
            if old:
                thread.space.write(old, before.to_bytes(8, "little"))
            result = 0
        except OSError as error:
            result = -(error.errno or errno.EINVAL)
        return result
