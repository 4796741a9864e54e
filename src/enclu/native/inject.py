"""System calls made by a stopped thread on the supervisor's behalf."""

from __future__ import annotations

import ctypes
import signal
from typing import TYPE_CHECKING

from enclu.base.abi import SI_KERNEL
from enclu.native import ptrace, rseq, scratch
from enclu.native.address_space import OWN_MEMORY
from enclu.native.resume import CONT, SYSCALL, until
from enclu.native.stop import Kind, Stop

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from enclu.native.scratch import Argument
    from enclu.native.thread import Thread

EVERY_SIGNAL = (1 << 64) - 1
FRAME_SIGNAL = signal.SIGSTKFLT
"""The signal for which the kernel builds a frame, or stops a thread, for the supervisor's purposes.  While it does, the
signal's action may not be the program's, in the whole process; so it is one that nobody sends, never one that another
thread may be about to get."""
_TRAP, _FRAME = 1 << signal.SIGTRAP - 1, 1 << FRAME_SIGNAL - 1
BUT_TRAP, BUT_FRAME_SIGNAL = EVERY_SIGNAL & ~_TRAP, EVERY_SIGNAL & ~_FRAME
MAX_ERRNO = 4095
SYSCALL_SIZE, INT3_SIZE = 2, 1
USER_CS = 0x33
"""__USER_CS: the kernel's segment of 64-bit code."""
_ARGUMENTS = ("rdi", "rsi", "rdx", "r10", "r8", "r9")
"""Where a system call has them."""


class MachineGone(Exception):
    """The program has taken away the memory at which the machine makes calls in it, where nothing seals that."""

    def __init__(self, thread: Thread, why: str) -> None:
        super().__init__(
            f"process {thread.process.tgid} has changed memory of its machine, {OWN_MEMORY[0]:#x} to "
            f"{OWN_MEMORY[1]:#x}, and is killed ({why}); leave these addresses alone, or use Linux 6.10, which can "
            "seal them"
        )
        self.thread, self.why = thread, why


def inject(thread: Thread, nr: int, *arguments: Argument, watch: Callable[[Stop], None] | None = None) -> int:
    """Execute one system call in the stopped thread; its raw result, negative errno on failure.

    The registers are as before afterwards.  A system call that the thread was entering is abandoned: it has no result
    until `finish` gives it one, and is made only if it begins again (`call_again`).
    Destroys the thread's record of its last fault (trap number and error code).
    Afterwards a signal can be delivered.  Arguments may be numbers, or what the call gets a pointer to (`scratch`).
    `watch` is shown each stop that the call leads to.  A restartable sequence is aborted.
    """
    rseq.abort(thread)
    saved = bytes(thread.regs)
    _set_call(thread, nr, arguments)
    _execute(thread, SYSCALL_SIZE, watch)
    result = ctypes.c_int64(thread.regs.rax).value
    scratch.fill(thread.space, arguments)
    thread.regs.load(saved)
    thread.store()
    return result


def run_code(thread: Thread, at: int, size: int, results: Sequence[str]) -> list[int]:
    """Execute code of `size` bytes, a system call last and INT3 behind it, in a thread at its exec event.

    What it leaves in the registers `results`.  The thread stands at the first instruction of its program afterwards,
    with the registers that it has there.
    """
    regs = thread.regs
    saved = bytes(regs)
    regs.rip, regs.cs = at, USER_CS
    thread.store()
    _execute(thread, size)
    left = [ctypes.c_int64(getattr(regs, name)).value for name in results]
    regs.load(saved)
    regs.rax, regs.orig_rax = 0, ptrace.NO_SYSCALL  # as execve(2) ends
    thread.store()
    return left


def _execute(thread: Thread, size: int, watch: Callable[[Stop], None] | None = None) -> None:
    """Execute the code of `size` bytes at RIP, a system call last and INT3 behind it, with no signal in between.

    The registers are those behind the call afterwards, and a signal can be delivered.
    """
    mask = ptrace.signal_mask(thread.tid)
    if not mask & _TRAP:
        ptrace.set_signal_mask(thread.tid, BUT_TRAP)
        _to_trap(thread, size, watch)
    else:
        ptrace.set_signal_mask(thread.tid, EVERY_SIGNAL)
        by_stops(thread, watch, size)  # an INT3 would take a SIGTRAP that waits for the thread to unblock it
        to_signal_stop(thread)
    ptrace.set_signal_mask(thread.tid, mask)


def call_at_stub(
    thread: Thread,
    nr: int,
    arguments: Sequence[Argument],
    watch: Callable[[Stop], None] | None = None,
) -> int:
    """Execute one system call and the INT3 behind it, which the thread does not have blocked; the raw result.

    Its registers are those of the call afterwards.
    """
    _set_call(thread, nr, arguments)
    _to_trap(thread, SYSCALL_SIZE, watch)
    scratch.fill(thread.space, arguments)
    return ctypes.c_int64(thread.regs.rax).value


def _to_trap(thread: Thread, size: int, watch: Callable[[Stop], None] | None) -> None:
    begin = thread.regs.rip

    def over(stop: Stop) -> bool:
        if watch is not None:
            watch(stop)
        return _reached(thread, stop, begin, begin + size + INT3_SIZE) and stop.signo == signal.SIGTRAP

    until(thread, CONT, over)


def _set_call(thread: Thread, nr: int, arguments: Sequence[Argument]) -> None:
    """Have the thread stand before the call."""
    regs = thread.regs
    regs.rip = thread.space.syscall_stub
    regs.cs = USER_CS  # a program may be in 32-bit code
    regs.rax = nr
    regs.orig_rax = ptrace.NO_SYSCALL
    for name, value in zip(_ARGUMENTS, scratch.put(thread.space, arguments), strict=False):
        setattr(regs, name, value)
    thread.store()
    thread.call_abandoned = True


def by_stops(thread: Thread, watch: Callable[[Stop], None] | None = None, size: int = SYSCALL_SIZE) -> None:
    """Make the system call at RIP, or the one that is last in `size` bytes of code, by stops and not by an exception.

    The thread is at its end then.  `watch` is shown each stop.  Raises MachineGone.
    """
    begin = thread.regs.rip
    end = begin + size

    def over(stop: Stop) -> bool:
        if watch is not None:
            watch(stop)
        return _reached(thread, stop, begin, end) and stop.kind is Kind.SYSCALL

    for _ in ("entry", "exit"):
        # The end of a call that is abandoned is a stop, too, and each of those before the last.
        until(thread, SYSCALL, over)


def _reached(thread: Thread, stop: Stop, call: int, address: int) -> bool:
    """The thread, which executes what is at `call`, has stopped at the address.

    Raises MachineGone where that cannot be fetched, which is not all that a SIGSEGV there may mean (see `until`).
    """
    rip = thread.fetch().rip
    if stop.kind is Kind.SIGNAL and stop.signo in (signal.SIGSEGV, signal.SIGBUS) and rip == call:
        info = ptrace.SigInfo()
        info.get(thread.tid)
        if info.code > 0 and info.code != SI_KERNEL:
            name = signal.Signals(stop.signo).name
            raise MachineGone(thread, f"{name}, code {info.code}, at the system call at {call:#x}")
    return rip == address


def to_signal_stop(thread: Thread) -> None:
    """Bring a thread that has all signals blocked from a system call stop to one that signals are delivered from."""
    ptrace.set_signal_mask(thread.tid, BUT_FRAME_SIGNAL)
    until(thread, CONT, at_frame_signal, FRAME_SIGNAL)
    info = ptrace.SigInfo()
    info.get(thread.tid)
    if info.code != SI_KERNEL:  # one that was sent, and waited to be unblocked: ours was merged with it
        thread.put_off.append(bytes(info))


def at_frame_signal(stop: Stop) -> bool:
    """The stop is one that the supervisor has brought about by FRAME_SIGNAL."""
    return stop.kind is Kind.SIGNAL and stop.signo == FRAME_SIGNAL


def finish(thread: Thread, result: int) -> None:
    """End the system call that the thread is entering (or that `inject` abandoned) with `result`."""
    regs = thread.regs
    regs.rax = result & (1 << 64) - 1
    regs.orig_rax = ptrace.NO_SYSCALL
    thread.store()


def call_again(thread: Thread) -> None:
    """Undo the beginning of a system call, so that the instruction is executed again."""
    regs = thread.regs
    regs.rip -= SYSCALL_SIZE
    regs.rax, regs.orig_rax = regs.orig_rax, ptrace.NO_SYSCALL
    thread.store()
