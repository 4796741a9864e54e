"""A thread as the kernel sees it.  Kernel: struct task_struct."""

from __future__ import annotations

from typing import TYPE_CHECKING

from enclu.base.protocol import Protocol
from enclu.sgx.processor import Registers, SupervisedProcessor

if TYPE_CHECKING:
    from enclu.linux.mm import MM
    from enclu.sgx.processor import AddressSpace


class CallRegisters(Registers, Protocol):
    """At a system call."""

    orig_rax: int
    """Its number; RAX is its result by then."""


class Task(SupervisedProcessor, Protocol):
    """The logical processor that a thread is, and the memory map that it runs in."""

    @property
    def regs(self) -> CallRegisters: ...

    @property
    def tgid(self) -> int:
        """Its process."""

    @property
    def space(self) -> AddressSpace:
        """Its memory."""

    @property
    def mm(self) -> MM:
        """Shared with the other threads of its process and with children of vfork; another one after exec."""

    @property
    def personality(self) -> int:
        """What personality(2) has made of it; 0 where nobody may look."""

    def text_mapped(self, start: int, length: int, fd: int, offset: int) -> None:
        """It has mapped a file, of which `fd` is its descriptor, to execute it."""

    def name_of(self, fd: int) -> str:
        """The file that is open there, as /proc/PID/fd names it.  Raises OSError."""

    def process_behind(self, pidfd: int) -> int:
        """The process that a pidfd stands for, -1 if it is gone.  Raises OSError."""
