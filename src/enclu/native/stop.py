"""What a wait status tells: the one place that takes it apart.

ptrace(2), "Stopped states"; kernel: kernel/ptrace.c, kernel/signal.c (ptrace_stop(), do_notify_parent()).
"""

from __future__ import annotations

import enum
import functools
import os
import signal
from typing import NamedTuple

from enclu.native import ptrace

STOP_SIGNALS = frozenset((signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU))


class Kind(enum.Enum):
    """What a thread has stopped for."""

    ENDED = enum.auto()
    """It is gone; there is no stop."""
    EXIT = enum.auto()
    """Its last stop: it is about to end."""
    BIRTH = enum.auto()
    """It has made another thread or process."""
    VFORK_DONE = enum.auto()
    """Its vfork(2) returns."""
    EXEC = enum.auto()
    """It has become another program."""
    CALL = enum.auto()
    """It is about to make a system call that a seccomp filter names."""
    SYSCALL = enum.auto()
    """It enters or leaves a system call."""
    SIGNAL = enum.auto()
    """A signal is about to be delivered to it: an exception's, or one that was sent."""
    INTERRUPTION = enum.auto()
    """PTRACE_INTERRUPT, or its first stop."""
    GROUP = enum.auto()
    """Its process is being stopped by SIGSTOP or the like."""

    @property
    def final(self) -> bool:
        """The stop can be told only once: between a clone, fork or exec and its result, or at the end."""
        return self in _FINAL


_FINAL = (Kind.ENDED, Kind.EXIT, Kind.BIRTH, Kind.VFORK_DONE, Kind.EXEC)
_EVENTS = {
    ptrace.Event.FORK: Kind.BIRTH, ptrace.Event.VFORK: Kind.BIRTH, ptrace.Event.CLONE: Kind.BIRTH,
    ptrace.Event.VFORK_DONE: Kind.VFORK_DONE, ptrace.Event.EXEC: Kind.EXEC, ptrace.Event.EXIT: Kind.EXIT,
    ptrace.Event.SECCOMP: Kind.CALL,
}  # fmt: skip


class Settled(enum.Enum):
    """What has become of a thread that may have been stopped in the middle of an ENCLU in its process."""

    NOTHING = enum.auto()
    """It was somewhere else."""
    BACK = enum.auto()
    """It stands before its ENCLU."""
    ON = enum.auto()
    """Its ENCLU, or an AEX (`native.own_aex`), has been executed."""


class Stop(NamedTuple):
    """One kind of stop.  There is one object for each wait status (`decode`)."""

    kind: Kind
    signo: int
    """The signal, of SIGNAL and GROUP."""
    event: int
    """PTRACE_EVENT_*, 0 of a stop without one."""
    status: int
    """As waitpid(2) gave it."""


@functools.cache
def decode(status: int) -> Stop:
    """The stop that a wait status stands for."""
    if not os.WIFSTOPPED(status):
        return Stop(Kind.ENDED, 0, 0, status)
    event, signo = status >> 16, status >> 8 & 0xFF
    if event == ptrace.Event.STOP:
        return Stop(Kind.GROUP if signo in STOP_SIGNALS else Kind.INTERRUPTION, signo, event, status)
    if event:
        return Stop(_EVENTS[event], signo, event, status)
    if signo == signal.SIGTRAP | ptrace.SYSCALL_STOP:
        return Stop(Kind.SYSCALL, 0, 0, status)
    return Stop(Kind.SIGNAL, signo, 0, status)


def _status(event: int, signo: int) -> int:
    return event << 16 | signo << 8 | 0x7F


INTERRUPTED = decode(_status(ptrace.Event.STOP, signal.SIGTRAP))
AT_EXEC = decode(_status(ptrace.Event.EXEC, signal.SIGTRAP))
