"""System calls about signals: the program sees the masks and actions that it set, the kernel others (`signals`)."""

from __future__ import annotations

import errno
import signal
from typing import TYPE_CHECKING

from enclu.base.abi import NR
from enclu.native import signals
from enclu.native.address_space import SCRATCH, thread_scratch
from enclu.native.inject import SYNCHRONOUS, finish, inject

if TYPE_CHECKING:
    from enclu.native.thread import Thread


class SignalCalls:
    """Answers rt_sigaction and its relatives."""

    CALLS = "rt_sigaction rt_sigprocmask rt_sigreturn rt_sigsuspend ppoll epoll_pwait"

    def rt_sigaction(self, thread: Thread) -> None:
        regs, space = thread.regs, thread.space
        signo, new, old, size = regs.rdi, regs.rsi, regs.rdx, regs.r10
        if size != 8 or not 1 <= signo <= 64 or signo in (signal.SIGKILL, signal.SIGSTOP):
            thread.resume()
            return
        shown = thread.process.handlers.actions.get(signo)
        try:
            if new:
                result = signals.set_action(thread, signo, space.read(new, signals.SIGACTION.size))
            else:
                result = inject(thread, NR["rt_sigaction"], signo, 0, SCRATCH + 64, 8)
            if old and result == 0:
                space.write(old, signals.former_action(shown, space.peek(SCRATCH + 64, signals.SIGACTION.size)))
        except OSError:
            result = -errno.EFAULT
        finish(thread, result)

    def rt_sigreturn(self, thread: Thread) -> None:
        signals.sigreturn(thread)

    def rt_sigprocmask(self, thread: Thread) -> None:
        regs = thread.regs
        how, new, old, size = regs.rdi & 0xFFFF_FFFF, regs.rsi, regs.rdx, regs.r10
        if size != 8:
            thread.resume()
            return
        before = signals.mask_of(thread)
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
        finish(thread, result)

    def _temporary_mask(self, thread: Thread, register: str) -> None:
        """A call that waits with another mask: give it one that leaves the synchronous signals free."""
        regs = thread.regs
        pointer = getattr(regs, register)
        try:
            mask = int.from_bytes(thread.space.read(pointer, 8), "little")
        except OSError:
            thread.resume()
            return
        scratch = thread_scratch(thread)
        thread.space.poke(scratch, (mask & ~SYNCHRONOUS).to_bytes(8, "little"))
        setattr(regs, register, scratch)

        def restore(stopped: Thread) -> None:
            stopped.fetch()
            setattr(stopped.regs, register, pointer)
            stopped.store()

        thread.on_syscall_exit = restore
        thread.store()
        thread.resume()

    def rt_sigsuspend(self, thread: Thread) -> None:
        self._temporary_mask(thread, "rdi")

    def ppoll(self, thread: Thread) -> None:
        self._temporary_mask(thread, "r10")

    def epoll_pwait(self, thread: Thread) -> None:
        self._temporary_mask(thread, "r8")
