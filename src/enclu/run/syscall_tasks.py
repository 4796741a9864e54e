"""Which address spaces have a task of the machine's own (`native.syscall_task`), and how long.

Each that has an enclave mapped gets one, if the program lets it.  It ends before the last of the program's threads does
that use the memory: until then nobody can see that the memory is still there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from enclu.base.abi import NR
from enclu.native import compat_calls, proc
from enclu.native.inject import MachineGone
from enclu.native.stop import Kind, Stop
from enclu.native.wait import ThreadGone

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from enclu.native.address_space import AddressSpace
    from enclu.native.syscall_task import SyscallTask
    from enclu.run.supervisor import Supervisor
    from enclu.run.task import Task


_WAITS = frozenset((
    NR["wait4"], NR["waitid"], compat_calls.SAME["wait4"], compat_calls.SAME["waitid"], compat_calls.WAITPID,
    proc.NO_CALL,
))  # fmt: skip
"""Waits for children by SYSCALL, and by INT 80H; or none that the thread is in yet."""


class SyscallTasks:
    """Makes them, calls them, ends them; and knows their stops from those of the program's threads."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._sup = supervisor
        self._tids: set[int] = set()
        """Those that have not ended, the middle ones too."""
        self._tasks: dict[AddressSpace, SyscallTask] = {}
        self._refused: set[AddressSpace] = set()
        """Those that cannot have one."""

    def provide(self, thread: Task) -> None:
        """An enclave is about to be mapped by the stopped thread."""
        space = thread.space
        if space in self._tasks or space in self._refused:
            return
        if any(t.space is space and t.process is not thread.process for t in self._sup.threads.values()):
            return  # after vfork(2): the next time
        if any(_may_reap(t) for t in thread.process.threads.values() if t is not thread):
            return  # the next time, too
        task = self._made(thread) if self._may_have(thread) else None
        if task is None:
            self._refused.add(space)
            return
        self._tasks[space] = task
        self._sup.placement.keep_here(task.tid)

    def _may_have(self, thread: Task) -> bool:
        """Nobody of the run would find it among its children."""
        from enclu.native.syscall_task import keeps_namespace  # for enclaves alone
        from enclu.run import orphans

        try:
            return keeps_namespace(thread) and orphans.stay_outside(thread, self._sup.threads.values())
        except OSError:
            return False

    def _made(self, thread: Task) -> SyscallTask | None:
        """None if the program, or a limit of it, does not let it be, or somebody kills it.

        Raises ThreadGone and MachineGone, of the program's thread.
        """
        from enclu.native.syscall_task import NoTask, SyscallTask, clone, reap

        made: list[SyscallTask] = []
        middle: SyscallTask | None = None
        number = 0
        kept = False

        def note(tid: int) -> None:
            self._tids.add(tid)
            made.append(SyscallTask(tid, thread))

        try:
            number = clone(thread, note)
            middle = made[0]
            middle.begin(self._sup.births.early.pop(middle.tid, None))
            clone(middle.thread, note)
            made[1].begin(self._sup.births.early.pop(made[1].tid, None))
            made[1].let_go_of_all()
            kept = True
        except (NoTask, OSError, ThreadGone):
            if not self._sup.is_stopped(thread):
                raise ThreadGone from None
        except MachineGone as gone:
            raise MachineGone(thread, gone.why) from None
        finally:
            for task in made:
                if not kept or task is middle:
                    self._end(task)
        if number:
            reap(thread, number)
        return made[1] if kept and made[1].tid in self._tids else None

    def call(self, space: AddressSpace, nr: int, *arguments: int) -> int | None:
        """A system call made by the task of the address space; None if there is none."""
        return self._made_by(space, lambda task: task.call(nr, *arguments))

    def protect(self, space: AddressSpace, ranges: Sequence[tuple[int, int]], prot: int) -> bool:
        """mprotect of each range, made by the task; False if there is none, or a call has failed."""
        return bool(self._made_by(space, lambda task: task.protect(ranges, prot)))

    def _made_by(self, space: AddressSpace, what: Callable[[SyscallTask], int]) -> int | None:
        task = self._tasks.get(space)
        if task is None:
            return None
        try:
            return what(task)
        except (ThreadGone, ProcessLookupError):
            pass  # killed by somebody; the call, if it was made, can be made again
        except MachineGone:
            self._end(task)  # the program's own thread will tell
        self._tasks.pop(space, None)
        return None

    def end(self, space: AddressSpace) -> None:
        """Of the program's threads nobody will use the memory any more."""
        self._refused.discard(space)
        task = self._tasks.pop(space, None)
        if task is not None:
            self._end(task)

    def _end(self, task: SyscallTask) -> None:
        if task.tid in self._tids:
            self._tids.remove(task.tid)
            task.end()
        self._sup.births.early.pop(task.tid, None)

    def arrived(self, tid: int, stop: Stop) -> bool:
        """Whether what has come to a tracee is a matter of one of these: its first stop, or somebody has killed it."""
        if tid not in self._tids:
            return False
        if stop.kind is not Kind.ENDED:
            self._sup.births.early[tid] = stop  # as it is where this comes before its maker's event
            return True
        self._tids.remove(tid)
        for space, task in list(self._tasks.items()):
            if task.tid == tid:
                del self._tasks[space]
        return True


def _may_reap(thread: Task) -> bool:
    """It waits, or is about to, for children that send no SIGCHLD, too: the middle task would be one."""
    try:
        return thread.waits_for_all and proc.system_call(thread.tid) in _WAITS
    except OSError:
        return not thread.exiting
