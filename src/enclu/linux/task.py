"""A thread as the kernel sees it.  Kernel: struct task_struct."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from enclu.sgx.processor import Processor

if TYPE_CHECKING:
    from enclu.linux.mm import MM


class Task(Processor, Protocol):
    """The logical processor that a thread is, and the memory map that it runs in."""

    @property
    def mm(self) -> MM:
        """Shared with the other threads of its process and with children of vfork; another one after exec."""
