"""The event loop: every stop of every traced thread, turned into what the machine makes of it."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
from typing import TYPE_CHECKING

from enclu.base import console
from enclu.linux import cpuid as machine_cpuid
from enclu.linux.kernel import Kernel
from enclu.linux.mm import MM
from enclu.linux.vdso import image as vdso_image
from enclu.native import calls, cpuid, ptrace, signals
from enclu.native.address_space import AddressSpace
from enclu.native.exceptions import undo_syscall
from enclu.native.inject import MachineGone
from enclu.native.native_fault import raised_by_enclu
from enclu.native.ptrace import NOTHING
from enclu.native.resume import at_last_stop, listen, resume
from enclu.native.stop import AT_EXEC, Kind, Stop
from enclu.native.wait import ThreadGone, Waiter
from enclu.run import exceptions, execs, halt
from enclu.run.births import Births
from enclu.run.ends import Ends
from enclu.run.exceptions import ENCLU_SIGNALS
from enclu.run.halt import Halter
from enclu.run.intercept import Interceptor
from enclu.run.loading import Loading
from enclu.run.placement import Placement
from enclu.run.syscall_tasks import SyscallTasks
from enclu.run.task import Task, ThreadGroup
from enclu.run.transitions import Transitions
from enclu.sgx import enclu, telling
from enclu.sgx.enclave_mode import SLOT_SIZE
from enclu.sgx.exceptions import Fault
from enclu.sgx.leave import shut_down

if TYPE_CHECKING:
    from collections.abc import Callable

    from enclu.base.listeners import Events
    from enclu.linux.delivery.base import Delivery
    from enclu.linux.intel_cpu import Cpuid
    from enclu.native.narrowed import NarrowedEnclave
    from enclu.run.cores.dump import Cores
    from enclu.run.gdb.debugger import Debugger
    from enclu.sgx.machine import Machine

MAX_THREADS = 1 << 15
GETREGS, SETREGS, GETSIGINFO = map(ptrace.Word, (ptrace.GETREGS, ptrace.SETREGS, ptrace.GETSIGINFO))


class Supervisor:
    """Owns every traced process of one run."""

    def __init__(
        self, machine: Machine, delivery: Delivery, events: Events, *, pin: bool = True,
        processor: Cpuid | None = None, in_process: bool = False, stepping: bool = False,
    ) -> None:  # fmt: skip
        self.halter = Halter(self)
        self.kernel = Kernel(machine, delivery, events, self.halter)
        self.kernel.loading = Loading()
        self.machine = machine
        self.delivery = delivery
        self.events = events
        self.leaves = events.leaves
        self.processor = processor or cpuid.host
        """What CPUID answers, SGX aside."""
        self._own_leaves = machine_cpuid.own_leaves(cpuid.host) if self.processor is cpuid.host else None
        """Leaves of CPUID that are not answered as the host's processor does; None: that may be all."""
        self.image = vdso_image.load(delivery.vdso)
        self.threads: dict[int, Task] = {}
        self.current: Task | None = None
        self.main_pid = 0
        self.at_end: Callable[[], None] | None = None
        """To be called when all that is left of the run is about to exit."""
        self.cores: Cores | None = None
        """Whoever dumps core when a signal ends a process, if anybody does."""
        self.waiter = Waiter(self.arrived)
        self.debugger: Debugger | None = None
        """gdb's server, if there is one."""
        self.ends = Ends(self)
        self.interceptor = Interceptor(self)
        self.births = Births(self)
        self.syscall_tasks = SyscallTasks(self)
        self.narrowed: dict[int, NarrowedEnclave] = {}
        """Enclaves whose XFRM is less than XCR0, by EID."""
        self.deferred: dict[int, Stop] = {}
        """Stops that are still to be looked at, by tid, in the order in which they came."""
        self.transitions = Transitions()
        if stepping:
            from enclu.run.stepping.stepping import Stepping  # seldom wanted

            self.transitions = Stepping(self)
            self.kernel.ahead = False
        self._in_process = in_process and not stepping
        """There are to be others as soon as somebody uses SGX."""
        self._unreferenced = False
        """There may be enclaves that nobody has a reference to, which is looked at when nobody is at work."""
        self._power_event = False
        """Somebody outside wants one."""
        self._asked = False
        """Somebody outside has a request."""
        self._free_slots: list[int] = []
        self._fresh_slots = iter(range(MAX_THREADS))
        self.placement = Placement(wanted=pin)
        self._info = ptrace.SigInfo()
        self._warned_ptrace = False

    # Threads and processes.

    def new_thread(self, tid: int, process: ThreadGroup) -> Task:
        index = self._free_slots.pop() if self._free_slots else next(self._fresh_slots)
        thread = Task(tid, process, self.machine, memoryview(bytearray(SLOT_SIZE)), self.waiter, index)
        self.transitions.place(thread)
        self.machine.processors.add(thread.mode)
        self.threads[tid] = thread
        process.threads[tid] = thread
        thread.debugger = self.debugger
        return thread

    def free_slot(self, thread: Task) -> None:
        """The number of its slot is another's from now on."""
        self.transitions.gone(thread)
        self.machine.processors.discard(thread.mode)
        self._free_slots.append(thread.slot_index)

    def new_memory(self, pid: int, parents: MM | None = None) -> tuple[AddressSpace, MM]:
        """Another address space, a forked copy of its parent's if there is one."""
        space = AddressSpace(pid, self.image, self.halter.inject_in, self.syscall_tasks.protect)
        mm = MM(self.kernel, space) if parents is None else parents.fork(space)
        space.kernel = mm
        space.own_leaves = self._own_leaves
        return space, mm

    def opened(self, thread: Task) -> None:
        """The process of the stopped thread uses SGX from now on."""
        if self._in_process:
            from enclu.run.in_process import InProcessTransitions  # for programs with enclaves alone

            self._in_process = False
            self.transitions = InProcessTransitions(self)
        self.transitions.opened(thread)

    def adopt(self, pid: int, *, subreaper: bool) -> None:
        """Take over the first process, stopped at its exec event."""
        self.main_pid = pid
        space, mm = self.new_memory(pid)
        process = ThreadGroup(pid, space, mm=mm, subreaper=subreaper)
        thread = self.new_thread(pid, process)
        thread.started = True
        self.deferred[pid] = AT_EXEC

    # The loop.

    def run(self) -> None:
        """Supervise until the last process is gone."""
        ends, waiter = self.ends, self.waiter
        while self.threads or self.births.early:
            if self._power_event:
                self._power_event = False
                self.kernel.drop_epc()
            if self._asked:
                self._asked = False
                from enclu.run import control  # seldom needed

                control.answer(self)
            if ends.over or ends.gone or self._unreferenced or self.births.unsettled:
                self._clear_away()
                continue
            if self.deferred:
                tid = next(iter(self.deferred))
                stop = self.deferred.pop(tid)
                if tid in self.threads:
                    halt.restore_info(self.threads[tid])
            else:
                try:
                    came = waiter.next()
                except ChildProcessError:
                    break
                if came is None:
                    continue
                tid, stop = came
            if len(self.threads) > 1:
                if stop.kind is Kind.SIGNAL and tid in self.threads:
                    signals.note_sent(self.threads[tid], stop)  # who may be killed before its turn comes
                waiter.collect()
                if self._is_stale(tid, stop):
                    continue
            if stop.kind is Kind.SIGNAL and stop.signo in ENCLU_SIGNALS and self._transition(tid):
                continue
            self._dispatch(tid, stop)
        if self.at_end is not None:
            self.at_end()

    def _clear_away(self) -> None:
        """What ends have left behind, now that nobody is at work on it."""
        self.ends.conclude()
        if self.births.unsettled:
            self.births.settle()
        if self._unreferenced:
            self._unreferenced = False
            self.release_now()

    def kill(self) -> None:
        """End every process of the run, now."""
        for pid in {*self.births.early, *(t.process.tgid for t in self.threads.values())}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def pass_on(self, signo: int) -> None:
        """Somebody sent the supervisor a signal: it is meant for the program, or for what is left of it."""
        processes = {t.process.tgid for t in self.threads.values()}
        for pid in {self.main_pid} & processes or processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signo)

    def power_event(self) -> None:
        """From a signal handler: drop the EPC as soon as nobody is at work."""
        self._power_event = True
        self.waiter.wake()

    def asked(self) -> None:
        """From a signal handler: answer who has a request (`run.control`), as soon as nobody is at work."""
        self._asked = True
        self.waiter.wake()

    def _is_stale(self, tid: int, stop: Stop) -> bool:
        """A stop of a thread that has been killed since, whose name may even be another's."""
        thread = self.threads.get(tid)
        if thread is None or stop.kind in (Kind.ENDED, Kind.EXIT, Kind.EXEC):
            return False
        return thread.exiting or tid in self.deferred

    def arrived(self, tid: int, stop: Stop) -> None:
        """Note what has come to a thread while others are at work.  It is looked at when its turn comes."""
        if self.syscall_tasks.arrived(tid, stop):
            return
        thread = self.threads.get(tid)
        if stop.kind is Kind.ENDED:
            self.ends.reported(tid, thread)
            if thread is not None:
                self.leave(thread)
        elif stop.kind is Kind.EXIT:
            self.ends.at_exit(tid, thread)
        elif stop.kind is Kind.EXEC:
            self.deferred[tid] = stop
        elif thread is None:
            self.births.first_stop(tid, stop)
        else:
            self.deferred[tid] = stop
            signals.note_sent(thread, stop)

    def _transition(self, tid: int) -> bool:
        """The hot path: EENTER, ERESUME or EEXIT at a known ENCLU.  False, with nothing changed, for all else.

        Does what `_dispatch` would, without what these three leaves never need.
        """
        thread = self.threads.get(tid)
        if thread is None or thread.blocked or thread.frame_patch is not None or thread.user_dispatch:
            return False
        raw, regs, who, where = ptrace.raw, thread.regs, thread.word, thread.regs_word
        if raw(GETREGS, who, NOTHING, where):
            return False
        if regs.rip not in thread.process.space.enclu_sites:
            return thread.in_process and thread.mode.enclave and self._exception(thread)
        leaf = regs.rax & 0xFFFF_FFFF
        if not 2 <= leaf <= 4 or self.leaves.heard or not self.transitions.quick:
            return False
        if raw(GETSIGINFO, who, NOTHING, self._info.word):
            return False
        if not raised_by_enclu(regs, self._info):
            return False
        if leaf == 4 and thread.mode.save_tf:
            return False
        thread.stopped, self.current = True, thread
        try:
            return self._execute(thread, leaf)
        except (ThreadGone, ProcessLookupError):
            self.leave(thread)
            return True
        finally:
            self.current = None

    def _execute(self, thread: Task, leaf: int) -> bool:
        """The leaf at RIP, and resume; False, with nothing changed, where it raises an exception."""
        leaves, site, in_process = self.leaves, thread.regs.rip, self.transitions.asks
        if in_process:
            self.transitions.before(thread, leaf)
        tcs, before = (thread.mode.tcs_la, telling.before(thread)) if leaves.wanted else (0, None)
        try:
            notified = enclu.execute(thread)
            if leaf != 4:
                exceptions.enter_narrowed(self, thread)
        except Fault:
            return False
        leaves.counts[leaf] += 1
        if before is not None:
            self.executed(thread, leaf, tcs, before, notified=notified)
        if in_process:
            self.transitions.after(thread, leaf, site)
        self.placement.stopped(thread)
        ptrace.raw(SETREGS, thread.word, NOTHING, thread.regs_word)
        resume(thread)
        return True

    def _exception(self, thread: Task) -> bool:
        """The same for an exception of an enclave."""
        if ptrace.raw(GETSIGINFO, thread.word, NOTHING, self._info.word):
            return False
        thread.stopped = True
        try:
            if not self.transitions.exception(thread, self._info):
                return False
        except (ThreadGone, ProcessLookupError):
            self.leave(thread)
        return True

    def executed(self, thread: Task, leaf: int, tcs: int, before: telling.Before, *, notified: bool) -> None:
        """Tell of a leaf, in the TCS that was in use before, if somebody wants to hear it."""
        pid, tid = thread.process.tgid, thread.tid
        if self.leaves.expects(pid, tid):
            with self.events.acting(pid, tid):
                telling.executed(self.events, thread, leaf, tcs, before, notified=notified)

    def _dispatch(self, tid: int, stop: Stop) -> None:
        exec_event = stop.kind is Kind.EXEC
        thread = execs.thread_at(self, tid) if exec_event else self.threads.get(tid)
        if exec_event and thread is None:
            return  # killed: its end will be reported
        if thread is None or stop.kind is Kind.ENDED:
            self.arrived(tid, stop)
            return
        thread.stopped = True
        self.serve(thread, stop)
        if thread.put_off and thread.tid in self.threads:
            signals.send_put_off(thread)

    def serve(self, thread: Task, stop: Stop) -> None:
        """Do what the stop of a thread asks for; it has been resumed afterwards, or it is gone."""
        self.attend(thread, functools.partial(self._stopped, thread, stop))

    def attend(self, thread: Task, action: Callable[[], None]) -> None:
        """Do something for a stopped thread, of which others may ask meanwhile, and which somebody may kill."""
        before, self.current = self.current, thread
        try:
            with self.events.acting(thread.process.tgid, thread.tid):
                action()
        except ThreadGone:
            self.leave(thread)
        except MachineGone as gone:
            self.end(gone)
        except Exception as error:
            # A thread that is killed under our hands makes all kinds of calls fail; its end will be reported.
            if not self.is_stopped(thread):
                self.leave(thread)
            elif not thread.space.intact:
                self.end(MachineGone(thread, f"{type(error).__name__}: {error}"))
            else:
                raise
        finally:
            self.current = before

    def end(self, gone: MachineGone) -> None:
        """Kill a process in which nothing can be done any more."""
        self.message(str(gone))
        with contextlib.suppress(ProcessLookupError):
            os.kill(gone.thread.process.tgid, signal.SIGKILL)
        if gone.thread.tid in self.threads:
            self.leave(self.threads[gone.thread.tid])

    def is_stopped(self, thread: Task) -> bool:
        """Whether the thread is in the stop that it was in, rather than killed and, perhaps, at its exit event."""
        return not thread.exiting and not at_last_stop(thread)

    def leave(self, thread: Task, *, ended: bool = False) -> None:
        """The thread will execute no more instructions, for it is exiting or killed.

        What follows from its end comes when it is let go or its end is reported (now, if it has `ended`), but never
        before the work at hand is done, for others rely on the thread's address space and enclaves.
        """
        thread.exiting = True
        if thread.mode.tcs_la:
            shut_down(thread)
        signals.pass_to_process(thread)
        if ended:
            self.ends.reported(thread.tid, thread)

    def _stopped(self, thread: Task, stop: Stop) -> None:
        # Only what uses SGX: others stop often for a moment, when they start, and would be in each other's way later.
        # Nor at a birth, where the child was given what its parent has had until now.
        if thread.process.watches_maps and stop.kind is not Kind.BIRTH:
            self.placement.stopped(thread)
        match stop.kind:
            case Kind.SIGNAL:
                signals.note_sent(thread, stop)
                if self.debugger is None or not self.debugger.trapped(thread, stop.signo):
                    exceptions.signal_stop(self, thread, stop.signo)
            case Kind.CALL:
                thread.fetch()
                self.interceptor.handle(thread)
            case Kind.SYSCALL:
                self._syscall_stop(thread)
            case Kind.INTERRUPTION | Kind.GROUP:
                self._interruption(thread, stop)
            case Kind.EXEC:
                execs.happened(self, thread)
            case Kind.VFORK_DONE:
                thread.in_vfork = False
                resume(thread)
            case Kind.EXIT:
                self.ends.at_exit(thread.tid, thread)
            case Kind.BIRTH:
                self.births.event(thread, stop.event)

    # Stops.

    def _syscall_stop(self, thread: Task) -> None:
        thread.fetch()
        if thread.mode.enclave:
            thread.deaf = True
            exceptions.take(self, thread, undo_syscall(thread))
            return
        thread.to_syscall_exit = thread.in_exec = False  # which has failed
        if thread.own_arguments:
            calls.give_back(thread)
        resume(thread)

    def _interruption(self, thread: Task, stop: Stop) -> None:
        if not thread.started:
            thread.started = True
            if thread.process.watches_maps:
                signals.watch(thread)
            resume(thread)
        elif stop.kind is Kind.GROUP:
            listen(thread)
        else:
            thread.listening = False
            resume(thread)

    def release_unreferenced(self) -> None:
        """sgx_release() of every enclave whose device file nothing refers to any more, when nobody is at work.

        A thread that is still inside leaves first, as the TLB shootdown of the last munmap() would make it.
        """
        self._unreferenced = True

    def release_now(self) -> None:
        """The same, while nobody is at work."""
        for encl in self.kernel.enclaves():
            if not encl.mms and not self.interceptor.files.referenced(encl):
                if encl.created:
                    self.halter.kick(encl.eid)
                self.interceptor.files.forget(encl)
                self.kernel.release(encl)

    def cpuid(self, leaf: int, subleaf: int) -> cpuid.Registers:
        """What CPUID answers to programs."""
        return machine_cpuid.cpuid(self.machine, leaf, subleaf, self.processor(leaf, subleaf))

    def warn_ptrace(self, thread: Task) -> None:
        """Say once why a debugger or tracer inside the run fails."""
        if not self._warned_ptrace:
            self._warned_ptrace = True
            self.message(f"process {thread.process.tgid} calls ptrace(2): a traced program cannot trace; it gets EPERM")

    def message(self, text: str) -> None:
        console.say(text)
