"""A traced process: what its threads share besides memory."""

from __future__ import annotations

import signal
import struct
from typing import TYPE_CHECKING, ClassVar

from enclu.base.abi import SIG_IGN
from enclu.base.record import field, record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from enclu.native.address_space import AddressSpace
    from enclu.native.thread import Thread


SYNCHRONOUS_SIGNALS = frozenset((signal.SIGILL, signal.SIGTRAP, signal.SIGBUS, signal.SIGFPE, signal.SIGSEGV))
"""Those that an instruction can raise."""
SYNCHRONOUS = sum(1 << signo - 1 for signo in SYNCHRONOUS_SIGNALS)


@record(frozen=True)
class SignalAction:
    """struct kernel_sigaction, as the program set it."""

    handler: int
    flags: int
    restorer: int
    mask: int

    LAYOUT: ClassVar[struct.Struct] = struct.Struct("<QQQQ")
    SIZE: ClassVar[int] = LAYOUT.size

    @classmethod
    def unpack(cls, image: bytes) -> SignalAction:
        """From a program's memory."""
        return cls(*cls.LAYOUT.unpack(image))

    def pack(self) -> bytes:
        """As rt_sigaction(2) takes it."""
        return self.LAYOUT.pack(self.handler, self.flags, self.restorer, self.mask)

    @property
    def handled(self) -> bool:
        """By a function, neither by default nor ignored (SIG_DFL is 0, SIG_IGN 1)."""
        return self.handler > SIG_IGN

    @property
    def ignored(self) -> bool:
        return self.handler == SIG_IGN


@record
class SignalHandlers:
    """struct sighand of a process that uses SGX: signal number -> action, of those with a handler or ever set."""

    actions: dict[int, SignalAction] = field(default_factory=dict)

    reset: int = 0
    """Synchronous signals whose actions the kernel may have reset: for the program they are what `actions` says."""
    frame_ready: bool = False
    """The kernel has a handler of the machine's own for FRAME_SIGNAL (`native.native_fault`), the program none."""
    sharers: list[Process] = field(default_factory=list)

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
        child.frame_ready = self.frame_ready and not cleared
        return child

    def after_exec(self) -> SignalHandlers:
        """Nothing is handled any more, what was ignored still is (flush_signal_handlers())."""
        return SignalHandlers({signo: action for signo, action in self.actions.items() if action.ignored})


@record(eq=False)
class Process:
    """A thread group, its address space (shared with vfork children) and its signal handlers."""

    tgid: int
    space: AddressSpace
    handlers: SignalHandlers = field(default_factory=SignalHandlers)
    threads: Mapping[int, Thread] = field(default_factory=dict)
    may_use_amx: bool = False
    """It has asked for AMX, as far as is known; nobody can give it back."""

    def __post_init__(self) -> None:
        self.handlers.sharers.append(self)
