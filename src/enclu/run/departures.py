"""Processes that have been let go at their end, until nothing is left of them.

What they held, enclaves above all, is given back by the host kernel only after they have been let go, and no wait
status tells when.  A pidfd does (do_notify_pidfd() in kernel/signal.c), and is waited for together with the tracees.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from enclu.native.wait import Waiter


class Departures:
    """Has `gone` called when one of them is."""

    def __init__(self, waiter: Waiter, gone: Callable[[], None]) -> None:
        self._waiter = waiter
        self._gone = gone

    def add(self, pid: int) -> None:
        """A process that is about to end.

        Nothing is done for one that has already been waited for, nor where there is no pidfd (before Linux 5.3, or out
        of descriptors): then what it held is found to be free when something else happens.
        """
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            return
        try:
            self._waiter.add(pidfd, functools.partial(self._ended, pidfd))
        except OSError:
            os.close(pidfd)

    def _ended(self, pidfd: int) -> None:
        self._waiter.remove(pidfd)
        os.close(pidfd)
        self._gone()
