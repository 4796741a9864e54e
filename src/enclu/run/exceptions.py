"""The path of an exception: from the stop of a thread to `linux.trap`, which decides, and back to the thread."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from enclu.base.abi import TRAP_TRACE
from enclu.base.events import SignalSent
from enclu.native import cpuid, debug_registers, exceptions, ignored_signals, path_calls, ptrace, signals, text_poke
from enclu.native.debug_registers import TRAP_HWBKPT
from enclu.native.native_fault import exception_of, have_frame_handler, raised, raised_by_enclu
from enclu.native.process import SYNCHRONOUS_SIGNALS
from enclu.native.resume import resume
from enclu.native.stop import Settled
from enclu.sgx import enclu, telling
from enclu.sgx.exceptions import Fault, Vector
from enclu.sgx.processor import RFLAGS_TF, Signal
from enclu.sgx.structs import ENCLU, EncluLeaf

if TYPE_CHECKING:
    from enclu.linux.trap import Verdict
    from enclu.native.narrowed import NarrowedEnclave
    from enclu.run.supervisor import Supervisor
    from enclu.run.task import Task

ENCLU_SIGNALS = (signal.SIGILL, signal.SIGSEGV)
"""What a host processor makes of ENCLU: see `native_fault.raised_by_enclu`."""


def take(sup: Supervisor, task: Task, fault: Fault, *, ordinary: bool = False) -> None:
    """Do what follows from an exception at the RIP of a stopped thread.

    `ordinary` says that the instruction is no ENCLU, and outside enclaves.
    """
    if ordinary and fault.vector == Vector.UD and cpuid.emulate(task, sup.cpuid):
        resume(task)
        return
    inside = task.mode.enclave
    from enclu.linux import trap  # where nothing goes wrong, nobody need wait for it

    verdict = trap.exception(sup.kernel, task, fault, ordinary=ordinary)
    if verdict is trap.Verdict.HOSTS:
        if path_calls.recover(task, fault) or text_poke.meets(task, fault):
            resume(task)
        else:
            telling.no_code(sup.events, task, fault)
            _deliver(sup, task, signals.deliver_native(task), fault)
        return
    conclude(sup, task, fault, verdict, inside=inside)


def conclude(sup: Supervisor, task: Task, fault: Fault, verdict: Signal | Verdict, *, inside: bool) -> None:
    """Resume the thread, which was `inside` before; registers are what they are to be."""
    task.regs.orig_rax = ptrace.NO_SYSCALL
    task.store()
    if not isinstance(verdict, Signal):
        if inside and task.in_process:
            have_frame_handler(task)
        # Of an AEP with ERESUME nothing is to be seen but that: it need not stop once more.
        if not (inside and _at_eresume(task) and execute_enclu(sup, task)):
            resume(task)
        return
    _deliver(sup, task, signals.deliver(task, verdict), fault)


def _deliver(sup: Supervisor, task: Task, signo: int, fault: Fault | None = None) -> None:
    """Resume with the signal, if there is one: the last moment at which all of a process is there that it ends."""
    if signo and sup.cores is not None:
        sup.cores.before(task, signo, fault)
    resume(task, signo)


def signal_stop(sup: Supervisor, task: Task, signo: int) -> None:
    """A signal is about to be delivered to the thread: an exception's, or one that somebody sent."""
    task.fetch()
    info = ptrace.SigInfo()
    info.get(task.tid)
    if task.frame_patch is not None:
        if signo == signal.SIGTRAP and info.code == signal.SIGTRAP:
            signals.apply_frame_patch(task)
            resume(task)
            return
        signals.no_frame(task)  # there was no room for it: this is the SIGSEGV that tells
    if task.blocked and signo in SYNCHRONOUS_SIGNALS:
        signals.forced(task, signo)
        info.get(task.tid)
    info = debug_registers.told(task, info)
    if exceptions.is_dispatched(task, signo, info):
        at_syscall = exceptions.undo_syscall(task)
        signals.unforce(task, info)
        take(sup, task, at_syscall)
        return
    if task.settled is Settled.ON and raised(info):
        resume(task)  # by an instruction that was none of the program's
        return
    at_enclu = task.settled is Settled.BACK and raised(info)
    if signo == signal.SIGTRAP and info.code == TRAP_TRACE and not task.mode.enclave and sup.transitions.stepped(task):
        at_enclu = False
    at_enclu = at_enclu or (signo in ENCLU_SIGNALS and raised_by_enclu(task.regs, info))
    if at_enclu and execute_enclu(sup, task):
        return
    fault = exception_of(task, signo, info) if signo in SYNCHRONOUS_SIGNALS else None
    narrowed = sup.narrowed.get(task.mode.eid) if task.mode.enclave else None
    if fault is None:
        _sent(sup, task, signo)
    elif narrowed is None and _at_breakpoint(task, fault, info):
        debug_registers.load(task, ())  # where a narrowed enclave has been, there is other code now
        resume(task)
    elif task.mode.enclave and fault.vector == Vector.UD and sup.transitions.emulates(task):
        resume(task)
    elif task.mode.enclave:
        _in_enclave(sup, task, narrowed, fault, info)
    else:
        take(sup, task, fault, ordinary=True)


def _at_eresume(task: Task) -> bool:
    regs = task.regs
    at_enclu = not task.mode.enclave and regs.rip in task.space.enclu_sites and not regs.rflags & RFLAGS_TF
    return at_enclu and regs.rax & 0xFFFF_FFFF == EncluLeaf.ERESUME


def execute_enclu(sup: Supervisor, task: Task) -> bool:
    """Execute the ENCLU at RIP, and resume; False if there is none."""
    regs, space = task.regs, task.process.space
    site, transitions = regs.rip, sup.transitions
    if space.peek(site, len(ENCLU)) != ENCLU and not transitions.was_enclu(task, site):
        return False
    space.enclu_sites.add(site)
    leaf, tcs = regs.rax & 0xF, task.mode.tcs_la
    before = telling.before(task) if sup.leaves.wanted else None
    if transitions.asks:
        transitions.before(task, leaf)
    while True:
        try:
            notified = enclu.execute(task)
            break
        except Fault as fault:
            if not transitions.asks or not transitions.faulted(task, leaf):
                take(sup, task, fault)
                return True
    sup.leaves.counts[leaf] += 1
    if before is not None:
        sup.executed(task, leaf, tcs, before, notified=notified)
    telling.refused(sup.events, task, leaf)
    enter_narrowed(sup, task)
    if transitions.asks:
        transitions.after(task, leaf, site)
    stepping = task.mode.dbgoptin or not task.mode.enclave
    if stepping and regs.rflags & RFLAGS_TF and (leaf != EncluLeaf.ERESUME or notified):
        # A single-step trap is pending behind ENCLU; ERESUME clears it (SDM 3D section 40.2), unless it notifies.
        take(sup, task, Fault(Vector.DB))
        return True
    task.store()
    resume(task)
    return True


def enter_narrowed(sup: Supervisor, task: Task) -> None:
    """A leaf has been executed, after which the thread may be in a narrowed enclave."""
    narrowed = sup.narrowed.get(task.mode.eid) if task.mode.enclave else None
    if narrowed is not None:
        narrowed.entered(task)


def _at_breakpoint(task: Task, fault: Fault, info: ptrace.SigInfo) -> bool:
    return fault.vector == Vector.DB and info.code == TRAP_HWBKPT and task.regs.rip in task.breakpoints


def _in_enclave(
    sup: Supervisor, task: Task, narrowed: NarrowedEnclave | None, fault: Fault, info: ptrace.SigInfo
) -> None:
    """The host processor took an exception, which may be one of how enclaves are executed here, in an enclave."""
    code = info.code
    if narrowed is not None:
        from enclu.native import xcr0_stops  # for such enclaves alone
        from enclu.native.xcr0_stops import Step

        outcome = xcr0_stops.handle(narrowed, task, fault, info)
        if outcome is Step.ALONE:
            if execute_enclu(sup, task):
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
    ignored_signals.undo(task, signo)
    _deliver(sup, task, signals.deliver_sent(task, signo))


def interrupt(sup: Supervisor, task: Task) -> None:
    """The stopped thread leaves its enclave for an interrupt."""
    from enclu.linux import trap  # as above

    exceptions.to_64_bit_mode(task.regs)
    with sup.events.acting(task.process.tgid, task.tid):
        trap.interrupt(sup.kernel, task)
    task.store()
