"""A task of the machine's own in an address space of the program's: it makes system calls there, and nothing else.

Memory is changed for the machine's sake while none of the program's threads is at hand, as when another process needs
EPC pages.  A thread that was stopped for that would notice: epoll_wait(2) and its like give EINTR after any stop, and
who waits in the kernel for a page (userfaultfd, FUSE) cannot stop before somebody serves it, who may be waiting for the
machine.  So the task shares the memory, and no more: no descriptors (a pipe ends when its last one is closed), no
directory, no session and no signal but SIGKILL.  It is stopped whenever it makes no call.

It is nobody's child whom the program could wait for: a middle one, which is gone at once, has cloned it, so that init
adopts it (forget_original_parent() in kernel/exit.c), if `run.orphans` says so.  The middle one is the program's child,
which only __WALL and __WCLONE find.  gVisor's systrap platform calls the like a syscall thread.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import struct
from typing import TYPE_CHECKING

from enclu.base.abi import (
    CLONE_FILES,
    CLONE_VM,
    CLOSE_RANGE_UNSHARE,
    NR,
    PR_SET_NAME,
    WCLONE,
)
from enclu.native import proc, ptrace, scratch
from enclu.native.address_space import VDSO_BASE
from enclu.native.inject import BUT_TRAP, USER_CS, call_at_stub, inject
from enclu.native.process import Process
from enclu.native.resume import CONT, until
from enclu.native.stop import Kind, Stop
from enclu.native.thread import Thread
from enclu.sgx.enclave_mode import SLOT_SIZE
from enclu.sgx.processor import RFLAGS_TF

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from enclu.native.scratch import Argument

NAME = b"enclu-syscalls"
"""What the task is called (PR_SET_NAME), for who looks at all processes.  Its command line is the program's."""
_OPTIONS = ptrace.Option.TRACESYSGOOD | ptrace.Option.TRACECLONE | ptrace.Option.EXITKILL
_RANGE = struct.Struct("<3Q")
"""Start, or what mprotect gave, length and protection."""
LAST_DESCRIPTOR = (1 << 32) - 1


class NoTask(Exception):
    """The program, or the host kernel, does not let there be one: threads are halted instead."""


def keeps_namespace(thread: Thread) -> bool:
    """Children of the thread are in its PID namespace.

    The first one after unshare(CLONE_NEWPID) would be the init of another.  Raises OSError.
    """
    return proc.namespace(thread.tid, "pid") == proc.namespace(thread.tid, "pid_for_children")


class SyscallTask:
    """One of them, or the middle one that makes it."""

    def __init__(self, tid: int, maker: Thread) -> None:
        """`tid` is of a child that the stopped thread `maker` has cloned."""
        space = maker.space
        slot = memoryview(bytearray(SLOT_SIZE))  # no place in the table of processors: it is none
        self.thread = Thread(tid, Process(tid, space), maker.machine, slot, maker.waiter)

    @property
    def tid(self) -> int:
        return self.thread.tid

    def begin(self, first: Stop | None) -> None:
        """It is there once it has made its first stop, which may have come before.  Raises ThreadGone, OSError."""
        if first is None:
            self.thread.waiter.of(self.thread)
        self.thread.stopped = True
        ptrace.ptrace(ptrace.SETOPTIONS, self.tid, 0, _OPTIONS)
        ptrace.set_signal_mask(self.tid, BUT_TRAP)
        self.thread.fetch().rflags &= ~RFLAGS_TF

    def let_go_of_all(self) -> None:
        """Share nothing but memory.  Raises NoTask.

        The descriptors are its maker's own table so far: none is closed, which could wait for a file's server.
        """
        result = self.call(NR["close_range"], 0, LAST_DESCRIPTOR, CLOSE_RANGE_UNSHARE)
        if result < 0:  # before Linux 5.9, or denied by the program's own seccomp filter
            raise NoTask(f"close_range: {os.strerror(-result)}")
        self.call(NR["setsid"])
        self.call(NR["chdir"], b"/\0")
        self.call(NR["prctl"], PR_SET_NAME, NAME + b"\0")

    def call(self, nr: int, *arguments: Argument) -> int:
        """Execute one system call; its raw result.  Raises ThreadGone, ProcessLookupError and MachineGone."""
        result = call_at_stub(self.thread, nr, arguments)
        self.thread.put_off.clear()  # nobody has a signal for it but by mistake
        return result

    def protect(self, ranges: Sequence[tuple[int, int]], prot: int) -> bool:
        """mprotect(2) of one range after the other; whether all of that was done.  Raises as `call`."""
        symbols, space, regs = self.thread.space.image.symbols, self.thread.space, self.thread.regs
        table = bytearray().join(_RANGE.pack(start, end - start, prot) for start, end in ranges)
        (regs.rbx,) = scratch.put(space, (table,))
        regs.rbp, regs.rip = regs.rbx + len(table), VDSO_BASE + symbols["enclu_protect"]
        regs.cs, regs.orig_rax = USER_CS, ptrace.NO_SYSCALL
        self.thread.store()
        behind = VDSO_BASE + symbols["enclu_protected"]
        until(self.thread, CONT, lambda stop: stop.signo == signal.SIGTRAP and self.thread.fetch().rip == behind)
        scratch.fill(space, (table,))
        self.thread.put_off.clear()
        return not any(result for result, _, _ in _RANGE.iter_unpack(table))

    def end(self) -> None:
        """Kill it, and return when it holds no memory any more."""
        self.thread.exiting = True
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.tid, signal.SIGKILL)
        self.thread.waiter.end_of(self.tid)


def clone(maker: Thread, note: Callable[[int], None]) -> int:
    """A child of the stopped thread that shares memory and, so far, descriptors.  `note` is told its tid at once.

    What the maker's PID namespace calls it.  Raises OSError.
    """

    def watch(stop: Stop) -> None:
        if stop.kind is Kind.BIRTH:
            note(ptrace.event_message(maker.tid, stop.event))

    number = inject(maker, NR["clone"], CLONE_VM | CLONE_FILES, 0, 0, 0, 0, watch=watch)
    if number < 0:
        raise OSError(-number, f"clone: {errno.errorcode.get(-number, number)}")
    return number


def reap(maker: Thread, number: int) -> None:
    """Have the maker wait for its child, which has ended, and which only __WCLONE finds."""
    inject(maker, NR["wait4"], number, 0, WCLONE, 0)
