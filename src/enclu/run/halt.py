"""Stopping a running thread for the supervisor's own purposes, and letting it go on as if nothing had been.

A system call cannot be injected at every stop, and an injected call replaces what the kernel remembers of a stop.
So whatever stop the thread comes to is turned into one that loses nothing: an instruction that will be executed
again, or a signal whose siginfo is kept.
"""

from __future__ import annotations

import contextlib
import functools
import signal
from typing import TYPE_CHECKING

from enclu.native import debug_registers, proc, ptrace, signals
from enclu.native.debug_registers import COUNT
from enclu.native.exceptions import is_dispatched, undo_trap
from enclu.native.inject import MachineGone, call_again, inject
from enclu.native.native_fault import raised
from enclu.native.process import SYNCHRONOUS_SIGNALS
from enclu.native.resume import CONT, interrupt, resume, until
from enclu.native.stop import INTERRUPTED, Kind, Settled, Stop
from enclu.native.text_poke import text_poke
from enclu.native.wait import ThreadGone
from enclu.run import exceptions

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from enclu.native.address_space import AddressSpace
    from enclu.native.narrowed import NarrowedEnclave
    from enclu.native.thread import Thread
    from enclu.run.supervisor import Supervisor
    from enclu.run.task import Task
    from enclu.sgx.epc import EPCPage
    from enclu.sgx.processor import PageTables, ShownEnclave


def restore_info(thread: Task) -> None:
    """Before a stop that was put off is looked at: give it back its siginfo, if it has one."""
    if thread.kept_info is not None:
        kept, thread.kept_info = thread.kept_info, None
        try:
            ptrace.SigInfo.of(kept).set(thread.tid)
        except ProcessLookupError:
            return  # killed meanwhile, as whoever looks at the stop will find


class Halter:
    """Acts on threads that may be running.  The `sgx.processor.Processors` of the kernel."""

    def __init__(self, sup: Supervisor) -> None:
        self._sup = sup

    def inject_in(self, space: AddressSpace, nr: int, *arguments: int, files: bool = False) -> int:
        """A system call in `space`, made by the machine's own task there.

        Where there is none, or the call needs `files` of the program's, a thread makes it: the one at hand, else one
        that is halted for the purpose.  0 if none is left: then there is nobody for whom the call could matter.
        """
        sup = self._sup
        made = None if files else sup.syscall_tasks.call(space, nr, *arguments)
        if made is not None:
            return made
        thread = sup.current
        results: list[int] = []

        def call(halted: Task) -> None:
            if halted.space is space:  # else it has called exec just now
                results.append(inject(halted, nr, *arguments))

        if thread is not None and thread.space is space and thread.stopped and not thread.exiting:
            with self._surviving(thread):
                call(thread)
        for other in list(sup.threads.values()):
            if results:
                return results[0]
            if other.space is space:
                self.with_halted(other, call)
        return results[0] if results else 0

    def with_halted(self, thread: Task, action: Callable[[Task], object]) -> None:
        """Do something to a thread that may be running.  Nothing is done to one that has ended."""
        with self._surviving(thread):
            if self.at_work(thread):
                action(thread)
            elif self._halt(thread):
                action(thread)
                self._let_go(thread)

    def halt(self, thread: Task) -> bool:
        """Bring a thread to a halt, until it is let go on; False if it is gone or cannot come to one."""
        with self._surviving(thread):
            return self._halt(thread)
        return False

    def let_go(self, thread: Task) -> None:
        """Have a halted thread go on."""
        with self._surviving(thread):
            self._let_go(thread)

    def patch_text(self, tables: PageTables, address: int, code: bytes) -> None:
        """text_poke_bp(), for the thread at hand."""
        thread = self._sup.current
        assert thread is not None and thread.space is tables
        self._sup.transitions.text_changes(thread.space, address, address + len(code))
        self.poke_text(thread.space, address, code)

    def poke_text(self, space: AddressSpace, address: int, code: bytes) -> None:
        """Change instructions that others may be about to execute."""
        text_poke(space, address, code, functools.partial(self.inject_in, space))

    @contextlib.contextmanager
    def halted(self, threads: Iterable[Task]) -> Iterator[None]:
        """None of these threads runs meanwhile."""
        halted = []
        for thread in threads:
            if not self.at_work(thread):
                with self._surviving(thread):
                    if self._halt(thread):
                        halted.append(thread)
        try:
            yield
        finally:
            for thread in halted:
                with self._surviving(thread):
                    self._let_go(thread)

    def threads_in(self, eid: int) -> list[Task]:
        """Those that execute in the enclave, or are about to."""
        return [t for t in self._sup.threads.values() if t.mode.tcs_la and t.mode.eid == eid]

    def begin_epoch(self, eid: int, epoch: int) -> None:
        self._sup.transitions.begin_epoch(eid, epoch)

    def revoke(self, eid: int, pages: Collection[tuple[int, int]] | None = None) -> None:
        self._sup.transitions.revoke(eid, pages)

    def give_way(self, tables: PageTables, start: int, end: int) -> None:
        """For the thread at hand."""
        thread = self._sup.current
        assert thread is not None and thread.space is tables
        self._sup.transitions.give_way(thread.space, start, end)

    def leaves_epc(self, pages: Sequence[EPCPage]) -> None:
        self._sup.transitions.leaves_epc(pages)
        if self._sup.debugger is not None:
            self._sup.debugger.leave_epc(pages)

    def shared(self, eid: int) -> None:
        self._sup.transitions.give_back(eid)

    def original(self, address: int, data: bytes) -> bytes:
        return self._sup.transitions.original(address, data)

    def in_all(self, eid: int, action: Callable[[Thread], object], but: Thread) -> None:
        self.revoke(eid)
        for thread in self.threads_in(eid):
            if thread is not but:
                self.with_halted(thread, action)

    def over(self, eid: int) -> None:
        self._sup.narrowed.pop(eid, None)

    def none_in(self, eid: int, but: Thread) -> contextlib.AbstractContextManager[None]:
        self.revoke(eid)
        return self.halted([thread for thread in self.threads_in(eid) if thread is not but])

    @property
    def debug_registers(self) -> int:
        return COUNT - (self._sup.debugger.watches.most if self._sup.debugger is not None else 0)

    def execution(self, enclave: ShownEnclave) -> NarrowedEnclave | None:
        """An enclave whose XFRM is less than XCR0 is watched."""
        if not self._sup.machine.layout.xcr0 & ~enclave.xfrm:
            return None
        from enclu.native.narrowed import NarrowedEnclave  # for enclaves alone

        narrowed = NarrowedEnclave(self, enclave)
        self._sup.narrowed[enclave.eid] = narrowed
        return narrowed

    def at_work(self, thread: Task) -> bool:
        """It is stopped, and somebody will see to it that it goes on."""
        return thread.stopped and thread.tid not in self._sup.deferred and not thread.exiting

    @contextlib.contextmanager
    def _surviving(self, thread: Task) -> Iterator[None]:
        """Whatever is done to a thread that turns out to have ended is void; the caller's own business goes on."""
        try:
            yield
        except ThreadGone:
            self._sup.leave(thread)
        except MachineGone as gone:
            self._sup.end(gone)
        except ProcessLookupError:
            if self._sup.is_stopped(thread):
                raise
            self._sup.leave(thread)

    def _halt(self, thread: Task) -> bool:
        """Bring it to a stop at which system calls can be injected; False if it is gone or cannot come to one."""
        while not thread.exiting:
            stop = self._sup.deferred.pop(thread.tid, None)
            if stop is None:
                if not self._runs(thread):
                    if thread.mode.tcs_la and proc.is_dead(thread.tid):
                        self._sup.leave(thread)  # nobody waits for it to leave its enclave
                    return False
                stop = self._interrupted(thread)
                signals.note_sent(thread, stop)
            thread.stopped = True
            thread.halted_at = self._settled(thread, stop)
            if thread.halted_at is not None:
                thread.fetch()
                return True
            self._sup.serve(thread, stop)  # and stop it anew
            if thread.tid not in self._sup.threads:
                return False
            if self.at_work(thread):
                return True  # a debugger holds it
        return False

    @staticmethod
    def _runs(thread: Task) -> bool:
        """It has begun, has not ended before the rest of its process, and does not wait in vfork(2)."""
        if not thread.started or thread.exiting or thread.in_vfork:
            return False
        return not proc.is_dead(thread.tid)

    @staticmethod
    def _interrupted(thread: Task) -> Stop:
        """PTRACE_INTERRUPT; the stop that the thread comes to, which may be another."""
        interrupt(thread)
        stop = thread.waiter.of(thread)
        if stop.kind in (Kind.INTERRUPTION, Kind.GROUP):
            thread.listening = stop.kind is Kind.GROUP
            if signals.faulted(thread):
                # It has faulted, but the interruption came first.  Before anything else it stops for the fault.
                return until(thread, CONT, lambda stop: True)
        return stop

    @staticmethod
    def _settled(thread: Task, stop: Stop) -> Stop | None:
        """Give the stop a form in which it can wait; the stop to go on with.

        None for a stop that cannot wait: between a clone, fork or exec and its result.
        """
        if stop.kind.final:
            return None
        if stop.kind is Kind.CALL or (stop.kind is Kind.SYSCALL and thread.mode.enclave):
            thread.fetch()
            call_again(thread)
            return INTERRUPTED
        if stop.kind is Kind.SIGNAL and thread.kept_info is None:
            if thread.blocked and stop.signo in SYNCHRONOUS_SIGNALS:
                thread.fetch()
                signals.forced(thread, stop.signo)
            info = ptrace.SigInfo()
            info.get(thread.tid)
            if is_dispatched(thread, stop.signo, info):
                thread.fetch()
                call_again(thread)
                signals.unforce(thread, info)
                return INTERRUPTED
            if thread.space.in_process is not None and raised(info):
                thread.fetch()
                if thread.settled is not Settled.NOTHING:
                    return INTERRUPTED  # the instruction that raised it was none of the program's
            if raised(info) and stop.signo != signal.SIGTRAP:
                return INTERRUPTED  # a fault: it will come again
            thread.kept_info = bytes(info)
        return stop

    def _let_go(self, thread: Task) -> None:
        if thread.listening:
            interrupt(thread)  # back to the stop of its process, first of all
        stop, thread.halted_at = thread.halted_at, None
        if stop is None:
            return  # a debugger holds it
        signals.send_put_off(thread)
        if stop.kind in (Kind.INTERRUPTION, Kind.GROUP):
            resume(thread)
        else:
            self._sup.deferred[thread.tid] = stop

    def kick(self, eid: int) -> None:
        """The inter-processor interrupt: every other processor in this enclave leaves it by an AEX."""
        for thread in self.threads_in(eid):
            if thread is not self._sup.current:
                self.with_halted(thread, self._interrupt)

    def _interrupt(self, thread: Task) -> None:
        """AEX by an interrupt, unless it has left meanwhile."""
        if not thread.mode.enclave:
            return
        if thread.kept_info is not None:
            info = debug_registers.told(thread, ptrace.SigInfo.of(thread.kept_info))
            if info.signo == signal.SIGTRAP and info.code > 0:
                undo_trap(thread, info.code)
                thread.kept_info, thread.halted_at = None, INTERRUPTED
        exceptions.interrupt(self._sup, thread)
