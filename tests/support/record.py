"""Runs a program as `enclu run` does and records every event:

    python -m tests.support.record LOG EPC DESIGN WAY PROGRAM...

WAY is --fast-path or --no-fast-path.  LOG gets a line of JSON for each event, one with what `--stats` counts, when it
would, and a last one.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from enclu.base.events import TABLE, Event
from enclu.base.listeners import Events
from enclu.cli import report
from enclu.linux import delivery
from enclu.linux.stats import Stats
from enclu.native import extended_state
from enclu.run import launch
from enclu.run.program_file import find
from enclu.run.supervisor import Supervisor
from enclu.sgx.epc import size_of
from enclu.sgx.machine import Machine


def main(log: str, epc: str, design: str, way: str, program: str, *arguments: str) -> None:
    events = Events()
    machine = Machine(size_of(epc), None, extended_state.layout())
    counters = Stats(events, machine.epc)
    supervisor = Supervisor(machine, delivery.create(design), events, in_process=way == "--fast-path")
    subreaper = launch.is_subreaper()

    def supervise(pid: int) -> None:
        with Path(log).open("w") as file:  # only now: the supervisor closes what it inherits

            def write(values: dict[str, Any]) -> None:
                file.write(json.dumps(values) + "\n")
                file.flush()  # the program is its parent's business, and may be over before the supervisor

            def record(event: Event) -> None:
                write(event.as_dict())

            events.listen(record, *TABLE)

            def at_end() -> None:
                supervisor.transitions.count()
                write({"counters": counters.as_dict(), "in_process": supervisor.transitions.in_process()})

            supervisor.at_end = at_end
            report.supervise(supervisor, pid, subreaper=subreaper)
            write({"over": True})

    launch.start(find(program), [program, *arguments], supervise)


if __name__ == "__main__":
    main(*sys.argv[1:])
