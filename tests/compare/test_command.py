"""`enclu compare` as a command: what it prints and how it fails."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from enclu.compare import catalog
from enclu.linux import delivery
from tests.compare.conftest import ROOT, Compare

QUICK = ("--scenario", "two-runtimes", "--design", "vdso", "--design", "mm-handler")


def test_an_unknown_scenario_is_answered_with_the_known_ones(compare: Compare) -> None:
    done = compare("--scenario", "nonsense")
    assert done.returncode == 1
    assert "unknown scenario 'nonsense'" in done.stderr and "two-runtimes" in done.stderr


def test_an_unknown_design_is_answered_with_the_known_ones(compare: Compare) -> None:
    done = compare("--design", "nonsense")
    assert done.returncode == 1
    assert "unknown design 'nonsense'" in done.stderr and all(name in done.stderr for name in delivery.choices())


@pytest.mark.parametrize("option", ["--jobs", "--runs"])
def test_no_jobs_and_no_runs_are_refused(option: str, compare: Compare) -> None:
    done = compare(option, "0", *QUICK)
    assert done.returncode == 2 and "0 is not in the range" in done.stderr


def test_a_missing_compiler_is_answered_with_its_package(compare: Compare, tmp_path: Path) -> None:
    done = compare(*QUICK, PATH="/nonexistent", XDG_CACHE_HOME=str(tmp_path))
    assert done.returncode == 1
    assert "gcc is missing" in done.stderr and "apt-get install gcc" in done.stderr


def test_a_page_that_cannot_be_written_is_one_line(compare: Compare, tmp_path: Path) -> None:
    done = compare(*QUICK, "--html", str(tmp_path / "no" / "page.html"))
    assert done.returncode == 1
    assert done.stderr == f"enclu: {tmp_path}/no/page.html: No such file or directory\n"


@pytest.mark.timeout(300)
def test_the_report_has_outcomes_reasons_and_commands(compare: Compare) -> None:
    done = compare(*QUICK)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"two-runtimes +│ killed +│ works", done.stdout)
    assert re.search(r"works +vdso: \d+ observations", done.stdout)
    assert re.search(r"killed +mm-handler: SIGABRT, ", done.stdout)
    assert re.search(r"enclu run --quiet --delivery DESIGN \S+/two-runtimes/two-runtimes\n", done.stdout)


@pytest.mark.timeout(300)
def test_the_command_that_is_printed_reproduces_the_cell(compare: Compare) -> None:
    cells = json.loads(compare(*QUICK, "--json").stdout)["cells"]
    for cell in cells:
        name, *arguments = map(os.path.expanduser, shlex.split(cell["command"]))
        assert name == "enclu"
        env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        done = subprocess.run(
            [sys.executable, "-m", "enclu.cli.main", *arguments], capture_output=True, text=True, env=env
        )
        assert (done.returncode < 0) == (cell["outcome"] == "killed")
        assert done.stdout + done.stderr == cell["output"]


@pytest.mark.timeout(300)
def test_the_json_has_all_that_the_report_has(compare: Compare) -> None:
    done = compare(*QUICK, "--json", "--cost", "--runs", "2")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found) == {"enclu", "runs", "scenarios", "designs", "cells"}
    assert found["runs"] == 2
    (scenario,) = found["scenarios"]
    assert scenario["name"] == "two-runtimes" and scenario["title"] and scenario["about"]
    assert all(isinstance(s["message"], int) and s["says"] for s in scenario["thread"])
    assert [d["name"] for d in found["designs"]] == ["mm-handler", "vdso"]
    for d in found["designs"]:
        assert d["needs"] and all(lines > 0 for lines in {**d["kernel_lines"], **d["user_lines"]}.values())
        assert set(d["cost"]) == {"entry", "exception", "entry_ratio", "exception_ratio"}
        assert all(value > 0 for value in d["cost"].values())
    for cell in found["cells"]:
        assert set(cell) == {"scenario", "design", "outcome", "reason", "command", "output"}
        assert cell["outcome"] in ("works", "wrong", "refused", "killed")


@pytest.mark.timeout(300)
def test_a_design_with_a_setting_can_be_asked_for(compare: Compare) -> None:
    done = compare("--scenario", "two-runtimes", "--design", "mm-handler:write-once", "--json")
    (cell,) = json.loads(done.stdout)["cells"]
    assert (cell["design"], cell["outcome"]) == ("mm-handler:write-once", "refused")


@pytest.mark.timeout(300)
def test_the_bar_is_only_for_terminals(compare: Compare, cache: Path) -> None:
    assert compare(*QUICK).stderr == ""
    ours, theirs = pty.openpty()
    env = {**os.environ, "XDG_CACHE_HOME": str(cache), "PYTHONPATH": str(ROOT / "src"), "TERM": "xterm"}
    command = [sys.executable, "-m", "enclu.cli.main", "compare", *QUICK]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=theirs, env=env) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                shown += os.read(ours, 4096)
            except OSError:  # EIO: the other end is closed
                break
    os.close(ours)
    assert process.returncode == 0
    assert b"running" in shown and b"2/2" in shown


def test_every_design_has_a_runtime() -> None:
    assert set(catalog.read(catalog.find_root()).runtimes) == set(delivery.names())
