"""Outcomes are observed: from how a program ended and what it printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from enclu.compare import CompareError
from enclu.compare.catalog import Scenario
from enclu.compare.runner import Cell, Ended, Outcome, Task, judge, run_all

TAP = "ok 1 - the first\nnot ok 2 - the second (0x1, not 0x2)\n"


@pytest.mark.parametrize("word", ["works", "wrong", "refused"])
def test_a_program_tells_its_outcome_and_reason(word: str) -> None:
    assert judge(0, f"{TAP}outcome: {word} because of this\n", "", 60) == (word, "because of this")


def test_a_death_is_killed_whatever_was_printed_before() -> None:
    assert judge(-11, f"{TAP}outcome: works 2 observations\n", "", 60) == (
        Outcome.KILLED, "SIGSEGV, after 'the second (0x1, not 0x2)'",
    )  # fmt: skip


def test_the_last_words_of_the_dead_are_in_the_reason() -> None:
    assert judge(-6, "", "first words\nlast words\n", 60)[1] == "SIGABRT, last words, before anything was observed"


def test_a_program_cannot_declare_itself_killed() -> None:
    assert judge(0, "outcome: killed not really\n", "", 60)[0] == Outcome.WRONG


def test_an_end_without_outcome_is_wrong() -> None:
    assert judge(3, TAP, "cannot open it\n", 60) == (
        Outcome.WRONG,
        "ended with status 3 and no outcome, cannot open it",
    )


def test_no_end_is_wrong() -> None:
    assert judge(None, TAP, "", 5)[1] == "still running after 5 seconds, after 'the second (0x1, not 0x2)'"


def task(tmp_path: Path, body: str) -> Task:
    """A shell script as a scenario."""
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    scenario = Scenario("script", tmp_path, "A script", "About it.", (), (), timeout=20)
    return Task(scenario, "vdso", program)


def test_a_signal_that_ends_a_program_is_seen_through_the_run(tmp_path: Path) -> None:
    (cell,) = run_all([task(tmp_path, "kill -ILL $$")], 1, 1)
    assert (cell.outcome, cell.reason) == (Outcome.KILLED, "SIGILL, before anything was observed")


def test_runs_that_end_differently_are_an_error_that_tells_how(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    script = f"if [ -e {flag} ]; then echo outcome: works again; else touch {flag}; echo outcome: wrong first; fi"
    with pytest.raises(CompareError) as error:
        run_all([task(tmp_path, script)], 3, 1)
    assert "script under vdso ended differently in 3 runs" in str(error.value)
    assert "1 times wrong: first" in str(error.value) and "2 times works: again" in str(error.value)


def test_a_program_that_does_not_end_is_stopped_with_its_children(tmp_path: Path) -> None:
    hanging = task(tmp_path, f"sleep 1000 & echo $! > {tmp_path}/pid; wait")
    hanging = Task(Scenario("script", tmp_path, "", "", (), (), timeout=4), "vdso", hanging.program)
    (cell,) = run_all([hanging], 1, 1)
    assert cell.reason == "still running after 4 seconds, before anything was observed"
    status = Path("/proc", (tmp_path / "pid").read_text().strip(), "stat")
    assert not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z"


def test_without_room_for_temporary_files_nothing_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = task(tmp_path, f"touch {tmp_path}/ran")
    monkeypatch.setattr("tempfile.tempdir", "/proc/self")
    with pytest.raises(CompareError, match=r"^nowhere for temporary files: /proc/self/\S+: .*; set TMPDIR"):
        run_all([mine], 1, 1)
    assert not (tmp_path / "ran").exists()


def test_a_failure_of_enclu_itself_is_no_outcome(tmp_path: Path) -> None:
    missing = Task(Scenario("script", tmp_path, "", "", (), ()), "vdso", tmp_path / "missing")
    with pytest.raises(CompareError, match="missing"):
        run_all([missing], 1, 1)


def test_the_command_of_a_cell_can_be_run_by_hand(tmp_path: Path) -> None:
    scenario = Scenario("script", tmp_path, "", "", (), (), options=("--epc", "8M"))
    assert Task(scenario, "mm-handler:write-once", tmp_path / "a b").command == (
        f"enclu run --quiet --delivery mm-handler:write-once --epc 8M '{tmp_path}/a b'"
    )


def test_a_cell_is_what_its_first_run_was(tmp_path: Path) -> None:
    ended = Ended(Outcome.WORKS, "fine", "")
    assert Cell(task(tmp_path, "true"), (ended, ended)).outcome == Outcome.WORKS
