"""`enclu profile -- PROGRAM`: run and profile at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.runs import ENCLU, HANGS, enclu, environment, marked

Profiled = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def profiled(program: Callable[[str], Path], enclave_environment: dict[str, str]) -> Profiled:
    """profiled(options, program, ...): a program of tests/c under `enclu profile`, to its end."""

    def profile(options: tuple[str | Path, ...], name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return enclu("profile", *options, "--", program(name), *arguments, env=environment(**enclave_environment))

    return profile


def test_it_goes_to_standard_error_and_the_program_is_as_ever(profiled: Profiled) -> None:
    done = profiled((), "leaves", "50")
    assert done.returncode == 0 and "ok 1 results" in done.stdout
    assert done.stderr.splitlines()[0].endswith("leaves 50, under vdso")
    assert "Calls, by their transitions" in done.stderr and "Pages of enclaves" in done.stderr


@pytest.mark.parametrize(("script", "status"), [("exit 7", 7), ("kill -TERM $$", -signal.SIGTERM)])
def test_the_exit_status_is_the_programs(script: str, status: int) -> None:
    done = enclu("profile", "--", "/bin/sh", "-c", script)
    assert done.returncode == status and "under vdso" in done.stderr


@pytest.mark.parametrize("way", ["--fast-path", "--no-fast-path"])
def test_it_counts_what_the_counters_say(way: str, profiled: Profiled, tmp_path: Path) -> None:
    output = tmp_path / "profile"
    done = profiled((way, "--format", "json", "--stats=json", "-o", output), "leaves", "50", "3", "300")
    counters, found = json.loads(done.stderr.splitlines()[-1]), json.loads(output.read_text())
    assert found["leaves"] == counters["leaves"] and found["aexs"] == counters["aex"]
    assert sum(call["calls"] for call in found["calls"]) == counters["leaves"]["EENTER"]


def test_it_is_what_is_made_of_a_trace(profiled: Profiled, tmp_path: Path, program: Callable[[str], Path],
                                       enclave_environment: dict[str, str]) -> None:  # fmt: skip
    log = tmp_path / "log"
    command = ("trace", "--format", "json", "-o", log, program("leaves"), "50")
    enclu(*command, env=environment(**enclave_environment))
    of_the_trace = json.loads(enclu("profile", "--format", "json", log).stdout)
    of_the_run = json.loads(profiled(("--format", "json"), "leaves", "50").stderr)
    assert timeless(of_the_run) == timeless(of_the_trace)


def timeless(profile: dict[str, Any]) -> dict[str, Any]:
    """What the same program does each time."""
    kept = {key: profile[key] for key in ("command", "delivery", "transitions", "leaves", "aexs", "lost", "edges")}
    calls = [(call["kind"], call["number"], call["name"], call["calls"], call["aexs"]) for call in profile["calls"]]
    return {**kept, "calls": calls}


def test_options_of_the_machine_are_those_of_run(profiled: Profiled) -> None:
    done = profiled(("--delivery", "signal", "--epc", "1M", "--stats", "--convention", "none"), "leaves", "2")
    assert "leaves 2, under signal" in done.stderr and "EPC MiB at most" in done.stderr and "entry" in done.stderr


def test_a_page_is_written_where_one_asks_for_it_and_is_the_users_alone(profiled: Profiled, tmp_path: Path) -> None:
    page = tmp_path / "profile.html"
    done = profiled(("--format", "html", "-o", page), "leaves", "2")
    assert page.read_text().startswith("<!DOCTYPE html>") and not done.stderr
    assert page.stat().st_mode & 0o777 == 0o600


def test_a_page_needs_no_file_when_the_program_has_ended(profiled: Profiled) -> None:
    assert profiled(("--format", "html"), "leaves", "2").stderr.startswith("<!DOCTYPE html>")


@pytest.mark.parametrize("signo", [signal.SIGINT, signal.SIGKILL])
def test_what_there_is_is_told_when_the_program_is_ended(
    signo: signal.Signals, program: Callable[[str], Path], enclave_environment: dict[str, str]
) -> None:
    command = [*ENCLU, "profile", "--format", "json", "--", str(program("debuggee")), "load", "add", "wait"]
    with marked() as run, subprocess.Popen(
        command, env=run.environment(**enclave_environment), start_new_session=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None and process.stdout.readline().startswith("function")
        os.killpg(process.pid, signo)
        _, profile = process.communicate(timeout=HANGS)
        assert process.returncode == -signo
        assert json.loads(profile)["leaves"]["EENTER"] == 1
        assert run.all_gone()


def test_no_file_is_left_behind(profiled: Profiled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    profiled((), "leaves", "1")
    assert os.listdir(tmp_path) == []


def test_children_are_followed(profiled: Profiled, program: Callable[[str], Path]) -> None:
    done = profiled(("--format", "json"), "vfork_spawn_exec")
    assert json.loads(done.stderr)["leaves"]["EENTER"] > 0


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ((), 2, "what is to be profiled: TRACE, or -- PROGRAM?"),
        (("--",), 2, "no program behind"),
        (("-", "--", "/bin/echo"), 2, "options come before"),
        (("--epc", "4M", "-"), 2, "--epc is of a run: enclu profile --epc ... -- PROGRAM"),
        (("/bin/echo", "ran"), 2, "unexpected extra argument"),
        (("-o", "/nowhere/profile", "--", "/bin/echo"), 125, "cannot write the profile to /nowhere/profile: No such"),
        (("--convention", "none-such", "--", "/bin/echo"), 2, "no convention"),
        (("--edl", "/nowhere.edl", "--", "/bin/echo"), 1, "cannot be read"),
        (("--", "/nowhere/program"), 127, "/nowhere/program"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_in_one_line(arguments: tuple[str, ...], status: int, words: str) -> None:
    done = enclu("profile", *arguments)
    assert done.returncode == status and words in done.stderr and not done.stdout
    assert len(done.stderr.splitlines()) == 1


def test_a_full_disk_is_said_and_the_program_ends_as_ever(profiled: Profiled) -> None:
    done = profiled(("-o", "/dev/full"), "leaves", "1")
    assert done.returncode == 0 and done.stderr == "enclu: the profile cannot be written: No space left on device\n"
