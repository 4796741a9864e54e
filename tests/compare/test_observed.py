"""Every scenario, traced, under a gdb, and after a gdb has left: its outcome and counters are the same as by itself."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest

from enclu.compare import catalog
from enclu.compare.build import Builder
from enclu.compare.runner import Outcome, judge
from enclu.linux import delivery
from tests.run.gdb.conftest import gdb, started
from tests.run.gdb.test_all_programs_under_gdb import QUIET
from tests.support import observed
from tests.support.observed import agree
from tests.support.runs import HANGS, run

CATALOG = catalog.read(catalog.find_root())
DESIGNS = {name: delivery.names()[i % len(delivery.names())] for i, name in enumerate(CATALOG.scenarios)}
"""One for each scenario, in turn."""
LEAVING = (
    "set breakpoint pending on\nhandle all nostop noprint pass\nhandle SIGINT nostop noprint pass\n"
    "break entry_event\ncontinue\ndetach\n"
)
"""gdb goes where an enclave has been left for the first time, with a breakpoint there."""
BY_TIMERS = {
    "go-host": ("entries", "leaves", "aex", "async_signals"),
}
"""Counters that signals of timers move: no two runs agree on them."""
Observed = tuple[Outcome, str, dict[str, Any]]


@pytest.fixture(scope="session")
def builder(cache: Path) -> Builder:
    """All scenarios, built."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))  # where `enclu compare` keeps them
        found = Builder(CATALOG)
    found.build(list(CATALOG.scenarios.values()), 2)
    return found


def options(name: str) -> tuple[str, ...]:
    return (*observed.OPTIONS, "--delivery", DESIGNS[name], *CATALOG.scenarios[name].options)


def judged(name: str, status: int, stdout: str, stderr: str) -> Observed:
    """What `enclu compare` would make of it, and the counters."""
    counters, said = observed.counters_of(stderr, BY_TIMERS.get(name, ()))
    return *judge(status, stdout, said, HANGS), counters


def by_itself(name: str, program: Path, *more: str) -> Observed:
    with tempfile.TemporaryDirectory() as empty:
        done = run(program, options=(*more, *options(name)), cwd=empty)
    return judged(name, done.returncode, done.stdout, done.stderr)


def under_gdb(name: str, program: Path, script: str) -> Observed:
    with tempfile.TemporaryDirectory(prefix="enclu-gdb-") as directory:  # a short name, for the path of a socket
        place, empty = Path(directory), Path(directory, "empty")
        empty.mkdir()
        with started(place, program, options=options(name), cwd=empty, env={}) as process:
            gdb(place, program, script)
            stdout, _ = process.communicate(timeout=HANGS)
        return judged(name, process.returncode, stdout, (place / "stderr").read_text())


@pytest.mark.parametrize("name", CATALOG.scenarios)
def test_it_is_the_same_under_gdb(name: str, builder: Builder) -> None:
    program = builder.program(CATALOG.scenarios[name])
    agree(lambda: under_gdb(name, program, QUIET), lambda: by_itself(name, program))


@pytest.mark.parametrize("name", CATALOG.scenarios)
def test_it_is_the_same_when_gdb_has_gone(name: str, builder: Builder) -> None:
    program = builder.program(CATALOG.scenarios[name])
    agree(lambda: under_gdb(name, program, LEAVING), lambda: by_itself(name, program))


@pytest.mark.parametrize("name", CATALOG.scenarios)
def test_it_is_the_same_when_it_is_traced(name: str, builder: Builder, tmp_path: Path) -> None:
    program = builder.program(CATALOG.scenarios[name])
    log = str(tmp_path / "log.json")
    agree(lambda: by_itself(name, program, "--trace", log), lambda: by_itself(name, program))
