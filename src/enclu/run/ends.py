"""How threads end: they are let go when they are about to.

A traced zombie is hidden from its parent until the tracer has waited for it (wait_consider_task() in kernel/exit.c),
but pidfds tell of it at once.  Who polls one and then calls waitpid(WNOHANG) would find nothing.  So a thread is
detached at its last stop: at its call of exit(2) or exit_group(2), or at the exit event of one that dies otherwise.
The host kernel deals with its parent from then on, and tells the supervisor nothing more.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from enclu.base import console
from enclu.base.abi import WALL, WCLONE
from enclu.base.events import ProcessExit, ProcessGone, ThreadGone
from enclu.native import proc, ptrace, signals
from enclu.native.resume import at_exit_event, let_go
from enclu.native.stop import Kind
from enclu.run import execs
from enclu.run.departures import Departures
from enclu.sgx.leave import shut_down

if TYPE_CHECKING:
    from enclu.linux.mm import MM
    from enclu.native.address_space import AddressSpace
    from enclu.run.supervisor import Supervisor
    from enclu.run.task import Task, ThreadGroup


class Ends:
    """Lets threads go, and notes what follows from it until nobody is at work any more."""

    CALLS = "execve execveat wait4 waitid"
    ENDING = "exit exit_group"
    """Calls without a result: the thread is let go."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._sup = supervisor
        self.over: list[tuple[int, Task | None]] = []
        """Threads that have been let go, or whose ends were reported."""
        self.gone: list[MM] = []
        """Address spaces that nobody runs in any more."""
        self.departures = Departures(supervisor.waiter, supervisor.release_unreferenced)

    # Stops.

    def exit(self, thread: Task, status: int) -> None:
        """It calls exit.

        At its exit event it may be too late: a thread that another one's exit_group has killed meanwhile does not stop
        there (ptrace_stop() in kernel/signal.c).
        """
        if self._alone(thread):
            # synchronize_group_exit(): the process's status is the last thread's (since Linux 5.18)
            self._process_exit(thread, status & 0xFF, 0)
        thread.called_exit = True
        self.last_stop(thread.tid, thread)

    def exit_group(self, thread: Task, status: int) -> None:
        """It ends its process."""
        self._process_exit(thread, status & 0xFF, 0)
        thread.called_exit = True
        self.last_stop(thread.tid, thread)

    def at_exit(self, tid: int, thread: Task | None) -> None:
        """The exit event, of one that has not been let go before."""
        if thread is not None:
            with contextlib.suppress(ProcessLookupError):  # killed here: its end will be reported
                status = ptrace.event_message(tid)
                if os.WIFSIGNALED(status):
                    if self._sup.cores is not None and self._alone(thread):
                        self._sup.cores.at_exit(thread, os.WTERMSIG(status))
                    self._process_exit(thread, 0, os.WTERMSIG(status))
                elif self._alone(thread):
                    self._process_exit(thread, os.WEXITSTATUS(status), 0)
        self.last_stop(tid, thread)

    @staticmethod
    def _alone(thread: Task) -> bool:
        """No other thread of its process goes on."""
        return all(other.exiting for other in thread.process.threads.values() if other is not thread)

    def _process_exit(self, thread: Task, status: int, signo: int) -> None:
        """Its process is about to end like this.  Of several threads that say so the first is right."""
        process, events = thread.process, self._sup.events
        if process.ending or not events.heard(ProcessExit):
            return
        process.ending = True
        with events.acting(process.tgid, thread.tid):
            events.emit(ProcessExit, proc.comm(process.tgid), status, signo)

    def execve(self, thread: Task) -> None:
        """It may take over the name of the first thread of its process (see `_may_be_another`)."""
        signals.repair_ignored(thread)
        if len(thread.process.threads) > 1:
            thread.in_exec = True
            thread.to_syscall_exit = True

    execveat = execve

    def wait4(self, thread: Task) -> None:
        """It waits for children of every kind, or asks without waiting."""
        self._waits(thread, thread.regs.rdx)

    def waitid(self, thread: Task) -> None:
        """As wait4 does."""
        self._waits(thread, thread.regs.r10)

    def _waits(self, thread: Task, options: int) -> None:
        """There may be an end that only the supervisor has been told of."""
        thread.waits_for_all = bool(options & (WALL | WCLONE))
        self._sup.waiter.collect()

    def last_stop(self, tid: int, thread: Task | None) -> None:
        """Let it go.  The last one of the run waits until `at_end` is done: who waits for the program finds it done.

        All others go at once, for the rest of their process may have to wait for it.  One that is killed here, or whom
        nobody has announced yet, stays a tracee, and its end is reported.
        """
        sup = self._sup
        if thread is not None:
            sup.leave(thread)
            thread.stopped = False
            if not any(t.space is thread.space and not t.exiting for t in sup.threads.values()):
                sup.syscall_tasks.end(thread.space)
        if sup.at_end is not None and self._is_last():
            at_end, sup.at_end = sup.at_end, None
            sup.release_now()  # what has been closed since the last look is no more
            at_end()
        kept = thread is None or self._may_be_another(thread)
        if let_go(tid, kept=kept) and not kept:
            self.over.append((tid, thread))

    def _is_last(self) -> bool:
        """Nobody will execute an instruction any more."""
        sup = self._sup
        if sup.births.early or not all(t.exiting for t in sup.threads.values()):
            return False
        # A thread at its exec event is given up under the name that it had before.
        return not any(stop.kind is Kind.EXEC for stop in sup.deferred.values())

    @staticmethod
    def _may_be_another(thread: Task) -> bool:
        """Another thread is in exec: it may have killed this first one and have its name by now (de_thread() there).

        Detaching would hit the wrong one.  At its exit event it is this one: the other waits for it to end.  There it
        is detached, for of the end of a tracee pidfds tell at once (exit_notify() in kernel/exit.c), and since Linux
        6.15 one who polls them just then may find that its process has ended.
        """
        process = thread.process
        if thread.tid != process.tgid:
            return False
        in_exec = any(other.in_exec and not other.exiting for other in process.threads.values())
        return in_exec and not at_exit_event(thread)

    def reported(self, tid: int, thread: Task | None) -> None:
        """A wait status tells that a thread has ended."""
        self.over.append((tid, thread))
        for other in list(self._sup.threads.values()):
            # The end of a first thread comes after all others of its process, though exec may have hidden theirs.
            if other.process.tgid == tid and other is not thread:
                self.over.append((other.tid, other))

    # What follows.

    def conclude(self) -> None:
        """Nobody is at work: forget threads and address spaces."""
        while self.over:
            tid, thread = self.over.pop(0)
            self._sup.births.ended(tid, by_itself=thread is not None and thread.called_exit)
            if thread is not None:
                self.forget(thread)
        while self.gone:
            self._sup.kernel.mm_gone(self.gone.pop(0))

    def forget(self, thread: Task) -> None:
        sup, tid = self._sup, thread.tid
        if sup.threads.get(tid) is not thread:
            return
        process = thread.process
        with sup.events.acting(process.tgid, tid):
            sup.events.emit(ThreadGone)
        del sup.threads[tid]
        stop = sup.deferred.pop(tid, None)
        if stop is not None and stop.kind is Kind.EXEC and execs.thread_at(sup, tid) not in (None, thread):
            sup.deferred[tid] = stop  # of another thread, which has its name now
        if thread.mode.tcs_la:
            shut_down(thread)
        process.threads.pop(tid, None)
        sup.free_slot(thread)
        if not process.threads:
            with sup.events.acting(process.tgid, tid):
                sup.events.emit(ProcessGone)
            self._process_gone(process)

    def _process_gone(self, process: ThreadGroup) -> None:
        sup, space = self._sup, process.space
        if not any(t.space is space for t in sup.threads.values()):
            self.space_gone(space, process.mm)
        sup.release_unreferenced()
        if process.watches_maps and sup.kernel.enclaves():
            self.departures.add(process.tgid)
        if process.tgid == sup.main_pid and sup.at_end is None:
            # Whoever reads the program's standard error to its end must not have to wait for descendants.
            console.null(console.STDERR)

    def space_gone(self, space: AddressSpace, mm: MM) -> None:
        """Nobody runs in it any more."""
        self._sup.syscall_tasks.end(space)
        space.close_memory()
        self._sup.transitions.space_gone(space, mm)
        self.gone.append(mm)
