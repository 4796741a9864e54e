"""Processes that have been let go at their end, until nothing is left of them.

What they held, enclaves above all, is given back by the host kernel only after they have been let go, and no wait
status tells when.  A pidfd does (do_notify_pidfd() in kernel/signal.c), and is waited for together with the tracees.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal

from enclu.native import ptrace

_SIGNAL_SET = (1 << signal.SIGCHLD - 1).to_bytes(128, "little")
"""sigset_t of the C library."""
_RECORD = 128
"""Bytes of a struct signalfd_siginfo."""


class Departures:
    """Waits for them.  SIGCHLD must be blocked: it stands for the wait statuses, as a descriptor (signalfd(2))."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self.pidfds: set[int] = set()
        self._stops = -1

    def add(self, pid: int) -> None:
        """A process that is about to end.

        Nothing is done for one that has already been waited for, nor where there is no pidfd (before Linux 5.3, or out
        of descriptors): then what it held is found to be free when something else happens.
        """
        try:
            if self._stops < 0:
                self._stops = _signal_descriptor()
                self._poll.register(self._stops, select.POLLIN)
            pidfd = os.pidfd_open(pid)
        except OSError:
            return
        self.pidfds.add(pidfd)
        self._poll.register(pidfd, select.POLLIN)

    def wait(self) -> tuple[int, int]:
        """waitpid(2) for any tracee; (0, 0) when one of the processes is gone.  Raises ChildProcessError."""
        while True:
            _empty(self._stops)
            tid, status = os.waitpid(-1, ptrace.WALL | os.WNOHANG)
            if tid:
                return tid, status
            gone = [fd for fd, _ in self._poll.poll() if fd in self.pidfds]
            for fd in gone:
                self._poll.unregister(fd)
                self.pidfds.remove(fd)
                os.close(fd)
            if gone:
                return 0, 0


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
