"""A trace for programs: a line of JSON for each event; docs/trace.md has the schema.

Version 1: the first line says {"enclu_trace": 1, ...}; each other has `time` (nanoseconds since 1970), `pid`, `tid`,
`event` (the kind), and the kind's own fields, which docs/events.md tells.  Kinds and fields may be added.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from enclu import __version__
from enclu.trace.calls import Calls
from enclu.trace.decoders import Call
from enclu.trace.spool import Happened, Leaves

VERSION = 1


class JsonLines:
    """Makes lines."""

    def __init__(self, command: list[str], design: str) -> None:
        head = {"enclu_trace": VERSION, "enclu": __version__, "command": command, "delivery": design}
        self._lines = [json.dumps(head) + "\n"]

    def event(self, happened: Happened, call: Call | None) -> None:
        """One that is wanted."""
        time, pid, tid, name, values = happened
        line: dict[str, Any] = {"time": time, "pid": pid, "tid": tid, "event": name, **values}
        if call is not None:
            line["call"] = _call(call)
        self._lines.append(json.dumps(line) + "\n")

    def leaves(self, leaves: Leaves, wants: Callable[[str], bool], calls: Calls) -> None:
        """All that are wanted."""
        for happened in leaves:
            call = calls.event(happened.name, happened.values)
            if wants(happened.values["leaf"]):
                self.event(happened, call)

    @property
    def waiting(self) -> int:
        return len(self._lines)

    def take(self) -> bytes:
        out = "".join(self._lines).encode()
        self._lines.clear()
        return out


def _call(call: Call) -> dict[str, Any]:
    """What is known of it."""
    out: dict[str, Any] = {"kind": call.kind.value}
    if call.number is not None:
        out["number"] = call.number
    if call.name:
        out["name"] = call.name
    return out
