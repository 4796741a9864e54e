"""`--stats`: each counter against a program whose counts are known, and when they are printed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from enclu.base.listeners import Events
from enclu.cli.report import ROWS
from enclu.linux.stats import Stats
from enclu.sgx.epc import EPC
from tests.support.runs import HANGS, RUN, Marked, environment, marked, run, sh, supervisor_of, wait_until

Counted = Callable[..., dict[str, Any]]
IMAGE_PAGES = 33
"""EPC pages of the test enclave without a heap: its image, the SECS and a version array."""


@pytest.fixture
def counted(program: Callable[[str], Path], enclave_environment: dict[str, str]) -> Counted:
    """counted(what, times, *options): the counters of tests/c/programs/counted.c."""

    def counters(what: str, times: int, *options: str) -> dict[str, Any]:
        done = run(
            program("counted"), what, str(times), options=("--stats=json", *options),
            env=environment(**enclave_environment),
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        (line,) = done.stderr.splitlines()
        found = json.loads(line)
        return {name: value for name, value in found.items() if name not in ("in_process", "by_stops")}

    return counters


def flat(counters: dict[str, Any]) -> dict[str, float]:
    """With entries of their own for leaves and vectors."""
    out: dict[str, float] = {}
    for name, value in counters.items():
        if isinstance(value, dict):
            out |= {f"{name} {key}": number for key, number in value.items()}
        else:
            out[name] = value
    return out


def difference(more: dict[str, Any], less: dict[str, Any]) -> dict[str, float]:
    """What has changed from one run to the other, and by how much."""
    a, b = flat(more), flat(less)
    changes = {name: a.get(name, 0) - b.get(name, 0) for name in {*a, *b}}
    return {name: change for name, change in changes.items() if change}


CALL = {"entries": 10, "exits": 10, "leaves EENTER": 10, "leaves EEXIT": 10}
RESUMED = {"entries": 20, "exits": 10, "leaves EENTER": 10, "leaves EEXIT": 10, "leaves ERESUME": 10}
SKIPPED = {"entries": 30, "exits": 20, "leaves EENTER": 20, "leaves EEXIT": 20, "leaves ERESUME": 10, "aex #UD": 10}


@pytest.mark.parametrize(
    ("what", "options", "expected"),
    [
        ("nop", (), CALL),
        ("report", (), {**CALL, "leaves EREPORT": 10}),
        ("ud2", ("--delivery", "vdso"), {**SKIPPED, "fixups": 10}),
        ("ud2", ("--delivery", "signal"), {**SKIPPED, "signals": 10}),
        ("interrupt", (), {**RESUMED, "aex interrupt": 10, "async_signals": 10}),
        (
            "augment",
            (),
            {**RESUMED, "leaves EACCEPT": 10, "aex #PF": 10, "faults_resolved": 10, "epc_peak": 10,
             "epc_peak_mib": 10 / 256, "epc_used": 10},
        ),
        ("enclave", (), {"enclaves": 10}),
    ],
    ids=["call", "report", "fixup", "signal", "interrupt", "augment", "enclave"],
)  # fmt: skip
def test_ten_more_are_counted_as_ten_more(
    what: str, options: tuple[str, ...], expected: dict[str, float], counted: Counted
) -> None:
    assert difference(counted(what, 13, *options), counted(what, 3, *options)) == expected


def test_the_peak_of_the_epc_is_what_the_enclave_needs(counted: Counted) -> None:
    counters = counted("heap", 200)
    assert (counters["epc_peak"], counters["epc_peak_mib"]) == (IMAGE_PAGES + 200, (IMAGE_PAGES + 200) / 256)
    assert counters["evictions"] == counters["reloads"] == 0


def test_what_is_in_the_epc_at_the_end_is_counted(counted: Counted) -> None:
    counters = counted("augment", 4)
    assert counters["epc_used"] == counters["epc_peak"] == IMAGE_PAGES + 4


def test_a_small_epc_is_full_and_pages_beyond_are_evicted(counted: Counted) -> None:
    counters = counted("heap", 400, "--epc", "1M")
    assert (counters["epc_peak"], counters["epc_peak_mib"]) == (256, 1)
    gone = counters["evictions"] - counters["reloads"]  # at the end, when nobody has been removed yet
    assert IMAGE_PAGES + 400 - 256 <= gone <= IMAGE_PAGES + 400 - 256 + 16
    assert counters["refused_pages"] == 0


def test_a_program_without_enclaves_counts_nothing() -> None:
    (line,) = run("/bin/true", options=("--stats=json",)).stderr.splitlines()
    found = json.loads(line)
    assert found.pop("by_stops") == []
    assert not any(flat(found).values())


def test_it_says_which_leaves_stopped_nobody_and_why_others_did(
    program: Callable[[str], Path], enclave_environment: dict[str, str]
) -> None:
    def told(name: str, *options: str) -> dict[str, Any]:
        done = run(program(name), options=("--stats=json", *options), env=environment(**enclave_environment))
        return dict(json.loads(done.stderr.splitlines()[-1]))

    fast = told("threads")
    assert 0 < fast["in_process"]["EENTER"] < fast["leaves"]["EENTER"]
    assert told("threads", "--no-fast-path")["in_process"] == {}
    assert "a TCS has DBGOPTIN" in told("debug_optin")["by_stops"]
    large = told("elrange")  # from 0 to 2 TiB: three of them at once, 100 entries each by four TCSes
    assert large["by_stops"] == [] and large["in_process"]["EENTER"] > 250


def test_the_table_has_every_counter(counted: Counted) -> None:
    assert set(ROWS) == set(Stats(Events(), EPC(4096)).as_dict()) | {"in_process"}
    done = sh("echo err >&2", options=("--stats",))
    first, head, *rows = done.stderr.splitlines()
    assert (first, head) == ("err", "enclu:")
    assert len({len(row) for row in rows}) == 1
    for word in ("entries", "exits", "fixed up", "page faults resolved", "EPC MiB at most", "evictions"):
        assert any(word in row for row in rows)


@pytest.mark.parametrize("form", ["--stats=json", "--stats"])
def test_counters_come_last(form: str) -> None:
    """After everything that the program and its descendants write."""
    done = sh("(sleep 0.2; echo late >&2) & echo early >&2; exit 3", options=(form,))
    lines = done.stderr.splitlines()
    assert done.returncode == 3
    assert lines[:2] == ["early", "late"]
    if form == "--stats=json":
        assert len(lines) == 3 and json.loads(lines[2])["entries"] == 0


def test_who_waits_for_the_program_finds_the_counters_written(tmp_path: Path) -> None:
    """They are not written by a supervisor that comes later than the shell's next command."""
    script = f"{' '.join(RUN)} --stats=json sh -c 'kill -KILL $$' 2>{tmp_path}/log; cat {tmp_path}/log"
    for _ in range(5):
        done = subprocess.run(
            ["sh", "-c", script], env=environment(), capture_output=True, text=True, timeout=HANGS, check=False
        )
        assert json.loads(done.stdout.splitlines()[0])["entries"] == 0  # the shell adds that it was killed


def interrupt(run: subprocess.Popen[str], signo: int) -> None:
    os.kill(run.pid, signo)


def end_by_supervisor(run: subprocess.Popen[str], signo: int) -> None:
    os.kill(supervisor_of(run.pid), signo)


@pytest.fixture
def processes() -> Iterator[Marked]:
    with marked() as found:
        yield found


@pytest.mark.parametrize(
    ("send", "signo"),
    [(interrupt, signal.SIGINT), (interrupt, signal.SIGKILL), (interrupt, signal.SIGTERM),
     (end_by_supervisor, signal.SIGTERM)],
    ids=["interrupted", "killed", "terminated", "supervisor terminated"],
)  # fmt: skip
def test_counters_of_a_run_that_is_cut_short(
    send: Callable[[subprocess.Popen[str], int], None], signo: signal.Signals, program: Callable[[str], Path],
    enclave_environment: dict[str, str], processes: Marked,
) -> None:  # fmt: skip
    child = subprocess.Popen(
        [*RUN, "--stats=json", str(program("counted")), "hang", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env=processes.environment(**enclave_environment),
    )  # fmt: skip
    assert child.stdout is not None and child.stdout.readline() == "up\n"
    send(child, signo)
    _, errors = child.communicate(timeout=HANGS)
    assert child.returncode == -signo
    counters = json.loads(errors.splitlines()[-1])
    assert (counters["enclaves"], counters["exits"]) == (1, 1)
    assert wait_until(lambda: not processes.alive())


def test_nobody_to_read_the_counters_is_no_failure() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*RUN, "--stats", "/bin/sh", "-c", "exit 6"], stderr=writing, env=environment(), timeout=HANGS, check=False
    )
    os.close(writing)
    assert done.returncode == 6
