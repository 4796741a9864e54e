"""Threads and processes of a run: what the processor knows of them (`native`), and what the kernel does."""

from __future__ import annotations

from dataclasses import dataclass, field

from enclu.linux.mm import MM
from enclu.native.address_space import AddressSpace
from enclu.native.process import Process
from enclu.native.processor import TracedProcessor


class Task(TracedProcessor):
    """A thread.  Implements `linux.task.Task`."""

    process: ThreadGroup

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
    ending: bool = False
    """It is known how it will end, and has been told."""

    def give(self, space: AddressSpace, mm: MM) -> None:
        """Another address space, after exec."""
        self.space, self.mm = space, mm
