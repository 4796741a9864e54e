"""New threads and processes: a parent's fork, vfork or clone event, and the first stop of the child.

They come in either order, and of a parent that is killed right then only the child's comes.
"""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING

from enclu.base.abi import (
    CLONE_CLEAR_SIGHAND,
    CLONE_SIGHAND,
    CLONE_THREAD,
    CLONE_VM,
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_PRIVATE,
    NR,
    PROT_NONE,
)
from enclu.native import calls, compat_calls, proc, ptrace, text_poke
from enclu.native.inject import inject
from enclu.native.resume import resume
from enclu.native.stop import Kind, Stop
from enclu.native.wait import ThreadGone
from enclu.run.task import ThreadGroup

if TYPE_CHECKING:
    from collections.abc import Iterator

    from enclu.run.supervisor import Supervisor
    from enclu.run.task import Task

MAKE_CHILDREN = frozenset((
    NR["clone"], NR["clone3"], NR["fork"], NR["vfork"],
    compat_calls.SAME["clone"], compat_calls.FORK, compat_calls.VFORK,
    proc.NO_CALL,
))  # fmt: skip
"""System calls by SYSCALL, and by INT 80H; or none that it waits in."""


class Births:
    """Makes Threads and Processes of what the kernel has attached by itself."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._sup = supervisor
        self.early: dict[int, Stop] = {}
        """First stops of children whose parents' events have not come yet."""
        self._doubtful: set[int] = set()
        """Those of them, by tid, that perhaps nobody will announce."""

    @property
    def unsettled(self) -> bool:
        """There may be a child that nobody will announce."""
        return bool(self._doubtful)

    def first_stop(self, tid: int, stop: Stop) -> None:
        """A thread has stopped that nobody has announced."""
        self.early[tid] = stop
        if not any(self._parents(tid)):
            self._doubtful.add(tid)

    def doubt(self) -> None:
        """Somebody has been killed who may have been about to announce any of them."""
        self._doubtful.update(self.early)

    def event(self, parent: Task, event: int) -> None:
        """The parent's event; it and the child go on afterwards."""
        sup = self._sup
        tid = ptrace.event_message(parent.tid, event)
        regs = parent.fetch()
        flags = 0
        if regs.orig_rax == NR["clone"]:
            flags = regs.rdi & 0xFFFF_FFFF
        elif regs.orig_rax == compat_calls.SAME["clone"]:
            flags = regs.rbx & 0xFFFF_FFFF
        elif regs.orig_rax == NR["clone3"]:
            flags = int.from_bytes(parent.space.peek(regs.rdi, 8), "little")
        elif event == ptrace.Event.VFORK:
            flags = CLONE_VM
        process = parent.process
        if not flags & CLONE_THREAD:
            shared = bool(flags & CLONE_VM)
            space, mm = (parent.space, parent.mm) if shared else sup.new_memory(tid, parent.mm)
            handlers = parent.process.handlers
            process = ThreadGroup(
                tid,
                space,
                mm,
                handlers if flags & CLONE_SIGHAND else handlers.copy(cleared=bool(flags & CLONE_CLEAR_SIGHAND)),
                watches_maps=process.watches_maps,
            )
            process.filtered = parent.process.filtered
        thread = sup.new_thread(tid, process)
        thread.blocked = parent.blocked
        if process.space is not parent.space:
            process.space.installed = parent.space.installed
            process.space.sites = parent.space.sites.copy()
            process.space.path_slots = parent.space.path_slots
            process.space.undumpable = parent.space.undumpable
        if process is not parent.process:
            sup.delivery.on_fork(parent, thread)
        else:
            sup.delivery.on_clone(parent, thread)
        parent.in_vfork = event == ptrace.Event.VFORK
        self._begin(parent, thread)
        if parent.own_arguments:
            calls.give_back(parent)
        resume(parent)

    def _begin(self, parent: Task, thread: Task) -> None:
        sup, space = self._sup, thread.space
        try:
            stop = self.early.pop(thread.tid, None)
            if stop is None:
                if proc.is_dead(thread.tid):
                    sup.leave(thread, ended=True)
                    return
                stop = thread.waiter.of(thread)
            thread.stopped = True
            if space is not parent.space:
                space.open_memory(thread.tid)
                self._hide_enclaves(thread)
                text_poke.complete(parent.space, space)
            sup.transitions.born(parent, thread)
            if parent.own_arguments:
                thread.fetch()
                calls.put_arguments(thread, parent.own_arguments)
        except ThreadGone:
            sup.leave(thread)
            return
        except OSError:
            if sup.is_stopped(thread):
                raise
            return  # killed: its end will be reported
        if parent.pinned and parent.free_affinity:
            with contextlib.suppress(OSError):
                os.sched_setaffinity(thread.tid, parent.free_affinity)
        thread.started = True
        if stop.kind is Kind.INTERRUPTION:
            with contextlib.suppress(ProcessLookupError):  # killed: its end will be reported
                resume(thread)
        else:
            sup.deferred[thread.tid] = stop

    def _hide_enclaves(self, thread: Task) -> None:
        """A forked child keeps the addresses of its parent's enclaves, but no EPC page behind them."""
        thread.fetch()
        flags = MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS
        for start, end in thread.mm.enclave_ranges():
            inject(thread, NR["mmap"], start, end - start, PROT_NONE, flags, -1, 0)

    def ended(self, tid: int, *, by_itself: bool) -> None:
        """A thread is gone: children that it was about to announce are nobody's now.

        One that has gone `by_itself`, by a call, had announced its children before.
        """
        self.early.pop(tid, None)
        if not by_itself:
            self.doubt()

    def settle(self) -> None:
        """Find children that nobody will announce.

        They have not executed an instruction yet.  Kill them: as if their parent had died a moment earlier, before
        the fork.
        """
        doubtful, self._doubtful = self._doubtful & self.early.keys(), set()
        for tid in doubtful:
            for thread in self._parents(tid):
                if tid in self.early and _may_make_child(thread):
                    self._sup.halter.with_halted(thread, _nothing)  # an event that it came to has been served then
            if self.early.pop(tid, None) is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(tid, signal.SIGKILL)

    def _parents(self, tid: int) -> Iterator[Task]:
        """Threads that may be about to announce the child: of its process or, for a process, of its parent.

        After them, for CLONE_PARENT, those of its siblings.
        """
        try:
            fields = proc.status(tid)
        except proc.GONE:
            return
        tgid, ppid = int(fields["Tgid"]), int(fields["PPid"])
        threads = list(self._sup.threads.values())
        near = tgid if tgid != tid else ppid
        yield from (t for t in threads if t.process.tgid == near)
        if tgid == tid:
            yield from (t for t in threads if _parent_of(t.process.tgid) == ppid)


def _may_make_child(thread: Task) -> bool:
    """It does not wait in another system call, in which it may be unable to stop."""
    try:
        return proc.system_call(thread.tid) in MAKE_CHILDREN
    except OSError:
        return True  # it is gone, or about to stop


def _parent_of(pid: int) -> int:
    try:
        return proc.parent(pid)
    except proc.GONE:
        return -1


def _nothing(thread: Task) -> None:
    """What to do to a thread that is only to be halted."""
