"""A run that is debugged, from the wait for the debugger to the end."""

from __future__ import annotations

import functools
import os
import select
from collections.abc import Callable
from typing import TYPE_CHECKING

from enclu.base import console
from enclu.run.gdb.packets import AddressError as AddressError
from enclu.run.gdb.packets import listen, name_of
from enclu.run.gdb.server import AtExit, Server

if TYPE_CHECKING:
    from enclu.run.supervisor import Supervisor


class Gdb:
    """Where a debugger is awaited."""

    def __init__(self, where: str, at_exit: str, *, announced: bool = True, directory: str = "") -> None:
        """Raises AddressError.  `directory` has nothing but the socket, and is removed at the end."""
        self.listener = listen(where)
        self._at_exit = AtExit(at_exit)
        self._announced = announced
        self._directory = directory

    def wait(self, supervisor: Supervisor, supervise: Callable[[int], None]) -> Callable[[int], None]:
        """Return when a debugger is there: what the supervisor's process is to do then.

        This process, which is to be the program, does nothing else meanwhile, so that Ctrl-C ends it.
        """
        if self._announced:
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
            if self._directory:
                os.rmdir(self._directory)
