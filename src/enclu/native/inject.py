"""System calls made by a stopped thread on the supervisor's behalf."""

from __future__ import annotations

import ctypes
import signal
from typing import TYPE_CHECKING

from enclu.native import ptrace
from enclu.native.resume import CONT, resume, until
from enclu.native.stop import Kind, Stop

if TYPE_CHECKING:
    from enclu.native.thread import Thread

SYNCHRONOUS = sum(1 << (s - 1) for s in (signal.SIGILL, signal.SIGTRAP, signal.SIGBUS, signal.SIGFPE, signal.SIGSEGV))
"""Signals that an instruction can raise: the kernel kills a thread that faults while one of them is blocked."""
ALL_BUT_SYNCHRONOUS = (1 << 64) - 1 & ~SYNCHRONOUS
MAX_ERRNO = 4095


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
