"""The path of an exception: from the stop of a thread to `linux.trap`, which decides, and back to the thread."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from enclu.base.abi import NR
from enclu.base.events import SignalSent
from enclu.linux import trap
from enclu.linux.trap import Verdict
from enclu.native import cpuid, debug_registers, exceptions, path_calls, ptrace, signals, xcr0_stops
from enclu.native.debug_registers import TRAP_HWBKPT
from enclu.native.inject import inject
from enclu.native.native_fault import exception_of
from enclu.native.process import SYNCHRONOUS_SIGNALS
from enclu.native.resume import resume
from enclu.native.xcr0_stops import Step
from enclu.sgx.exceptions import Fault, Vector

if TYPE_CHECKING:
    from enclu.native.narrowed import NarrowedEnclave
    from enclu.run.supervisor import Supervisor
    from enclu.run.task import Task


def take(sup: Supervisor, task: Task, fault: Fault, *, ordinary: bool = False, at_syscall: bool = False) -> None:
    """Do what follows from an exception at the RIP of a stopped thread.

    `ordinary` says that the instruction is no ENCLU, and outside enclaves; `at_syscall` that this is a system call
    stop.
    """
    verdict = trap.exception(sup.kernel, task, fault, ordinary=ordinary)
    if verdict is Verdict.HOSTS:
        if cpuid.emulate(task, sup.cpuid) or path_calls.recover(task, fault):
            resume(task)
        else:
            resume(task, signals.deliver_native(task))
        return
    task.regs.orig_rax = ptrace.NO_SYSCALL
    task.store()
    if isinstance(verdict, Verdict):
        resume(task)
        return
    if at_syscall:
        # On to a stop that a signal can be delivered from: here one would only be sent, without its siginfo.
        inject(task, NR["getpid"])
    resume(task, signals.deliver(task, verdict))


def signal_stop(sup: Supervisor, task: Task, signo: int) -> None:
    """A signal is about to be delivered to the thread: an exception's, or one that somebody sent."""
    info = ptrace.SigInfo()
    info.get(task.tid)
    fault = exception_of(task, signo, info) if signo in SYNCHRONOUS_SIGNALS else None
    narrowed = sup.narrowed.get(task.mode.eid) if task.mode.enclave else None
    if fault is None:
        _sent(sup, task, signo)
    elif (
        narrowed is None
        and fault.vector == Vector.DB
        and info.code == TRAP_HWBKPT
        and task.regs.rip in task.breakpoints
    ):
        debug_registers.load(task, ())  # where a narrowed enclave has been, there is other code now
        resume(task)
    elif task.mode.enclave:
        _in_enclave(sup, task, narrowed, fault, info)
    else:
        take(sup, task, fault, ordinary=True)


def _at_breakpoint(task: Task, fault: Fault, info: ptrace.SigInfo) -> bool:
    return fault.vector == Vector.DB and info.code == TRAP_HWBKPT and task.regs.rip in task.breakpoints


def _in_enclave(
    sup: Supervisor, task: Task, narrowed: NarrowedEnclave | None, fault: Fault, info: ptrace.SigInfo
) -> None:
    """The host processor took an exception, which may be one of how enclaves are executed here, in an enclave."""
    code = info.code
    if narrowed is not None:
        outcome = xcr0_stops.handle(narrowed, task, fault, info)
        if outcome is Step.ALONE:
            if sup.execute_enclu(task):
                return
            outcome = xcr0_stops.alone(narrowed, task)
        if isinstance(outcome, Step):
            resume(task, past_breakpoint=outcome is Step.PAST_BREAKPOINT)
            return
        fault, raised_by = outcome
        if raised_by is None:
            take(sup, task, fault)
            return
        code = raised_by.code
    left = exceptions.in_enclave(task, fault, code)
    if left is None:
        task.store()
        resume(task)
    else:
        take(sup, task, left)


def _sent(sup: Supervisor, task: Task, signo: int) -> None:
    """Somebody has sent the signal."""
    if task.mode.enclave:
        interrupt(sup, task)
    if signo != signal.SIGSTOP:
        sup.events.emit(SignalSent, signo)
    resume(task, signals.deliver_sent(task, signo))


def interrupt(sup: Supervisor, task: Task) -> None:
    """The stopped thread leaves its enclave for an interrupt."""
    exceptions.to_64_bit_mode(task.regs)
    with sup.events.acting(task.process.tgid, task.tid):
        trap.interrupt(sup.kernel, task)
    task.store()
