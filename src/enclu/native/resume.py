"""Making a stopped thread run: the one place that does.

`resume` is the way back to the program: it asks whoever wants a say in how the thread goes on.  `until` lets it run for
the supervisor's own purposes, to a stop that is wanted; what comes in between is put off, and lost for nobody.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

from enclu.base.abi import SI_KERNEL
from enclu.native import ptrace, user_dispatch
from enclu.native.ptrace import NOTHING
from enclu.native.stop import Kind, Settled, Stop
from enclu.native.wait import ThreadGone
from enclu.sgx.processor import RFLAGS_RF

if TYPE_CHECKING:
    from enclu.native.thread import Thread

CONT, SYSCALL, SINGLESTEP, SYSEMU, SYSEMU_SINGLESTEP = map(
    ptrace.Word, (ptrace.CONT, ptrace.SYSCALL, ptrace.SINGLESTEP, ptrace.SYSEMU, ptrace.SYSEMU_SINGLESTEP)
)
_GETSIGINFO = ptrace.Word(ptrace.GETSIGINFO)
_info = ptrace.SigInfo()
EXIT_CODE = ptrace.event_code(ptrace.Event.EXIT)


def at_last_stop(thread: Thread) -> bool:
    """It has been killed since it stopped, and is gone or at its exit event, which it is not to leave by mistake."""
    return bool(ptrace.raw(_GETSIGINFO, thread.word, NOTHING, _info.word)) or _info.code == EXIT_CODE


def at_exit_event(thread: Thread) -> bool:
    """It is about to end, and stands at its exit event."""
    return not ptrace.raw(_GETSIGINFO, thread.word, NOTHING, _info.word) and _info.code == EXIT_CODE


def _go(thread: Thread, how: ptrace.Word, signo: int) -> None:
    """Raises ProcessLookupError if the thread has been killed."""
    thread.stopped = thread.deaf = False
    thread.settled = Settled.NOTHING
    if thread.displaced is not None:
        thread.replace()
    if at_last_stop(thread) or ptrace.raw(how, thread.word, NOTHING, ptrace.Word(signo) if signo else NOTHING):
        raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))


def resume(thread: Thread, signo: int = 0, *, past_breakpoint: bool = False) -> None:
    """Back to the program, with the signal delivered.  In enclave mode a SYSCALL instruction stops the thread.

    Execution goes on at a breakpoint of ours, not behind it, unless the caller wants it `past_breakpoint`.
    Raises ThreadGone for a thread that has been given up, ProcessLookupError for one that has been killed.
    """
    if thread.exiting:
        raise ThreadGone
    if thread.stepper is not None:
        if not past_breakpoint:
            _meet_breakpoint(thread)
        if thread.stepper.goes_on(thread):
            return
    if thread.disarmed is not None:
        from enclu.native.signal_stack import rearm  # for programs with SS_AUTODISARM alone

        rearm(thread, signo)
    stepping = False
    if thread.debugger is not None:
        if thread.debugger.holds(thread, signo):
            return
        stepping = thread.debugger.steps(thread)
    if thread.user_dispatch:
        user_dispatch.settle(thread, wanted=not thread.mode.enclave)
    if thread.mode.enclave:
        how = SYSEMU_SINGLESTEP if stepping else CONT if thread.in_process else SYSEMU
        if not past_breakpoint:
            _meet_breakpoint(thread)
    elif thread.frame_patch is not None:
        how = SINGLESTEP
    elif thread.to_syscall_exit:
        how = SYSCALL
    else:
        how = SINGLESTEP if stepping else CONT
    _go(thread, how, signo)
    thread.undelivered, thread.record = 0, None


def as_signal(thread: Thread, signo: int) -> None:
    """Deliver a signal of the machine's own in place of the one that the thread has stopped for; it has a handler.

    Raises ProcessLookupError.
    """
    _go(thread, CONT, signo)


def _meet_breakpoint(thread: Thread) -> None:
    """The thread in an enclave is to stop where it is about to go on, if there is a breakpoint."""
    if thread.regs.rip in thread.breakpoints and thread.regs.rflags & RFLAGS_RF and thread.mode.enclave:
        thread.regs.rflags &= ~RFLAGS_RF  # a fault there has set it
        thread.store()


def until(thread: Thread, how: ptrace.Word, wanted: Callable[[Stop], bool], signo: int = 0) -> Stop:
    """Run to the first stop that is wanted.  Raises ThreadGone.

    Signals that come instead are put off (`Thread.put_off`); a stop of the process is told once more afterwards.
    A SIGSEGV that the kernel forces on its way back to user mode, as for a struct rseq that it cannot write
    (rseq_handle_notify_resume() in kernel/rseq.c), would come again and again: the process dies of it, as it would.
    """
    group_stop = False
    if thread.user_dispatch:
        user_dispatch.settle(thread, wanted=False)
    _go(thread, how, signo)
    while True:
        stop, signo = thread.waiter.of(thread), 0
        if wanted(stop):
            break
        if stop.kind is Kind.SIGNAL:
            info = ptrace.SigInfo()
            try:
                info.get(thread.tid)
            except ProcessLookupError:  # killed since, with what may have been its process's signal
                thread.undelivered = stop.signo
                raise
            if info.signo == signal.SIGSEGV and info.code == SI_KERNEL:
                signo = info.signo
            else:
                thread.put_off.append(bytes(info))
        elif stop.kind is Kind.GROUP:
            group_stop = True
        _go(thread, how, signo)
    thread.stopped = True
    if group_stop:
        interrupt(thread)
    return stop


def interrupt(thread: Thread) -> None:
    """PTRACE_INTERRUPT: a running thread stops soon, one that is stopped will stop again when it is resumed."""
    ptrace.ptrace(ptrace.INTERRUPT, thread.tid, 0, 0)


def listen(thread: Thread) -> None:
    """Stay stopped with the whole process, as SIGSTOP and its like want it, until SIGCONT or an interruption."""
    if thread.exiting:
        raise ThreadGone
    thread.stopped, thread.listening = False, True
    ptrace.ptrace(ptrace.LISTEN, thread.tid, 0, 0)


def before_exec(tid: int, stop: Stop) -> None:
    """On with a tracee that is to become the program: it is no `Thread` yet, and nobody wants a say."""
    if stop.kind is Kind.GROUP:
        ptrace.ptrace(ptrace.LISTEN, tid, 0, 0)
    else:
        ptrace.ptrace(ptrace.CONT, tid, 0, stop.signo if stop.kind is Kind.SIGNAL else 0)


def let_go(tid: int, *, kept: bool) -> bool:
    """Let a thread end, traced to the last (`kept`) or not; False if it has been killed here."""
    try:
        ptrace.ptrace(ptrace.CONT if kept else ptrace.DETACH, tid, 0, 0)
    except ProcessLookupError:
        return False
    return True
