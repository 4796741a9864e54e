"""A trace for programs: a line of JSON for each event; docs/trace.md has the schema.

Version 1: the first line says {"enclu_trace": 1, ...}; each other has `time` (nanoseconds since 1970), `pid`, `tid`,
`event` (the kind), the kind's own fields, which docs/events.md tells, and `call`, what an EENTER or EEXIT is for, if
that is known.  Kinds and fields may be added.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from enclu import __version__
from enclu.base.events import Leaf
from enclu.native.in_process import leaves_of
from enclu.sgx.telling import NAMES
from enclu.trace.calls import Calls
from enclu.trace.decoders import Call
from enclu.trace.forms import Lines
from enclu.trace.spool import Happened, Leaves

VERSION = 1


class JsonLines(Lines):
    """Makes lines."""

    def __init__(self, command: list[str], design: str) -> None:
        head = {"enclu_trace": VERSION, "enclu": __version__, "command": command, "delivery": design}
        super().__init__()
        self._lines.append(json.dumps(head) + "\n")

    def event(self, happened: Happened, call: Call | None) -> None:
        """One that is wanted."""
        time, pid, tid, name, values = happened
        line = json.dumps({"time": time, "pid": pid, "tid": tid, "event": name, **values})
        self._lines.append(f"{line}\n" if call is None else f'{line[:-1]}, "call": {call.fields}}}\n')

    def leaves(self, leaves: Leaves, wants: Callable[[str], bool], calls: Calls) -> None:
        """All that are wanted: as `event` has them, for millions."""
        add, decode, time_of = self._lines.append, calls.leaf, leaves.time_of
        common = f'"pid": {leaves.pid}, "tid": {leaves.tid}, "event": "{Leaf.name()}"'
        wanted = {name for name in NAMES.values() if wants(name)}
        for tsc, eid, leaf, tcs, rax, (rdi, rsi, rbx, rcx, rsp) in leaves_of(leaves.records):
            name = NAMES[leaf]
            call = decode(name, eid, tcs, rax, rdi, rsi, rsp)
            if name in wanted:
                known = f', "call": {call.fields}' if call is not None else ""
                add(
                    f'{{"time": {time_of(tsc)}, {common}, "eid": {eid}, "leaf": "{name}", "tcs": {tcs}, "rax": {rax}, '
                    f'"rdi": {rdi}, "rsi": {rsi}, "rbx": {rbx}, "rcx": {rcx}, "rsp": {rsp}{known}}}\n'
                )
