"""On which processor threads run: one that stops often shares the supervisor's, where a stop costs no wake-up."""

from __future__ import annotations

import contextlib
import ctypes
import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from enclu.run.task import Task

PIN_AFTER, PIN_WINDOW_NS = 32, 32_000_000
"""A thread that stops this often within this time is placed."""


class Placement:
    """Of the supervisor and all its threads."""

    def __init__(self, *, wanted: bool) -> None:
        """Where it is wanted, and there is more than one processor, settle on the one that the supervisor is on now."""
        several = wanted and len(os.sched_getaffinity(0)) > 1
        self._cpu = int(ctypes.CDLL(None).sched_getcpu()) if several else -1

    def stopped(self, thread: Task) -> None:
        """A thread has stopped for what comes often."""
        thread.stop_count += 1
        if thread.stop_count >= PIN_AFTER:
            self._place(thread)

    def _place(self, thread: Task) -> None:
        """After `PIN_AFTER` stops of a thread: bring it here if they came fast, else send it back."""
        now = time.monotonic_ns()
        often = now - thread.stop_window < PIN_WINDOW_NS
        if self._cpu >= 0 and often != thread.pinned:
            with contextlib.suppress(OSError):
                if often:
                    os.sched_setaffinity(0, {self._cpu})
                    _pin(thread, self._cpu)
                else:
                    unpin(thread)
        thread.stop_count = 0
        thread.stop_window = now

    def keep_here(self, tid: int) -> None:
        """A task of the machine's own runs only while the supervisor waits for it."""
        if self._cpu >= 0:
            with contextlib.suppress(OSError):
                os.sched_setaffinity(tid, {self._cpu})


def _pin(thread: Task, cpu: int) -> None:
    """Run on the supervisor's processor: a stop then costs a context switch, not a wake-up elsewhere."""
    thread.free_affinity = os.sched_getaffinity(thread.tid)
    if cpu in thread.free_affinity:
        os.sched_setaffinity(thread.tid, {cpu})
        thread.pinned = True


def unpin(thread: Task) -> None:
    """Let it run where it would without us.  Raises OSError."""
    if thread.pinned and thread.free_affinity:
        os.sched_setaffinity(thread.tid, thread.free_affinity)
    thread.pinned = False
