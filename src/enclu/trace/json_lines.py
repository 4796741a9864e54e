"""A trace for programs: a line of JSON for each event; docs/trace.md has the schema.

Version 1: the first line says {"enclu_trace": 1, ...}; each other has `time` (nanoseconds since 1970), `pid`, `tid`,
`event` (the kind), and the kind's own fields, which docs/events.md tells.  Kinds and fields may be added.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from enclu import __version__
from enclu.trace.spool import Happened, Leaves

VERSION = 1


class JsonLines:
    """Makes lines."""

    def __init__(self, command: list[str], design: str) -> None:
        self.head = (
            json.dumps({"enclu_trace": VERSION, "enclu": __version__, "command": command, "delivery": design}) + "\n"
        )
        """The first one."""

    def line(self, happened: Happened) -> str:
        """With its newline."""
        time, pid, tid, name, values = happened
        return json.dumps({"time": time, "pid": pid, "tid": tid, "event": name, **values}) + "\n"

    def leaves(self, leaves: Leaves, wants: Callable[[str], bool]) -> list[str]:
        """Lines of all that are wanted."""
        return [self.line(happened) for happened in leaves if wants(happened.values["leaf"])]
