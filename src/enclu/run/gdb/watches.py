"""Watchpoints and hardware breakpoints: what a process is watched for, in the debug registers of its threads."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from enclu.base.abi import TRAP_TRACE
from enclu.native import debug_registers
from enclu.native.debug_registers import COUNT, TRAP_HWBKPT, Access, Watch

if TYPE_CHECKING:
    from enclu.run.task import Task

_REASONS = {Access.EXECUTED: "hwbreak:", Access.WRITTEN: "watch:{:x}", Access.ACCESSED: "awatch:{:x}"}


def reason(watch: Watch) -> str:
    """Of a stop reply."""
    return _REASONS[watch.access].format(watch.address)


class Watches:
    """Those of a run."""

    def __init__(self) -> None:
        self._of: dict[int, tuple[Watch, ...]] = {}
        self._met: dict[int, Watch] = {}
        """What halted threads, by tid, have met, and nobody has been told of."""

    @property
    def most(self) -> int:
        """Debug registers that are in use, of a process that has the most."""
        return max(map(len, self._of.values()), default=0)

    def wants(self, pid: int, watch: Watch) -> bool:
        return watch in self._of.get(pid, ())

    def change(self, task: Task, watch: Watch, *, wanted: bool) -> None:
        """In the thread's process.  Raises OSError ENOSPC where the machine's own leave too few registers."""
        pid = task.process.tgid
        watches = tuple(other for other in self._of.get(pid, ()) if other != watch)
        if wanted:
            machines = max((len(t.breakpoints) for t in task.process.threads.values()), default=0)
            if len(watches) + machines >= COUNT:
                raise OSError(errno.ENOSPC, "the debug registers are all in use")
            watches = (*watches, watch)
        self._of[pid] = watches

    def forget(self, pid: int) -> None:
        """Nothing of the process is watched."""
        self._of.pop(pid, None)

    def thread_gone(self, tid: int) -> None:
        self._met.pop(tid, None)

    def arm(self, task: Task) -> None:
        """The stopped thread is about to run.

        A new one may find that an enclave has taken what was free when the others began: then it is not watched.
        """
        wanted = self._of.get(task.process.tgid, ())
        if len(task.breakpoints) + len(wanted) <= COUNT:
            debug_registers.watch(task, wanted)

    def note(self, task: Task, code: int) -> bool:
        """A halted thread has met one, of which somebody is to be told when its turn comes."""
        met = debug_registers.met(task) if code in (TRAP_HWBKPT, TRAP_TRACE) else None
        if met is not None:
            self._met[task.tid] = met
        return met is not None

    def pending(self, task: Task) -> bool:
        return task.tid in self._met

    def met(self, task: Task, code: int) -> Watch | None:
        """What the thread, at a SIGTRAP with this si_code, has met."""
        met = self._met.pop(task.tid, None)
        if met is None and code in (TRAP_HWBKPT, TRAP_TRACE):
            met = debug_registers.met(task)
        return met
