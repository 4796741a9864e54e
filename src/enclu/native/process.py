"""A traced process: what its threads share besides memory."""

from __future__ import annotations

import enum
import signal
import struct
from typing import TYPE_CHECKING, NamedTuple

from enclu.base.abi import SIG_IGN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from enclu.native.address_space import AddressSpace
    from enclu.native.thread import Thread


SYNCHRONOUS_SIGNALS = frozenset((signal.SIGILL, signal.SIGTRAP, signal.SIGBUS, signal.SIGFPE, signal.SIGSEGV))
"""Those that an instruction can raise."""
SYNCHRONOUS = sum(1 << signo - 1 for signo in SYNCHRONOUS_SIGNALS)


SIGACTION = struct.Struct("<QQQQ")
"""struct kernel_sigaction: handler, flags, restorer, mask."""


class SignalAction(NamedTuple):
    """struct kernel_sigaction, as the program set it."""

    handler: int
    flags: int
    restorer: int
    mask: int

    @classmethod
    def unpack(cls, image: bytes) -> SignalAction:
        """From a program's memory."""
        return cls(*SIGACTION.unpack(image))

    def pack(self) -> bytes:
        """As rt_sigaction(2) takes it."""
        return SIGACTION.pack(self.handler, self.flags, self.restorer, self.mask)

    @property
    def handled(self) -> bool:
        """By a function, neither by default nor ignored (SIG_DFL is 0, SIG_IGN 1)."""
        return self.handler > SIG_IGN

    @property
    def ignored(self) -> bool:
        return self.handler == SIG_IGN


class FrameHandler(enum.Enum):
    """Whether the kernel has a handler of the machine's own for FRAME_SIGNAL (`native_fault`), and the program none."""

    NONE = enum.auto()
    PERHAPS = enum.auto()
    READY = enum.auto()


class SignalHandlers:
    """struct sighand of a process that uses SGX: signal number -> action, of those with a handler or ever set."""

    def __init__(self, actions: dict[int, SignalAction] | None = None) -> None:
        self.actions = actions if actions is not None else {}
        self.reset = 0
        """Synchronous signals whose actions the kernel may have reset: for the program they are what `actions` says."""
        self.frame_handler = FrameHandler.NONE
        self.own_aex = True
        """Exceptions in enclaves may be left to their threads, by FRAME_SIGNAL (`native.own_aex`)."""
        self.sharers: list[Process] = []

    def threads(self) -> Iterator[Thread]:
        """Those that live under these actions, of several processes perhaps (CLONE_SIGHAND)."""
        for process in self.sharers:
            if process.handlers is self:
                yield from process.threads.values()

    def copy(self, *, cleared: bool = False) -> SignalHandlers:
        """Those of a forked child, with CLONE_CLEAR_SIGHAND `cleared`.

        Any thread may have reset an action just before.
        """
        reset = self.reset
        for thread in self.threads():
            reset |= thread.blocked
        for signo, action in self.actions.items():
            reset |= 1 << signo - 1 if action.ignored else 0
        child = self.after_exec() if cleared else SignalHandlers(dict(self.actions))
        child.reset = reset & SYNCHRONOUS
        # The kernel has copied the actions some time ago.
        child.frame_handler = FrameHandler.NONE if cleared else FrameHandler.PERHAPS
        return child

    def after_exec(self) -> SignalHandlers:
        """Nothing is handled any more, what was ignored still is (flush_signal_handlers())."""
        return SignalHandlers({signo: action for signo, action in self.actions.items() if action.ignored})


class Process:
    """A thread group, its address space (shared with vfork children) and its signal handlers."""

    threads: Mapping[int, Thread]

    def __init__(self, tgid: int, space: AddressSpace, handlers: SignalHandlers | None = None) -> None:
        self.tgid, self.space = tgid, space
        self.handlers = handlers if handlers is not None else SignalHandlers()
        self.threads = {}
        self.may_use_amx = False
        """It has asked for AMX, as far as is known; nobody can give it back."""
        self.handlers.sharers.append(self)
