"""EENTER, ERESUME, EEXIT and EDECCSSA in the program's own process, and `--no-fast-path`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from enclu.linux import delivery
from enclu.native.trampoline import Rule
from enclu.sgx.structs import EncluLeaf
from tests.run.conftest import Passes
from tests.support.observed import without_races
from tests.support.runs import HANGS, environment, run

PAIRS = int(os.environ.get("ENCLU_TEST_PAIRS", "1000000"))
"""Entries and exits of four threads under signals; for a thorough search more, ENCLU_TEST_PAIRS=100000000."""
SEARCH = {rule for rule in Rule if Rule.AT_ENCLU < rule <= Rule.SITED}
MET = {
    EncluLeaf.EENTER: SEARCH | {Rule.CLAIMING, Rule.ENTERED, Rule.OUT},
    EncluLeaf.ERESUME: SEARCH | {Rule.CLAIMING, Rule.RESUMING, Rule.RESUMED, Rule.OUT},
    EncluLeaf.EEXIT: SEARCH | {Rule.CLAIMING, Rule.LEFT, Rule.OUT},
    EncluLeaf.EDECCSSA: SEARCH | {Rule.CLAIMING, Rule.DECREASED, Rule.OUT},
}
"""Rules that a thread comes by, stopped at every instruction."""
AEX = {
    "AEX": {Rule.FAULTED, Rule.AEX_DONE, Rule.OUT},
    "AEX for a page": {Rule.FAULTED, Rule.AEX_DONE, Rule.SHOWING, Rule.OUT},
}
"""The same in AEXs."""


def sweep(program: Path, env: dict[str, str], found: Path, count: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.support.sweep", str(program), str(count)]
    env = environment(**env, ENCLU_SWEEP=str(found))
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=HANGS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(json.loads(found.read_text()))


def test_a_thread_can_be_stopped_at_every_instruction(
    program: Callable[[str], Path], enclave_environment: dict[str, str], tmp_path: Path
) -> None:
    """Registers, extended state, TCS and slot are those before the ENCLU then, or those behind it."""
    result = sweep(program("leaves"), enclave_environment, tmp_path / "found", 700)
    assert result["wrong"] == []
    assert set(result["met"]) >= {f"{leaf.name} {rule.name}" for leaf, rules in MET.items() for rule in rules}
    assert set(result["met"]) >= {f"{way} {rule.name}" for way, rules in AEX.items() for rule in rules}


def test_an_ioctl_that_adds_a_page_can_be_stopped_at_every_instruction(
    program: Callable[[str], Path], enclave_environment: dict[str, str], tmp_path: Path
) -> None:
    """It stops as ever then, or the page is in the queue and the call is over; the lock is free."""
    result = sweep(program("queued"), enclave_environment, tmp_path / "found", 600)
    assert result["wrong"] == [] and result["over"]
    assert set(result["met"]) >= {f"ioctl {rule.name}" for rule in (Rule.LOCKING, Rule.QUEUEING, Rule.QUEUED, Rule.OUT)}


def test_a_process_can_be_killed_at_every_instruction(
    program: Callable[[str], Path], enclave_environment: dict[str, str], tmp_path: Path
) -> None:
    """Nothing of it is left: no thread, enclave, TCS, and no tickets."""
    env = {**enclave_environment, "ENCLU_SWEEP_KILLS": "1"}
    result = sweep(program("killed_children"), env, tmp_path / "found", 900)
    assert result["wrong"] == [] and result["over"] == len(MET) + len(AEX)


@pytest.mark.parametrize("design", delivery.names())
@pytest.mark.parametrize(
    "name", ["entries_raced", "forks_at_speed", "jumps_give_way", "own_aex", "stepped_beside", "types_raced"]
)
def test_program(name: str, design: str, passes: Passes) -> None:
    passes(name, options=("--delivery", design))


def counters(program: Path, env: dict[str, str], *options: str) -> dict[str, Any]:
    done = run(program, "300", "2", options=("--stats=json", *options), env=environment(**env))
    assert done.returncode == 0, done.stdout + done.stderr
    return without_races(json.loads(done.stderr))


@pytest.mark.parametrize("design", delivery.names())
def test_the_counters_are_the_same(
    design: str, program: Callable[[str], Path], enclave_environment: dict[str, str]
) -> None:
    fast = counters(program("leaves"), enclave_environment, "--delivery", design)
    slow = counters(program("leaves"), enclave_environment, "--delivery", design, "--no-fast-path")
    in_process, by_stops = fast.pop("in_process"), fast.pop("by_stops")
    assert by_stops == [] and slow.pop("by_stops") == [] and slow.pop("in_process") == {}
    assert fast == slow
    # All but the first of each thread's.
    assert all(fast["leaves"][leaf] - in_process[leaf] < 12 for leaf in ("EENTER", "ERESUME", "EEXIT", "EDECCSSA"))


@pytest.mark.parametrize("design", ["vdso", "signal", "mm-handler"])
@pytest.mark.parametrize("way", ["--fast-path", "--no-fast-path"])
def test_notified_threads_under_a_storm_of_signals_get_right_results(way: str, design: str, passes: Passes) -> None:
    passes("notified", "1000", "3", "1000", options=("--delivery", design, way))


def test_threads_under_a_storm_of_signals_get_right_results(passes: Passes) -> None:
    passes("pairs", "100000", "4", "1000")


def test_pairs_under_a_storm_of_signals_are_counted_and_nothing_grows(passes: Passes) -> None:
    """What grows, of the program and of its supervisor, the program looks at itself."""
    done = passes("pairs_lasting", str(PAIRS // 4), "4", "150", options=("--stats=json",))
    counters = json.loads(done.stderr)
    leaves, in_process = counters["leaves"], counters["in_process"]
    assert leaves["EENTER"] == leaves["EEXIT"] == PAIRS // 4 * 4
    # The others are executed by a stop: a thread's first, and those that a signal finds half done.
    assert min(in_process["EENTER"], in_process["EEXIT"]) > 0.99 * PAIRS - 100


@pytest.mark.parametrize("design", ["vdso", "signal"])
def test_exceptions_under_a_storm_of_signals_get_right_results(design: str, passes: Passes) -> None:
    passes("leaves", "300", "4", "1000", options=("--delivery", design))
