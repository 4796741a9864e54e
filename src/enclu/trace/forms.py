"""What a trace can be written as, and what a form has to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from enclu.trace.calls import Calls
from enclu.trace.decoders import Call
from enclu.trace.spool import Happened, Leaves

FORMATS = ("text", "json", "perfetto")
_SUFFIXES = {".json": "json", ".pftrace": "perfetto", ".perfetto-trace": "perfetto"}


class Missing(Exception):
    """A package is not there; the message says how to get it."""


class Form(Protocol):
    """What a trace is written as."""

    def event(self, happened: Happened, call: Call | None) -> None:
        """One that is wanted; what an EENTER or EEXIT is for, if that is known."""

    def leaves(self, leaves: Leaves, wants: Callable[[str], bool], calls: Calls) -> None:
        """Those that are wanted by their names; `calls` is to be told of all."""

    @property
    def waiting(self) -> int:
        """How many are to be written."""

    def take(self) -> bytes:
        """What is to be written."""

    def last(self) -> bytes:
        """What is to be written when all has been told."""


class Lines:
    """The half of a Form that is the same for all that write lines."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    @property
    def waiting(self) -> int:
        """How many lines are to be written."""
        return len(self._lines)

    def take(self) -> bytes:
        """What is to be written."""
        out = "".join(self._lines).encode()
        self._lines.clear()
        return out

    def last(self) -> bytes:
        """Nothing: each line has been taken."""
        return b""


def form_of(path: str) -> str:
    """Which of FORMATS a file of this name has."""
    return next((form for suffix, form in _SUFFIXES.items() if path.endswith(suffix)), "text")
