"""Waiting for traced threads: the one place that calls waitpid(2).

What the supervisor waits for besides, as descriptors, is waited for here as well.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

from enclu.base.abi import WALL
from enclu.native import ptrace
from enclu.native.stop import Kind, Stop, decode

if TYPE_CHECKING:
    from enclu.native.thread import Thread

_SIGNAL_SET = (1 << signal.SIGCHLD - 1).to_bytes(128, "little")
"""sigset_t of the C library."""
_RECORD = 128
"""Bytes of a struct signalfd_siginfo."""


class ThreadGone(Exception):
    """The thread has died, or become another by exec, while the supervisor was working with it."""


def blocking() -> tuple[int, Stop]:
    """The next stop of any tracee, of a process that waits for nothing else.  Raises ChildProcessError."""
    tid, status = os.waitpid(-1, WALL)
    return tid, decode(status)


class Waiter:
    """Waits for every tracee of this process.  SIGCHLD must be blocked: as a descriptor it stands for their stops."""

    def __init__(self, arrived: Callable[[int, Stop], None] = lambda tid, stop: None) -> None:
        """`arrived` is told what comes to others while one thread is waited for, and what `collect` finds."""
        self._arrived = arrived
        self._descriptors: dict[int, Callable[[], None]] = {}
        self._poll = select.poll()
        self._stops = -1

    def add(self, descriptor: int, ready: Callable[[], None]) -> None:
        """Call `ready` from `next` when the descriptor can be read.  Raises OSError where there is no signalfd(2)."""
        if self._stops < 0:
            self._stops = _signal_descriptor()
            self._poll.register(self._stops, select.POLLIN)
        self._poll.register(descriptor, select.POLLIN)
        self._descriptors[descriptor] = ready

    def remove(self, descriptor: int) -> None:
        """Wait for it no more."""
        del self._descriptors[descriptor]
        self._poll.unregister(descriptor)

    def next(self) -> tuple[int, Stop] | None:
        """The next stop of any thread; None after something else that was waited for.  Raises ChildProcessError."""
        if not self._descriptors:
            return blocking()
        while True:
            _empty(self._stops)
            tid, status = os.waitpid(-1, WALL | os.WNOHANG)
            if tid:
                return tid, decode(status)
            ready = [self._descriptors[fd] for fd, _ in self._poll.poll() if fd in self._descriptors]
            for call in ready:
                call()
            if ready:
                return None

    def of(self, thread: Thread) -> Stop:
        """The next stop of one thread.  Raises ThreadGone if it has none.

        Others are told of meanwhile, which lets those go on that are about to exit: the thread may be in exec, for
        example, where it cannot be stopped before the rest of its process is gone.
        """
        while True:
            try:
                tid, stop = blocking()
            except ChildProcessError:
                raise ThreadGone from None
            if tid == thread.tid and stop.kind not in (Kind.ENDED, Kind.EXIT):
                return stop
            self._arrived(tid, stop)
            if thread.exiting:  # what has come to others has ended it
                raise ThreadGone
            if tid == thread.tid:
                raise ThreadGone
            if stop.kind is Kind.EXEC and _former(tid) == thread.tid:
                raise ThreadGone  # it has another name since its exec

    @staticmethod
    def status_of(tid: int) -> int:
        """The wait status of the next stop, or the end, of one thread, where nobody else need be told of meanwhile.

        For instructions that are executed one by one: other threads' stops are waited for afterwards.
        """
        return os.waitpid(tid, WALL)[1]

    def turn_of(self, thread: Thread, disturbed: Callable[[], object]) -> Stop:
        """As `of`, but exits and ends are stops, too; when others are told of, `disturbed` is called, once."""
        told = False
        while True:
            try:
                tid, stop = blocking()
            except ChildProcessError:
                raise ThreadGone from None
            if tid == thread.tid:
                return stop
            self._arrived(tid, stop)
            if thread.exiting or (stop.kind is Kind.EXEC and _former(tid) == thread.tid):
                raise ThreadGone
            if not told:
                told = True
                disturbed()

    def end_of(self, tid: int) -> None:
        """Return when this tracee has ended.  Others are told of meanwhile, on whom its end may depend."""
        while True:
            try:
                found, status = os.waitpid(tid, WALL | os.WNOHANG)
                ended, stop = (tid, decode(status)) if found else blocking()
            except ChildProcessError:  # it has been told of already
                return
            if ended == tid and stop.kind is Kind.ENDED:
                return
            self._arrived(ended, stop)

    def settle(self, thread: Thread) -> None:
        """Wait for a thread that is about to stop, and tell of that as of what comes to others."""
        try:
            self._arrived(thread.tid, self.of(thread))
        except ThreadGone:
            return  # which has been told

    def collect(self) -> None:
        """Tell of every stop that there is.  waitpid favours the oldest threads, and others would be starved."""
        try:
            while True:
                tid, status = os.waitpid(-1, WALL | os.WNOHANG)
                if tid == 0:
                    return
                self._arrived(tid, decode(status))
        except ChildProcessError:
            return

    @staticmethod
    def wake() -> None:
        """From a signal handler: have `next` return soon, for a child of this process ends."""
        try:
            if os.fork() == 0:
                os._exit(0)
        except OSError:
            return  # the next stop does


def _former(tid: int) -> int:
    """The name that a thread at its exec event had before."""
    try:
        return ptrace.event_message(tid, ptrace.Event.EXEC)
    except ProcessLookupError:  # killed
        return 0


def _signal_descriptor() -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    fd = int(libc.signalfd(-1, _SIGNAL_SET, os.O_CLOEXEC | os.O_NONBLOCK))
    if fd < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return fd


def _empty(descriptor: int) -> None:
    """SIGCHLD is pending once, however many stops there are."""
    try:
        os.read(descriptor, _RECORD)
    except BlockingIOError:
        return
