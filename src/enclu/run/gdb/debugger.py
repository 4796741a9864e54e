"""What a debugger does to the threads of a run: it stops all of them at once, and has them go on.

A thread is held in one of two ways.  The one that there is something to report of stays where it was about to be
resumed (`holds`): what the machine does at its stop is done, and if there is a signal, it is still to be delivered.
The others are halted as for the supervisor's own purposes (`run.halt`), which loses nothing either.  Whether anybody
debugs or not, the same is executed, told and counted.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections import deque
from typing import TYPE_CHECKING

from enclu.base.abi import SI_KERNEL, TRAP_TRACE
from enclu.native import debug_registers, proc, ptrace, signals
from enclu.native.debug_registers import TRAP_BRKPT
from enclu.native.resume import resume
from enclu.native.single_step import single_step
from enclu.native.stop import INTERRUPTED, Kind
from enclu.native.wait import ThreadGone
from enclu.run.gdb.actions import Action, Held, Step, Wanted
from enclu.run.gdb.breakpoints import Breakpoints
from enclu.run.gdb.reports import GDB_SIGNAL, SIGNAL_OF, Exited, NoneRuns, Report
from enclu.run.gdb.watches import Watches, reason
from enclu.run.gdb.witness import Witness, exception_text
from enclu.sgx.exceptions import Vector
from enclu.sgx.structs import Attribute, EncluLeaf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from enclu.native.thread import Thread
    from enclu.run.supervisor import Supervisor
    from enclu.run.task import Task
    from enclu.sgx.epc import EPCPage


class Debugger:
    """Of one run.  `announce` is called when there is something in `reports`."""

    def __init__(self, supervisor: Supervisor, announce: Callable[[], None]) -> None:
        self.sup = supervisor
        self._announce = announce
        self.attached = False
        self.stopped = False
        """Every thread of `processes` is held, or about to be."""
        self.processes: set[int] = set()
        self._known: set[int] = set()
        self.held: dict[Task, Held] = {}
        self.reports: deque[Report | Exited | NoneRuns] = deque()
        self.wanted = Wanted()
        self.breakpoints = Breakpoints(lambda: list(supervisor.threads.values()))
        self.watches = Watches()
        self._stepping: dict[int, Step] = {}
        self._going: Task | None = None
        self._expected: dict[int, int] = {}
        """Signals, by tid, that the debugger has sent: nobody is to be told of them."""
        self._births: dict[int, Report] = {}
        self._in_vfork: set[int] = set()
        self._interrupted = False
        self._keys: set[int] = set()
        """Processes for which a SIGINT waits that the same key at the terminal has sent as the debugger's interrupt."""
        self.witness = Witness(self)
        self._info = ptrace.SigInfo()

    def tasks(self) -> list[Task]:
        """Threads that are debugged."""
        return [t for t in self.sup.threads.values() if t.process.tgid in self.processes and not t.exiting]

    # Coming and going.

    def attach(self, processes: set[int]) -> None:
        """A debugger is there: these processes stop."""
        self.attached = True
        self.processes, self._known = processes, set(processes)
        self.wanted = Wanted()
        self.reports.clear()
        self.stop()

    def detach(self, pid: int) -> None:
        """The process goes on by itself."""
        leaving = [t for t in self.tasks() if t.process.tgid == pid]
        self.processes.discard(pid)
        self.watches.forget(pid)
        shared = {t.space for t in self.tasks()}
        for task in leaving:
            if task in self.held and task.space not in shared:
                self.breakpoints.remove_all(task)
            self._stepping.pop(task.tid, None)
        self.reports = deque(r for r in self.reports if isinstance(r, NoneRuns) or r.pid != pid)
        for task in leaving:
            if task in self.held:
                with contextlib.suppress(ProcessLookupError):
                    debug_registers.watch(task, ())
                held = self.held[task]
                held.fixed_up = False  # as it is
                self._release(task, Action(held.signo))

    def leave(self) -> None:
        """Nobody debugs any more."""
        if not self.stopped:
            self.stop()  # breakpoints are taken away while nobody can meet them
        for pid in list(self.processes):
            self.detach(pid)
        self.attached = self.stopped = self._interrupted = False
        self._expected.clear()
        self._births.clear()

    def kill(self, pids: Iterable[int]) -> None:
        for pid in pids:
            self.processes.discard(pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    # Stopping.

    def interrupt(self) -> None:
        """The debugger's user has pressed Ctrl-C.

        It may cross a stop that the debugger goes on from by itself: then it is for when the program runs again.
        """
        if self.stopped:
            self._interrupted = True
            return
        self.stop()
        self._keys = {task.process.tgid for task in self.held if _has_sigint(task)}
        self._interrupted = not self._tell_of_interrupt()

    def _tell_of_interrupt(self) -> bool:
        task = next((t for t in self.tasks() if t in self.held), None)
        if task is None:
            self.stopped = False
            return False
        self.tell(Report(task.process.tgid, task.tid, signal.SIGINT))
        return True

    def stop(self) -> None:
        """Hold every thread.  Those that somebody is at work with are held when they are about to go on."""
        self.stopped = True
        halter, found = self.sup.halter, True
        while found:
            found = False
            for task in self.tasks():
                if task in self.held or task.exiting or halter.at_work(task):
                    continue
                if halter.halt(task) and task not in self.held:
                    self.held[task] = Held(halted=True)
                    self._step_back(task)
                found = found or task in self.held

    def _step_back(self, task: Task) -> None:
        """A halted thread has met a breakpoint, or made its step: nobody is told, for it will again.

        What it has done to watched memory is done, and will be told if it is still watched then.
        """
        if task.kept_info is None:
            return
        info = ptrace.SigInfo.of(task.kept_info)
        if info.signo != signal.SIGTRAP or task.halted_at is None or task.halted_at.kind is not Kind.SIGNAL:
            return
        step = self._stepping.get(task.tid)
        if self.watches.note(task, info.code):
            return
        if info.code == SI_KERNEL and self.breakpoints.hit(task):
            task.regs.rip -= 1
            task.store()
        elif step is None or info.code not in (TRAP_TRACE, TRAP_BRKPT):
            return
        task.kept_info, task.halted_at = None, INTERRUPTED

    def tell(self, report: Report | Exited | NoneRuns) -> None:
        """Everything is stopped: let the debugger know, when it asks."""
        self.reports.append(report)
        self._announce()

    def _hold(self, task: Task, held: Held, report: Report | None) -> None:
        self.held[task] = held
        already = self.stopped
        if report is not None:
            self.reports.append(report)
        if not already:
            self.stop()
        if report is not None and not already:
            self._announce()

    # What is asked before a thread goes on.

    def holds(self, thread: Thread, signo: int) -> bool:
        """See `native.thread.Debugger`."""
        task = self.sup.threads.get(thread.tid)
        if task is not thread or task is None or not self.attached:
            return False
        if task is self._going:
            self._arm(task)
            return False
        if task.process.tgid not in self._known:
            self._born(task)
        if task.process.tgid not in self.processes:
            return False
        if signo == signal.SIGINT and task.process.tgid in self._keys:
            self._keys.discard(task.process.tgid)
            signals.no_frame(task)
            self.held[task] = Held()
            if not self.stopped:
                self._release(task, Action())
            return True
        report, fixed_up = self._reason(task, signo)
        if report is None and self._interrupted:
            self._interrupted = False
            report = Report(task.process.tgid, task.tid, signal.SIGINT)
        if report is None and not self.stopped:
            self.witness.left.pop(task.tid, None)
            self._arm(task)
            return False
        info = b""
        if signo:
            with contextlib.suppress(ProcessLookupError):
                self._info.get(task.tid)
                info = bytes(self._info)
        self._hold(task, Held(signo=signo, info=info, fixed_up=fixed_up), report)
        return True

    def steps(self, thread: Thread) -> bool:
        """See `native.thread.Debugger`."""
        step = self._stepping.get(thread.tid)
        if step is None:
            return False
        if thread.mode.enclave:
            return self.is_debug(thread)
        return not step.inside  # outside for an AEX: it is on the way back

    @staticmethod
    def is_debug(thread: Thread) -> bool:
        """The enclave that the thread is in is a debug enclave."""
        secs = thread.machine.enclaves.get(thread.mode.eid)
        return secs is not None and bool(secs.attributes & Attribute.DEBUG)

    def _reason(self, task: Task, signo: int) -> tuple[Report | None, bool]:
        """Why the thread is not to go on; and whether that is an exception that the design has fixed up."""
        pid, tid = task.process.tgid, task.tid
        exception, fault = self.witness.exceptions.pop(tid, None), self.witness.faults.pop(tid, None)
        if exception is not None or signo:
            fixed_up = not signo
            number = signo or (SIGNAL_OF.get(Vector(exception.vector), signal.SIGSEGV) if exception else 0)
            if self._expected.get(tid) == number:
                del self._expected[tid]
            elif number not in self.wanted.passed and number in GDB_SIGNAL:
                event = exception or fault
                note = f"enclu: {exception_text(event)}" if event is not None else ""
                return Report(pid, tid, number, note=note), fixed_up
            return None, False
        if tid in self._births:
            return self._births.pop(tid), False
        if tid in self._in_vfork and not task.in_vfork:
            self._in_vfork.discard(tid)
            return Report(pid, tid, reason="vforkdone:"), False
        if tid in self.witness.execs:
            self.witness.execs.discard(tid)
            if self.wanted.exec:
                return Report(pid, tid, reason="exec:" + _program(pid).hex()), False
        if self.witness.libraries_changed(task):
            return Report(pid, tid, reason="library:"), False
        met = debug_registers.met(task)  # by an instruction that the machine has had executed by itself
        if met is not None and self.watches.wants(pid, met) and (not task.mode.enclave or self.is_debug(task)):
            return Report(pid, tid, reason=reason(met)), False
        return self._step_over(task), False

    def _step_over(self, task: Task) -> Report | None:
        """The machine may have executed what the thread was to step over."""
        step = self._stepping.get(task.tid)
        if step is None:
            return None
        regs, inside = task.fetch(), task.mode.enclave
        if step.inside and not inside and regs.rax & 0xFFFF_FFFF == EncluLeaf.ERESUME and self.witness.is_aep(task):
            return None
        if regs.rip == step.rip or regs.orig_rax != ptrace.NO_SYSCALL:
            return None
        if step.low <= regs.rip < step.high:
            step.rip, step.inside = regs.rip, inside
            return None
        return Report(task.process.tgid, task.tid)

    def _arm(self, task: Task) -> None:
        """What is to be with a thread that runs."""
        self.breakpoints.put_back(task)
        self.watches.arm(task)

    def _born(self, task: Task) -> None:
        """The first thread of a process that nobody has seen before."""
        pid, parent = task.process.tgid, self.sup.current
        self._known.add(pid)
        if parent is None or parent is task or parent.process.tgid not in self.processes:
            return
        wanted = self.wanted.vfork if parent.in_vfork else self.wanted.fork and task.space is not parent.space
        self.breakpoints.forked(parent, task, kept=wanted)
        if wanted:
            self.processes.add(pid)
            kind = "vfork" if parent.in_vfork else "fork"
            reason = f"{kind}:p{pid:x}.{task.tid:x}"
            self._births[parent.tid] = Report(parent.process.tgid, parent.tid, reason=reason)
            if parent.in_vfork:
                self._in_vfork.add(parent.tid)

    # Its own traps.

    def trapped(self, task: Task, signo: int) -> bool:
        """The stop for a signal is a breakpoint, a step or a watchpoint of the debugger's, and has been dealt with."""
        if signo != signal.SIGTRAP:
            return False
        space, step = task.space, self._stepping.get(task.tid)
        if step is None and not space.breakpoints and not task.watches and not self.watches.pending(task):
            return False
        task.fetch()
        self._info.get(task.tid)
        code = self._info.code
        if task.frame_patch is not None and code == signal.SIGTRAP:
            return False
        pid, tid = task.process.tgid, task.tid
        if code == SI_KERNEL and self.breakpoints.hit(task):
            self._unforce(task)
            task.regs.rip -= 1
            task.store()
            if pid in self.processes:
                self._hold(task, Held(), Report(pid, tid, reason="swbreak:"))
            else:
                self._over(task)
            return True
        met = self.watches.met(task, code)
        if met is not None:
            self._unforce(task)
            if not self.watches.wants(pid, met) or (task.mode.enclave and not self.is_debug(task)):
                resume(task, past_breakpoint=True)
            else:
                self._hold(task, Held(), Report(pid, tid, reason=reason(met)))
            return True
        if step is None or code not in (TRAP_TRACE, TRAP_BRKPT) or not self.steps(task):
            return False
        self._unforce(task)
        if step.low <= task.regs.rip < step.high and not self.stopped:
            step.rip = task.regs.rip
            resume(task)
        else:
            self._hold(task, Held(), Report(pid, tid))
        return True

    @staticmethod
    def _unforce(task: Task) -> None:
        """What the kernel does to SIGTRAP, if the program has it blocked, is undone."""
        if task.blocked:
            signals.forced(task, signal.SIGTRAP)

    def _over(self, task: Task) -> None:
        """A thread that is not debugged shares memory with one that is: no breakpoint is there for it."""
        space, at = task.space, task.regs.rip
        others = [t for t in self.sup.threads.values() if t.space is space and t is not task and not t.in_vfork]
        with self.sup.halter.halted(others):
            self.breakpoints.remove(task, at)
            try:
                single_step(task)
            finally:
                if task.space is space:
                    self.breakpoints.insert(task, at)
        resume(task)

    # Going on.

    def go(self, action_of: Callable[[Task], Action | None]) -> None:
        """Have the held threads go on as they are told; those without an action stay.

        If there is more to tell already, that comes first.
        """
        if self.reports:
            self._announce()
            return
        self.stopped = False
        self._stepping.clear()
        chosen = [(task, action) for task in list(self.held) if (action := action_of(task)) is not None]
        for task, action in chosen:
            if action.step:
                self._stepping[task.tid] = Step(0, False, action.low, action.high)
        for task, action in chosen:
            if self.stopped:
                return
            if task in self.held:
                self._release(task, action)
        self.check()

    def _release(self, task: Task, action: Action) -> None:
        held = self.held.pop(task)
        if task.exiting:
            return
        try:
            step = self._stepping.get(task.tid)
            if step is not None:
                step.rip, step.inside = task.fetch().rip, task.mode.enclave
            if held.fixed_up and not action.signo:
                self._to_aep(task)
            if action.signo and not held.fixed_up and action.signo != held.signo:
                signals.send(task, action.signo)
                self._expected[task.tid] = action.signo
            self.witness.left.pop(task.tid, None)
            if held.halted:
                self._arm(task)
                self.sup.halter.let_go(task)
                return
            signo = held.signo if action.signo == held.signo else 0
            if held.signo and not signo:
                signals.no_frame(task)
            if signo:
                ptrace.SigInfo.of(held.info).set(task.tid)
            self._going = task
            resume(task, signo)
        except (ThreadGone, ProcessLookupError):
            self.sup.leave(task)
        finally:
            self._going = None

    def _to_aep(self, task: Task) -> None:
        """The exception is to be as if it had not been: the thread stands where the AEX has left it."""
        left = self.witness.left.get(task.tid)
        aep = self.witness.aep_of(*left) if left is not None else 0
        if aep:
            task.regs.rip = aep
            task.regs.rdi = task.regs.rsi = task.regs.rdx = 0
            task.store()

    # Ends.

    def thread_gone(self, tid: int) -> None:
        for task in [t for t in self.held if t.tid == tid]:
            del self.held[task]
        self._stepping.pop(tid, None)
        self._expected.pop(tid, None)
        self.watches.thread_gone(tid)
        self._in_vfork.discard(tid)
        self.reports = deque(r for r in self.reports if not (isinstance(r, Report) and r.tid == tid))
        self.check()

    def check(self) -> None:
        """If none of the threads runs that were to, while others are held, that is told: nothing will come."""
        tasks = self.tasks()
        if self.stopped or not tasks or not all(task in self.held for task in tasks):
            return
        self.stopped = True
        first = tasks[0]
        self.tell(NoneRuns() if self.wanted.no_resumed else Report(first.process.tgid, first.tid, 0))

    def process_gone(self, pid: int, status: int, signo: int) -> None:
        self._known.discard(pid)
        self.watches.forget(pid)
        if pid in self.processes:
            self.processes.discard(pid)
            already = self.stopped
            self.stop()
            self.reports.append(Exited(pid, status, signo))
            if not already:
                self._announce()

    def leave_epc(self, pages: Iterable[EPCPage]) -> None:
        """The pages are about to be evicted, or copied."""
        self.breakpoints.leave_epc(pages)


def _has_sigint(task: Task) -> bool:
    """It waits, or a halted thread has stopped for it."""
    if task.kept_info is not None and ptrace.SigInfo.of(task.kept_info).signo == signal.SIGINT:
        return True
    try:
        own, shared, _ = proc.signal_masks(task.tid)
    except proc.GONE:
        return False
    return bool((own | shared) & signals.bit(signal.SIGINT))


def _program(pid: int) -> bytes:
    try:
        return proc.name_of(pid, "exe").encode(errors="surrogateescape")
    except OSError:
        return b""
