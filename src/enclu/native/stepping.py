"""Many instructions of a thread in an enclave, executed one by one: the hot path of whoever looks at each.

A step costs three system calls, by PTRACE_GETREGS, PTRACE_SYSEMU_SINGLESTEP and wait4(2), and little Python.
`native.single_step` executes one instruction and hides what a step shows of itself; this does many, and leaves those
that it does not know as plain ones to its caller.
"""

from __future__ import annotations

import errno
import os
import signal
from typing import TYPE_CHECKING

from enclu.native import debug_registers, ptrace, user_dispatch
from enclu.native.debug_registers import TRAP_BRKPT, TRAP_HWBKPT, Access, Watch
from enclu.native.ptrace import NOTHING
from enclu.native.resume import SYSEMU, SYSEMU_SINGLESTEP, at_last_stop, interrupt
from enclu.native.stop import Kind, Settled, Stop, decode
from enclu.sgx.processor import RFLAGS_TF

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from enclu.native.thread import Thread

STEPPED = signal.SIGTRAP << 8 | 0x7F
"""Wait status of a thread that has executed one instruction, or stands at a breakpoint."""
_GETREGS = ptrace.Word(ptrace.GETREGS)
_PREFIXES = bytes((0x26, 0x2E, 0x36, 0x3E, *range(0x40, 0x50), 0x64, 0x65, 0x66, 0x67, 0xF2, 0xF3))
_TRAPPING = (b"\xcc", b"\xcd", b"\xce", b"\xf1")


def prepare(thread: Thread) -> None:
    """The stopped thread is about to execute instructions: what `resume` would do before it goes on.

    Raises ProcessLookupError if it has been killed.
    """
    if at_last_stop(thread):
        raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
    thread.deaf = False
    thread.settled = Settled.NOTHING
    thread.undelivered, thread.record = 0, None
    thread.replace()
    if thread.user_dispatch:
        user_dispatch.settle(thread, wanted=False)
    hide(thread)


def steps(
    thread: Thread, most: int, plain: Container[int], until: int, executed: Callable[[int], object]
) -> tuple[int, Stop | None]:
    """Execute up to `most` instructions, as long as they are `plain` ones, by address, and none is at `until`.

    How many were, each of which `executed` has been called with; and the stop, if one came that is none of a step's:
    the instruction at RIP has not been executed then, and the thread is not seen as stopped any more.
    A repetition of a string instruction counts as one.
    """
    raw, regs, who, where = ptrace.raw, thread.regs, thread.word, thread.regs_word
    tid, status_of, breakpoints = thread.tid, thread.waiter.status_of, thread.breakpoints
    count, rip = 0, regs.rip
    while count < most and rip in plain and rip != until:
        raw(SYSEMU_SINGLESTEP, who, NOTHING, NOTHING)
        status = status_of(tid)
        if status != STEPPED:
            thread.stopped = False
            return count, decode(status)
        raw(_GETREGS, who, NOTHING, where)
        if regs.rip == rip and _no_step(thread, at_breakpoint=rip in breakpoints):
            hide(thread)
            thread.stopped = False
            return count, decode(status)
        executed(rip)
        count += 1
        rip = regs.rip
    hide(thread)
    return count, None


def hide(thread: Thread) -> None:
    """Take back the TF of a step that the host kernel no longer knows for one.

    A POPF that is stepped has it forget (is_setting_trap_flag() in arch/x86/kernel/step.c), and each step from then on
    leaves TF to be seen, and to trap where nobody steps.
    """
    if thread.regs.rflags & RFLAGS_TF and not thread.mode.dbgoptin:
        thread.regs.rflags &= ~RFLAGS_TF
        thread.store()


def begin_anew(thread: Thread) -> Stop | None:
    """Have the host kernel know the next step for one, after a POPF (see `hide`): by a resumption that is none.

    The stop that came instead, if one did, with the thread not seen as stopped any more; nothing is executed.
    """
    interrupt(thread)
    ptrace.raw(SYSEMU, thread.word, NOTHING, NOTHING)
    stop = decode(thread.waiter.status_of(thread.tid))
    if stop.kind is Kind.INTERRUPTION:
        return None
    thread.stopped = False
    return stop


def traps(code: bytes) -> bool:
    """The instruction is INT3, INT n, INTO or INT1, at which a stop for SIGTRAP is no step's."""
    return code.lstrip(_PREFIXES)[:1] in _TRAPPING


def _no_step(thread: Thread, *, at_breakpoint: bool) -> bool:
    """A debug register has stopped it before its instruction, or somebody's SIGTRAP."""
    info = ptrace.SigInfo()
    info.get(thread.tid)
    return info.code <= 0 or (at_breakpoint and info.code == TRAP_HWBKPT)


def run_to(thread: Thread, address: int) -> Stop | None:
    """Let the thread run to the next time that it is about to execute what is at an address, where it is not now.

    None if it stands there; else the stop that came instead, with the thread not seen as stopped any more.
    When something comes to another thread, this one is stopped for it to have its turn.  Raises ThreadGone; OSError,
    ENOSPC where no debug register is free.
    """
    debug_registers.watch(thread, (Watch(address, Access.EXECUTED),))
    ptrace.raw(SYSEMU, thread.word, NOTHING, NOTHING)
    stop = thread.waiter.turn_of(thread, lambda: interrupt(thread))
    ours = stop.status == STEPPED
    if ours:
        info = ptrace.SigInfo()
        info.get(thread.tid)
        thread.fetch()
        # TRAP_BRKPT: see `debug_registers.told`.
        ours = info.code in (TRAP_HWBKPT, TRAP_BRKPT) and thread.regs.rip == address
    if stop.kind is not Kind.ENDED and stop.kind is not Kind.EXIT:
        debug_registers.watch(thread, ())
    if ours:
        return None
    thread.stopped = False
    return stop
