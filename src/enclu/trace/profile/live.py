"""A profile that is made while the program runs: the events are counted as they come, and no trace is written."""

from __future__ import annotations

from collections.abc import Callable

from enclu.trace.calls import Calls
from enclu.trace.decoders import Call
from enclu.trace.profile.measure import Profile
from enclu.trace.spool import Happened, Leaves

EVENTS = "enclu,aex,fault,paging,enclave,process"
"""All that a profile is made from, as `-e` has it."""


class Live:
    """A form of a trace that has nothing to write before its end."""

    def __init__(self, command: list[str], delivery: str, render: Callable[[Profile], str]) -> None:
        self._profile = Profile(command, delivery)
        self._render = render
        self._told = 0

    def event(self, happened: Happened, call: Call | None) -> None:
        """Count it."""
        when, pid, tid, name, values = happened
        self._profile.event({"time": when, "pid": pid, "tid": tid, "event": name, **values}, call)
        self._told += 1

    def leaves(self, leaves: Leaves, wants: Callable[[str], bool], calls: Calls) -> None:
        """Count all of them: none is left out of a profile."""
        for happened in leaves:
            self.event(happened, calls.event(happened.name, happened.values))

    @property
    def waiting(self) -> int:
        return self._told

    def take(self) -> bytes:
        self._told = 0
        return b""

    def last(self) -> bytes:
        """The profile."""
        self._profile.finish()
        return self._render(self._profile).encode()
