"""System calls made by a stopped thread on the supervisor's behalf."""

from __future__ import annotations

import ctypes
import os
import signal
from typing import TYPE_CHECKING

from enclu.native import ptrace

if TYPE_CHECKING:
    from enclu.native.thread import Thread

SYNCHRONOUS = sum(1 << (s - 1) for s in (signal.SIGILL, signal.SIGTRAP, signal.SIGBUS, signal.SIGFPE, signal.SIGSEGV))
"""Signals that an instruction can raise: the kernel kills a thread that faults while one of them is blocked."""
ALL_BUT_SYNCHRONOUS = (1 << 64) - 1 & ~SYNCHRONOUS
MAX_ERRNO = 4095


class ThreadGone(Exception):
    """The thread has died, or become another by exec, while the supervisor was working with it."""


def wait_for(thread: Thread) -> int:
    """The next wait status of one thread.  Raises ThreadGone if it has none.

    What happens to others meanwhile is noted by `Thread.arrived`, which lets those go on that are about to exit: the
    thread may be in exec, for example, where it cannot be stopped before the rest of its process is gone.
    """
    while True:
        try:
            tid, status = os.waitpid(-1, ptrace.WALL)
        except ChildProcessError:
            raise ThreadGone from None
        stopped = os.WIFSTOPPED(status)
        if tid == thread.tid and stopped and status >> 16 != ptrace.Event.EXIT:
            return status
        thread.arrived(tid, status)
        if tid == thread.tid:
            raise ThreadGone
        if stopped and status >> 16 == ptrace.Event.EXEC and _former(tid) == thread.tid:
            raise ThreadGone  # it has another name since its exec


def _former(tid: int) -> int:
    """The name that a thread at its exec event had before."""
    try:
        return ptrace.event_message(tid)
    except ProcessLookupError:  # killed
        return 0


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
    group_stop = False
    ptrace.resume(ptrace.CONT, thread.tid)
    while True:
        status = wait_for(thread)
        stop = status >> 8 & 0xFF
        if status >> 16 == 0 and stop == signal.SIGTRAP:
            thread.fetch()
            if regs.rip == stop_at:
                break
        if status >> 16 == 0 and stop not in (signal.SIGTRAP, signal.SIGTRAP | ptrace.SYSCALL_STOP):
            # A signal that cannot be blocked here (SIGSTOP, or a synchronous one that somebody sent): later.
            thread.pending.append(status)
        elif status >> 16 == ptrace.Event.STOP and stop != signal.SIGTRAP:
            group_stop = True
        ptrace.resume(ptrace.CONT, thread.tid)
    result = ctypes.c_int64(regs.rax).value
    ptrace.set_signal_mask(thread.tid, mask)
    ctypes.memmove(ctypes.addressof(regs), ctypes.addressof(saved), ctypes.sizeof(saved))
    thread.store()
    if group_stop:  # the process is being stopped: have that told once more
        ptrace.ptrace(ptrace.INTERRUPT, thread.tid, 0, 0)
    return result


def finish(thread: Thread, result: int) -> None:
    """End the system call that the thread is entering (or that `inject` abandoned) with `result`, and resume."""
    regs = thread.regs
    regs.rax = result & (1 << 64) - 1
    regs.orig_rax = ptrace.NO_SYSCALL
    thread.store()
    thread.resume()
