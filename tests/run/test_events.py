"""Every kind of event happens, with its fields; counters are counts of events; the documentation is the table."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from enclu.base import events as kinds
from enclu.base.events import TABLE, Event
from enclu.linux.stats import COUNTERS
from enclu.native.in_process import RECORD_SIZE, RING_SIZE
from enclu.sgx.exceptions import Vector
from tests.support.memory_processor import World
from tests.support.runs import HANGS, ROOT, environment, wait_until

Recorded = tuple[list[dict[str, Any]], dict[str, Any]]
Record = Callable[..., Recorded]
NOT_IN_ORDER = ("ioctl", "fault_resolved", "leaf", "device_opened", "enclave_removed")
"""Not told of one by one here.  The last enclave of a run is removed if the machine outlives its process."""
BY_NAME = {kind.name(): kind for kind in TABLE}


@pytest.fixture
def record(program: Callable[[str], Path], enclave_environment: dict[str, str], tmp_path: Path) -> Record:
    """record(program, ..., epc=, design=, way=): the events of a run, and its counters."""

    def events(
        name: str, *arguments: object, epc: str = "64M", design: str = "vdso", way: str = "--fast-path"
    ) -> Recorded:
        log = tmp_path / "log"
        log.unlink(missing_ok=True)
        command = [
            sys.executable, "-m", "tests.support.record", log, epc, design, way, program(name), *arguments,
        ]  # fmt: skip
        paths = f"{ROOT}:{ROOT / 'src'}"
        subprocess.run(
            [*map(str, command)], env={**environment(**enclave_environment), "PYTHONPATH": paths}, timeout=HANGS,
            check=False, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert wait_until(
            lambda: log.read_text().endswith('{"over": true}\n')
        )  # the program ends before its supervisor
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        ((counters, in_process),) = [(line["counters"], line["in_process"]) for line in lines if "counters" in line]
        assert way == "--fast-path" or in_process == {}
        return [line for line in lines if "event" in line], counters

    return events


def check_fields(event: dict[str, Any]) -> None:
    """As the table has them."""
    kind = BY_NAME[event["event"]]
    types = {field.name: field.type for field in kind.fields()}
    assert event.keys() - {"event", "version"} == types.keys()
    for name, expected in types.items():
        assert type(event[name]).__name__ == expected, (event, name)
    assert event["version"] == kind.version
    assert event.get("reason", "why") != ""


def count(events: list[dict[str, Any]], kind: type[Event]) -> int:
    return sum(event["event"] == kind.name() for event in events)


def counters_of(events: list[dict[str, Any]]) -> dict[str, Any]:
    """What `--stats` should say, from nothing but events."""
    leaves = Counter(e["leaf"] for e in events if e["event"] == "leaf")
    vectors = Counter(e["vector"] for e in events if e["event"] == "aex")
    return {
        "entries": leaves["EENTER"] + leaves["ERESUME"],
        "exits": leaves["EEXIT"],
        "leaves": dict(leaves),
        "aex": {"interrupt" if v < 0 else f"#{Vector(v).name}": n for v, n in vectors.items()},
        **{name: count(events, kind) for name, kind in COUNTERS.items()},
    }


RUNS = [
    ("counted", "nop", 40),
    ("counted", "ud2", 3),
    ("counted", "interrupt", 3),
    ("counted", "augment", 3),
    ("fails_after", "leaf"),
    ("fails_after", "enclave's signal"),
    ("fails_after", "mapping"),
    ("fails_after", "two processes"),
    ("fails_after", "exec"),
    ("edmm",),
    ("eacceptcopy",),
    ("power_event",),
    ("misuse_aep",),
]


def test_every_kind_happens_with_its_fields_and_is_counted(record: Record) -> None:
    seen = set()
    paging = {"epc": "1M"}
    for arguments, options in (*((r, dict[str, str]()) for r in RUNS), (("counted", "heap", 400), paging)):
        events, counters = record(*arguments, **options)
        for event in events:
            check_fields(event)
            seen.add(event["event"])
        del counters["epc_peak"], counters["epc_peak_mib"], counters["epc_used"]
        assert counters == counters_of(events), arguments
    # An evicted page that was changed meanwhile: nobody outside the supervisor can do that (see below).  No leaves are
    # lost for this listener.
    assert BY_NAME.keys() - seen <= {"page_refused", "leaves_lost"}


@pytest.mark.parametrize("design", ["vdso", "signal"])
@pytest.mark.parametrize(("name", "count"), [("leaves", 100), ("pairs", 5000)])
def test_events_are_the_same_whether_leaves_stop_their_thread_or_not(
    name: str, count: int, design: str, record: Record
) -> None:
    def happened(way: str) -> list[dict[str, Any]]:
        """What does not depend on where things lie."""
        events, _ = record(name, count, design=design, way=way)
        kept = ("event", "leaf", "rax", "eid", "vector", "error_code", "offset")
        told = [event for event in events if event["event"] != "enclave_removed"]
        return [{name: event[name] for name in kept if name in event} for event in told]

    fast, slow = happened("--fast-path"), happened("--no-fast-path")
    assert fast == slow
    if name == "pairs":
        assert RECORD_SIZE * len(fast) > RING_SIZE  # that is full at times


def test_a_page_that_is_not_what_was_evicted() -> None:
    world = World(epc_pages=64).build()
    heard: list[Event] = []
    world.events.listen(heard.append, *TABLE)
    page = world.encl.pages[min(world.encl.pages)]
    while page.epc is not None:
        world.kernel.reclaimer.reclaim()
    va, slot, ciphertext, pcmd = page.backing or pytest.fail("not evicted")
    page.backing = (va, slot, bytes(len(ciphertext)), pcmd)
    with pytest.raises(OSError, match="SGX_MAC_COMPARE_FAIL"):
        world.encl.load(page.address)
    (refused,) = [event for event in heard if isinstance(event, kinds.PageRefused)]
    assert (refused.address, refused.reason) == (page.address, "SGX_MAC_COMPARE_FAIL")
    check_fields(refused.as_dict())


def test_events_of_a_thread_are_in_order(record: Record) -> None:
    events, _ = record("fails_after", "enclave's signal")
    of_sgx = [e for e in events if e["event"] not in NOT_IN_ORDER]
    assert [e["event"] for e in of_sgx if not (e["event"] == "aex" and e["vector"] == Vector.PF)] == [
        "process_exec", "enclave_created", "enclave_initialised", "aex", "enclave_exception", "exception_signal",
        "process_exit", "thread_gone", "process_gone",
    ]  # fmt: skip
    by_name = {e["event"]: e for e in of_sgx}
    assert by_name["exception_signal"]["signo"] == by_name["process_exit"]["signo"] == 4
    assert by_name["process_exit"]["program"] == "fails_after"
    exception = by_name["enclave_exception"]
    assert exception["rip"] - exception["offset"] == by_name["enclave_created"]["base"]
    ids = {(e["pid"], e["tid"]) for e in of_sgx}
    assert len(ids) == 1 and 0 not in ids.pop()


def test_the_thread_that_leaves_for_an_interrupt_is_named(record: Record) -> None:
    events, _ = record("counted", "interrupt", 3)
    exits = [e for e in events if e["event"] == "aex" and e["vector"] == -1]
    spinners = {e["tid"] for e in events if e["event"] == "signal_sent"}
    assert len(exits) >= 3 and {e["tid"] for e in exits} == spinners


def test_the_documentation_is_the_table() -> None:
    text = (ROOT / "docs" / "events.md").read_text()
    sections = dict(re.findall(r"^### `(\w+)`\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL))
    assert list(sections) == [kind.name() for kind in TABLE]
    common = Event.fields()
    for kind in TABLE:
        what = " ".join((kind.__doc__ or "").split())
        rows = [f"| `{f.name}` | {f.type} | {f.meaning} |" for f in kind.fields() if f not in common]
        body = sections[kind.name()]
        assert what in " ".join(body.split()), kind
        assert [line for line in body.splitlines() if line.startswith("| `")] == rows, kind
    for field in common:
        assert f"`{field.name}`, {field.meaning}" in text.replace("\n", " ")
