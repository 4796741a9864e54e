"""`enclu conform` that ends before its cases do: nothing goes on without it, and what was answered is told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from enclu.conform import program
from enclu.conform.report import closed, parsed
from enclu.native import proc
from tests.support.runs import ENCLU, HANGS, Marked, marked, wait_until


@pytest.fixture
def processes() -> Iterator[Marked]:
    with marked() as found:
        yield found


@pytest.fixture
def started(processes: Marked, tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """started(argument...): `enclu conform` that is in the midst of its cases."""
    program.build()  # so that it is not gcc that is ended

    def start(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*ENCLU, "conform", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=processes.environment(TMPDIR=str(tmp_path)), start_new_session=True,
        )  # fmt: skip
        assert wait_until(lambda: program_at_a_case(processes) is not None)
        return process

    return start


def program_at_a_case(processes: Marked) -> int | None:
    """The program's process, if there is one of a case besides."""
    for pid in processes.alive():
        try:
            parent = proc.parent(pid)
        except OSError:
            continue
        if proc.comm(pid) == proc.comm(parent) == "conform":
            return parent
    return None


@pytest.mark.parametrize("signo", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL, signal.SIGHUP])
def test_nothing_goes_on_when_it_is_killed(
    signo: signal.Signals, started: Callable[..., subprocess.Popen[str]], processes: Marked, tmp_path: Path
) -> None:
    process = started()
    os.kill(process.pid, signo)
    process.communicate(timeout=HANGS)
    assert processes.all_gone()
    assert list(tmp_path.iterdir()) == []


def test_a_case_ends_with_the_program(started: Callable[..., subprocess.Popen[str]], processes: Marked) -> None:
    process = started()
    while (parent := program_at_a_case(processes)) is None:
        assert process.poll() is None
    os.kill(parent, signal.SIGKILL)
    assert process.wait(HANGS) == 2
    assert processes.all_gone()


@pytest.mark.parametrize("to", [os.kill, os.killpg])
def test_ctrl_c_tells_what_was_answered(
    to: Callable[[int, int], None], started: Callable[..., subprocess.Popen[str]], processes: Marked
) -> None:
    process = started("--json")
    to(process.pid, signal.SIGINT)
    said, told = process.communicate(timeout=HANGS)
    assert process.returncode == 130
    cases = json.loads(said)["cases"] if said else []
    asked = len(program.claims()["cases"])
    assert told == (
        f"enclu: interrupted: what follows is {len(cases)} of {asked} cases\n"
        if cases
        else "enclu: interrupted before a case was answered\n"
    )


def test_a_report_that_was_broken_off_has_the_cases_before() -> None:
    done = subprocess.run([program.build(), "eexit/RDX"], capture_output=True, text=True)
    whole = parsed(done.stdout, "whole")
    begun = done.stdout.replace("\n]}", ',\n{"group": "eexit", "name": "RSI is kept",\n "source": "S')
    assert parsed(closed(begun), "begun").cases == whole.cases


def test_a_report_without_a_case_is_none() -> None:
    assert closed('{"program": "enclu conform", "format": 1,\n"groups": {"cpuid": "what"},\n"cases": [') == ""
