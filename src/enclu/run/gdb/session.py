"""A run that is debugged, from the wait for the debugger to the end."""

from __future__ import annotations

import contextlib
import functools
import os
import select
from collections.abc import Callable
from typing import TYPE_CHECKING

from enclu.base import console
from enclu.run.gdb.packets import AddressError as AddressError
from enclu.run.gdb.packets import listen, name_of, remove
from enclu.run.gdb.server import AtExit, Server
from enclu.run.program_file import LaunchError

if TYPE_CHECKING:
    from enclu.run.supervisor import Supervisor


_LOOK_AGAIN = 0.5
"""Seconds after which to look whether a debugger that has not connected is still there."""


class Gdb:
    """Where a debugger is awaited."""

    def __init__(self, where: str, at_exit: str, *, directory: str = "") -> None:
        """Raises AddressError.

        In a `directory` that has nothing but the socket this process is to be the debugger, and a child of it the
        program; else the user is told where to connect.
        """
        self.listener = listen(where)
        self._at_exit = AtExit(at_exit)
        self._directory = directory
        self._debugger = os.getpid()

    def wait(self, supervisor: Supervisor, supervise: Callable[[int], None]) -> Callable[[int], None]:
        """Return when a debugger is there: what the supervisor's process is to do then.

        This process, which is to be the program, does nothing else meanwhile, so that Ctrl-C ends it.  Raises
        LaunchError if there will be none.
        """
        if self._directory:
            while not select.select([self.listener], [], [], _LOOK_AGAIN)[0]:
                if os.getppid() != self._debugger:
                    self._remove()
                    raise LaunchError(125, "gdb has ended, and has not connected")
        else:
            console.say(f"waiting for gdb: target remote {name_of(self.listener)}")
            select.select([self.listener], [], [])
        return functools.partial(self._supervise, supervisor, supervise)

    def _supervise(self, supervisor: Supervisor, supervise: Callable[[int], None], pid: int) -> None:
        server = Server(supervisor, self.listener, self._at_exit)
        server.begin(pid)
        try:
            supervise(pid)
        finally:
            server.end()
            self._remove()

    def _remove(self) -> None:
        """Nothing is left of where the debugger was awaited."""
        remove(self.listener)
        if self._directory:
            with contextlib.suppress(OSError):  # somebody else has something there
                os.rmdir(self._directory)
