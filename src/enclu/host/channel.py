"""One thread of the agent, as seen from here: a structure in shared memory, and whose turn it is (agent/agent.h).

Giving the turn takes no system call while the other is awake.  Why none is slept through, agent/turn.c says.
"""

from __future__ import annotations

import ctypes
import enum
import errno
import os
import time
from collections.abc import Callable

from enclu.base.abi import FUTEX_WAIT, FUTEX_WAKE, NR
from enclu.base.fence import full_fence
from enclu.host.arena import Arena
from enclu.host.errors import ProcessDied
from enclu.linux.delivery.usage import REGISTERS

TURN_PYTHON, TURN_AGENT = 0, 1
INTERRUPTED = 0
"""Instead of a leaf: the interrupting signal has come after an AEX."""
SPIN = 120e-6
"""Seconds to look for an answer before sleeping: waking up on another processor takes about as long as an ECALL."""
LOOKS_IN_VAIN, LOOKS_SELDOM = 4, 64
"""After so many, one after the other, sleep at once, but for each so many-th time: it may have become worth while."""
LOOK = 0.05
"""Seconds after which a sleeper looks whether the process still lives."""


class Command(enum.IntEnum):
    """enum command."""

    SYSCALL = 0
    SPAWN = 1
    ENTER = 2
    AGAIN = 3
    RESUME = 4
    LEAVE = 5
    CPUID = 6


class ChannelStruct(ctypes.Structure):
    """struct channel."""

    _fields_ = (
        ("turn", ctypes.c_uint32), ("command", ctypes.c_uint32), ("args", ctypes.c_uint64 * 7),
        ("result", ctypes.c_int64), ("leaf", ctypes.c_uint64), ("vector", ctypes.c_uint64),
        ("error_code", ctypes.c_uint64), ("address", ctypes.c_uint64), ("inputs", ctypes.c_uint64 * len(REGISTERS)),
        ("out", ctypes.c_uint64 * 16), ("frame", ctypes.c_uint64), ("tid", ctypes.c_uint64), ("depth", ctypes.c_uint64),
        ("agent_sleeps", ctypes.c_uint32), ("python_sleeps", ctypes.c_uint32), ("looks", ctypes.c_uint32),
        ("vain", ctypes.c_uint32),
    )  # fmt: skip


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


_syscall = ctypes.CDLL(None, use_errno=True).syscall
_LOOK = _Timespec(0, int(LOOK * 1e9))


def _several_processors() -> bool:
    """Whether the agent can answer while we look for it."""
    return len(os.sched_getaffinity(0)) > 1


class Channel:
    """`dead` says how the process ended, None while it lives."""

    def __init__(self, arena: Arena, address: int, dead: Callable[[], str | None]) -> None:
        self.address = address
        """Of a page of the arena."""
        self.struct = ChannelStruct.from_buffer(arena.map, address - arena.address)
        self.struct.looks = _several_processors()
        self._dead = dead
        self._futex = ctypes.c_void_p(ctypes.addressof(self.struct))
        self._vain = 0
        """How often an answer was looked for in vain, or not at all, since the last that was found by looking."""

    def give(self, command: Command) -> None:
        """Have the agent do the command."""
        self.struct.command = command
        self.struct.turn = TURN_AGENT
        self.wake()

    def wake(self) -> None:
        """Wake the agent, should it sleep.  Needed again where an exception may have come between the turn and this."""
        full_fence()
        if self.struct.agent_sleeps:
            _syscall(NR["futex"], self._futex, FUTEX_WAKE, 1, None, None, 0)

    def await_turn(self, until: float | None = None) -> bool:
        """Wait for the agent to have done it; False if the time (of time.monotonic()) has come before.

        Raises ProcessDied.
        """
        if self._look():
            return True
        while self.struct.turn != TURN_PYTHON:
            if until is not None and time.monotonic() >= until:
                return False
            self._sleep()
        return True

    def _look(self) -> bool:
        """Look for the turn for a while, where that is worth while; whether it has come."""
        struct = self.struct
        self._vain += 1  # until it turns out otherwise
        if not self._vain % LOOKS_SELDOM:
            struct.looks = _several_processors()
        elif self._vain > LOOKS_IN_VAIN:
            return False
        if struct.looks:
            end = time.monotonic() + SPIN
            while time.monotonic() < end:
                if struct.turn == TURN_PYTHON:
                    self._vain = 0
                    return True
        return False

    def _sleep(self) -> None:
        """Until the agent gives the turn, or for LOOK.  Raises ProcessDied.

        futex(2) itself looks at the turn, under a lock of the kernel's: that is the fence after the word that says that
        we sleep.  Who is broken into here leaves the word as it is, until the next sleep: the agent then makes system
        calls that wake nobody.
        """
        struct = self.struct
        struct.python_sleeps = 1
        if _syscall(NR["futex"], self._futex, FUTEX_WAIT, TURN_AGENT, ctypes.byref(_LOOK), None, 0):
            waits = ctypes.get_errno() in (errno.EINTR, errno.EAGAIN)
            if not waits and (how := self._dead()) is not None and struct.turn != TURN_PYTHON:
                raise ProcessDied(how)
        struct.python_sleeps = 0

    def close(self) -> None:
        """Look at the arena no longer: what was in the structure is kept as it is."""
        self.struct = ChannelStruct.from_buffer_copy(self.struct)
