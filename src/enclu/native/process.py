"""A traced process: what its threads share besides memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from enclu.native.address_space import AddressSpace
    from enclu.native.thread import Thread


@dataclass(frozen=True)
class SignalAction:
    """struct sigaction as the program set it; the kernel was given other flags and another mask."""

    handler: int
    flags: int
    mask: int

    @property
    def handled(self) -> bool:
        """By a function, neither by default nor ignored (SIG_DFL is 0, SIG_IGN 1)."""
        return self.handler > 1


@dataclass
class SignalHandlers:
    """struct sighand of a process that uses SGX: signal number -> action, of those with a handler or ever set."""

    actions: dict[int, SignalAction] = field(default_factory=dict)

    def copy(self) -> SignalHandlers:
        return SignalHandlers(dict(self.actions))


@dataclass(eq=False)
class Process:
    """A thread group, its address space (shared with vfork children) and its signal handlers."""

    tgid: int
    space: AddressSpace
    handlers: SignalHandlers = field(default_factory=SignalHandlers)
    threads: dict[int, Thread] = field(default_factory=dict)
    watches_maps: bool = False
    """The second seccomp filter is on: the process has opened an SGX device, or descends from one that has."""
    ending: bool = False
    """It is known how it will end, and has been told."""
    may_use_amx: bool = False
    """It has asked for AMX, as far as is known; nobody can give it back."""
