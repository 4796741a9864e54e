"""Threads and processes of a run: what the processor knows of them (`native`), and what the kernel does."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from enclu.linux.mm import MM
from enclu.native.address_space import AddressSpace
from enclu.native.process import Process
from enclu.native.processor import TracedProcessor

if TYPE_CHECKING:
    from enclu.native.stop import Stop


@dataclass(eq=False, slots=True)
class Task(TracedProcessor):
    """A thread.  Implements `linux.task.Task`."""

    process: ThreadGroup
    slot_index: int
    """Where the slot is in the shared area, if there is one (`native.shared_area`)."""
    started: bool = field(init=False, default=False)
    """It has had its first stop."""
    in_vfork: bool = field(init=False, default=False)
    """Its vfork has not returned: it cannot be stopped before the child has called exec or exited."""
    called_exit: bool = field(init=False, default=False)
    """It has called exit(2) or exit_group(2), and been let go there."""
    in_exec: bool = field(init=False, default=False)
    """It may end all others of its process, and have the name of the first one since."""
    waits_for_all: bool = field(init=False, default=False)
    """Its last wait for children that stopped has __WALL or __WCLONE, and may not be over."""
    halted_at: Stop | None = field(init=False, default=None)
    """The stop with which the thread came to a halt (see `run.halt`), until it goes on."""
    kept_info: bytes | None = field(init=False, default=None)
    """siginfo of the signal in a stop that is still to be looked at."""
    stop_count: int = field(init=False, default=0)
    """Stops since `run.placement` last looked at it."""
    stop_window: int = field(init=False, default=0)
    """When that was, in ns of the monotonic clock."""
    pinned: bool = field(init=False, default=False)
    """It has been brought to the supervisor's processor."""
    free_affinity: set[int] | None = field(init=False, default=None)
    """Where it may run by its own will, while it is pinned."""

    @property
    def mm(self) -> MM:
        return self.process.mm


@dataclass(eq=False, kw_only=True)
class ThreadGroup(Process):
    """A process, and the memory map that it shares with children of vfork."""

    mm: MM
    threads: dict[int, Task] = field(default_factory=dict)
    watches_maps: bool = False
    """The second seccomp filter is on: the process has opened an SGX device, or descends from one that has."""
    subreaper: bool = False
    """It has been one (PR_SET_CHILD_SUBREAPER); whether it has ceased to be is not asked."""
    ending: bool = False
    """It is known how it will end, and has been told."""

    def give(self, space: AddressSpace, mm: MM) -> None:
        """Another address space, after exec."""
        self.space, self.mm = space, mm
