"""System calls made by a stopped thread on the supervisor's behalf."""

from __future__ import annotations

import ctypes
import signal
from typing import TYPE_CHECKING

from enclu.native import ptrace
from enclu.native.address_space import OWN_MEMORY
from enclu.native.resume import CONT, resume, until
from enclu.native.stop import Kind, Stop

if TYPE_CHECKING:
    from collections.abc import Callable

    from enclu.native.thread import Thread

SYNCHRONOUS = sum(1 << (s - 1) for s in (signal.SIGILL, signal.SIGTRAP, signal.SIGBUS, signal.SIGFPE, signal.SIGSEGV))
"""Signals that an instruction can raise: the kernel kills a thread that faults while one of them is blocked."""
ALL_BUT_SYNCHRONOUS = (1 << 64) - 1 & ~SYNCHRONOUS
MAX_ERRNO = 4095


class MachineGone(Exception):
    """The program has taken away the memory at which the machine makes calls in it, where nothing seals that."""

    def __init__(self, thread: Thread) -> None:
        super().__init__(
            f"process {thread.process.tgid} has changed memory of its machine, {OWN_MEMORY[0]:#x} to "
            f"{OWN_MEMORY[1]:#x}, and is killed; leave these addresses alone, or use Linux 6.10, which can seal them"
        )
        self.thread = thread


def inject(thread: Thread, nr: int, *arguments: int, stub: int = 0) -> int:
    """Execute one system call in the stopped thread; its raw result, negative errno on failure.

    The registers are as before afterwards.  A system call that the thread was entering is abandoned: end it
    with `finish`.  Destroys the thread's record of its last fault (trap number and error code).
    `stub` is the address of a `syscall; int3` sequence, by default the one of the thread's vDSO image.
    """
    saved = ptrace.UserRegs()
    ctypes.memmove(ctypes.addressof(saved), ctypes.addressof(thread.regs), ctypes.sizeof(saved))
    mask = ptrace.signal_mask(thread.tid)
    ptrace.set_signal_mask(thread.tid, ALL_BUT_SYNCHRONOUS)
    regs = thread.regs
    regs.rip = stub or thread.space.syscall_stub
    regs.rax = nr
    regs.orig_rax = ptrace.NO_SYSCALL
    for name, value in zip(("rdi", "rsi", "rdx", "r10", "r8", "r9"), arguments, strict=False):
        setattr(regs, name, value & (1 << 64) - 1)
    thread.store()
    stop_at = regs.rip + 3

    def trapped(stop: Stop) -> bool:
        if (
            stop.kind is Kind.SIGNAL
            and stop.signo in (signal.SIGSEGV, signal.SIGBUS)
            and thread.fetch().rip == stop_at - 3
        ):
            raise MachineGone(thread)
        return stop.kind is Kind.SIGNAL and stop.signo == signal.SIGTRAP and thread.fetch().rip == stop_at

    until(thread, CONT, trapped)
    result = ctypes.c_int64(regs.rax).value
    ptrace.set_signal_mask(thread.tid, mask)
    ctypes.memmove(ctypes.addressof(regs), ctypes.addressof(saved), ctypes.sizeof(saved))
    thread.store()
    return result


def finish(thread: Thread, result: int) -> None:
    """End the system call that the thread is entering (or that `inject` abandoned) with `result`, and resume."""
    regs = thread.regs
    regs.rax = result & (1 << 64) - 1
    regs.orig_rax = ptrace.NO_SYSCALL
    thread.store()
    resume(thread)


def answering(handler: Callable[[Thread], int | None]) -> Callable[[Thread], None]:
    """What stops at a system call does with it: finish it with the handler's result or, for None, let it be made."""

    def stopped(thread: Thread) -> None:
        result = handler(thread)
        if result is None:
            resume(thread)
        else:
            finish(thread, result)

    return stopped
