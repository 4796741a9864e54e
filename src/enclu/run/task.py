"""Threads and processes of a run: what the processor knows of them (`native`), and what the kernel does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from enclu.linux.mm import MM
from enclu.native.address_space import AddressSpace
from enclu.native.process import Process
from enclu.native.processor import TracedProcessor

if TYPE_CHECKING:
    from enclu.native.process import SignalHandlers
    from enclu.native.stop import Stop
    from enclu.native.wait import Waiter
    from enclu.run.own_aex import Untold
    from enclu.sgx.machine import Machine


class Task(TracedProcessor):
    """A thread.  Implements `linux.task.Task`."""

    __slots__ = (
        "called_exit",
        "free_affinity",
        "halted_at",
        "in_exec",
        "in_vfork",
        "kept_info",
        "pinned",
        "slot_index",
        "started",
        "stop_count",
        "stop_window",
        "untold",
        "waits_for_all",
    )
    process: ThreadGroup

    def __init__(
        self, tid: int, process: ThreadGroup, machine: Machine, slot: memoryview, waiter: Waiter, slot_index: int
    ) -> None:
        super().__init__(tid, process, machine, slot, waiter)
        self.slot_index = slot_index
        """Where the slot is in the shared area, if there is one (`native.shared_area`)."""
        self.started = False
        """It has had its first stop."""
        self.in_vfork = False
        """Its vfork has not returned: it cannot be stopped before the child has called exec or exited."""
        self.called_exit = False
        """It has called exit(2) or exit_group(2), and been let go there."""
        self.in_exec = False
        """It may end all others of its process, and have the name of the first one since."""
        self.waits_for_all = False
        """Its last wait for children that stopped has __WALL or __WCLONE, and may not be over."""
        self.halted_at: Stop | None = None
        """The stop with which the thread came to a halt (see `run.halt`), until it goes on."""
        self.kept_info: bytes | None = None
        """siginfo of the signal in a stop that is still to be looked at."""
        self.stop_count = 0
        """Stops since `run.placement` last looked at it."""
        self.stop_window = 0
        """When that was, in ns of the monotonic clock."""
        self.pinned = False
        """It has been brought to the supervisor's processor."""
        self.untold: Untold | None = None
        """An exception of its enclave of which nobody has been told yet (`run.own_aex`)."""
        self.free_affinity: set[int] | None = None
        """Where it may run by its own will, while it is pinned."""

    @property
    def mm(self) -> MM:
        return self.process.mm


class ThreadGroup(Process):
    """A process, and the memory map that it shares with children of vfork."""

    threads: dict[int, Task]

    def __init__(
        self, tgid: int, space: AddressSpace, mm: MM, handlers: SignalHandlers | None = None, *,
        watches_maps: bool = False, subreaper: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(tgid, space, handlers)
        self.mm = mm
        self.watches_maps = watches_maps
        """The second seccomp filter is on: the process has opened an SGX device, or descends from one that has."""
        self.subreaper = subreaper
        """It has been one (PR_SET_CHILD_SUBREAPER); whether it has ceased to be is not asked."""
        self.filtered = False
        """It has, or a parent had, a seccomp filter of its own: what the machine would do in it may be forbidden."""
        self.ending = False
        """It is known how it will end, and has been told."""

    def give(self, space: AddressSpace, mm: MM) -> None:
        """Another address space, after exec."""
        self.space, self.mm = space, mm
