"""A traced process: what its threads share besides memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from enclu.native.address_space import AddressSpace
    from enclu.native.thread import Thread


@dataclass
class SignalHandlers:
    """What the program asked of rt_sigaction where the kernel was given something else (struct sighand).

    signal number -> (sa_mask, sa_flags) as the program sees them.
    """

    hidden: dict[int, tuple[int, int]] = field(default_factory=dict)

    def copy(self) -> SignalHandlers:
        return SignalHandlers(dict(self.hidden))


@dataclass(eq=False)
class Process:
    """A thread group, its address space (shared with vfork children) and its signal handlers."""

    tgid: int
    space: AddressSpace
    handlers: SignalHandlers = field(default_factory=SignalHandlers)
    threads: dict[int, Thread] = field(default_factory=dict)
    watches_maps: bool = False
    """The second seccomp filter is on: the process has opened an SGX device, or descends from one that has."""
    vfork_parent: Thread | None = None
    """The thread that waits in vfork(2) until this process ends or calls exec: nothing can stop it meanwhile."""
