"""Every scenario, traced, under a gdb, and after a gdb has left: its outcome and counters are the same as by itself."""

from __future__ import annotations

import functools
import json
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
from tests.support.runs import HANGS, run

CATALOG = catalog.read(catalog.find_root())
DESIGNS = {name: delivery.names()[i % len(delivery.names())] for i, name in enumerate(CATALOG.scenarios)}
"""One for each scenario, in turn."""
LEAVING = (
    "set breakpoint pending on\nhandle all nostop noprint pass\nhandle SIGINT nostop noprint pass\n"
    "break entry_event\ncontinue\ndetach\n"
)
"""gdb goes where an enclave has been left for the first time, with a breakpoint there."""
HOW = ("in_process", "by_stops")
"""Counters of how transitions took place, which these ways of running change."""
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
    return ("--quiet", "--stats=json", "--delivery", DESIGNS[name], *CATALOG.scenarios[name].options)


def observed(name: str, status: int, stdout: str, stderr: str) -> Observed:
    """What `enclu compare` would make of it, and the counters."""
    lines = [line for line in stderr.splitlines() if "waiting for gdb" not in line]
    (counters,) = [line for line in lines if line.startswith("{")]
    outcome, reason = judge(status, stdout, "\n".join(line for line in lines if line != counters), HANGS)
    left_out = (*HOW, *BY_TIMERS.get(name, ()))
    return outcome, reason, {key: value for key, value in json.loads(counters).items() if key not in left_out}


@functools.cache
def by_itself(name: str, program: Path) -> Observed:
    with tempfile.TemporaryDirectory() as empty:
        done = run(program, options=options(name), cwd=empty)
    return observed(name, done.returncode, done.stdout, done.stderr)


def under_gdb(name: str, program: Path, script: str) -> Observed:
    with tempfile.TemporaryDirectory(prefix="enclu-gdb-") as directory:  # a short name, for the path of a socket
        place, empty = Path(directory), Path(directory, "empty")
        empty.mkdir()
        with started(place, program, options=options(name), cwd=empty, env={}) as process:
            gdb(place, program, script)
            stdout, _ = process.communicate(timeout=HANGS)
        return observed(name, process.returncode, stdout, (place / "stderr").read_text())


@pytest.mark.parametrize("name", CATALOG.scenarios)
def test_it_is_the_same_under_gdb(name: str, builder: Builder) -> None:
    program = builder.program(CATALOG.scenarios[name])
    assert under_gdb(name, program, f"set auto-solib-add off\n{QUIET}") == by_itself(name, program)


@pytest.mark.parametrize("name", CATALOG.scenarios)
def test_it_is_the_same_when_gdb_has_gone(name: str, builder: Builder) -> None:
    program = builder.program(CATALOG.scenarios[name])
    assert under_gdb(name, program, LEAVING) == by_itself(name, program)


@pytest.mark.parametrize("name", CATALOG.scenarios)
def test_it_is_the_same_when_it_is_traced(name: str, builder: Builder, tmp_path: Path) -> None:
    program = builder.program(CATALOG.scenarios[name])
    empty = tmp_path / "empty"
    empty.mkdir()
    done = run(program, options=("--trace", str(tmp_path / "log.json"), *options(name)), cwd=empty)
    assert observed(name, done.returncode, done.stdout, done.stderr) == by_itself(name, program)
