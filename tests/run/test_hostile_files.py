"""`enclu run` where something else is in place of the files that enclu keeps: never a hang or a traceback."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from enclu.run.machine_state import SECRET_SIZE
from tests.support import hostile
from tests.support.runs import environment, run

Program = Callable[[str], Path]


@pytest.mark.parametrize("kind", hostile.KINDS)
def test_a_secret_that_is_no_file_of_ones_own_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "enclu" / "machines" / "m"
    hostile.put(path, kind)
    done = run("/bin/echo", "ran", options=("--machine", "m"), env=environment(XDG_STATE_HOME=str(tmp_path)))
    assert (done.returncode, done.stdout) == (125, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"enclu: machine m: {path}: {hostile.KINDS[kind][1]}")
    assert line.endswith("or under XDG_STATE_HOME if that is set")


@pytest.mark.parametrize("size", [0, SECRET_SIZE - 1])
def test_a_secret_that_is_cut_short_is_refused(size: int, tmp_path: Path) -> None:
    path = tmp_path / "enclu" / "machines" / "m"
    path.parent.mkdir(parents=True)
    path.write_bytes(bytes(size))
    path.chmod(0o600)
    done = run("/bin/echo", "ran", options=("--machine", "m"), env=environment(XDG_STATE_HOME=str(tmp_path)))
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr == f"enclu: {path}: {size} bytes instead of {SECRET_SIZE}; remove it to start afresh\n"


@pytest.mark.parametrize("kind", [*hostile.KINDS, *hostile.CONTENTS])
def test_what_was_found_in_text_is_found_again(kind: str, program: Program, tmp_path: Path) -> None:
    """The program asks CPUID for SGX, where its own text has been changed."""

    def cpuid() -> subprocess.CompletedProcess[str]:
        return run(program("cpuid_patched"), env=environment(XDG_CACHE_HOME=str(tmp_path)))

    first = cpuid()
    assert first.returncode == 0, first.stdout + first.stderr
    kept = list((tmp_path / "enclu" / "text").iterdir())
    assert kept
    for path in kept:
        hostile.put(path, kind)
    again = cpuid()
    assert (again.returncode, again.stdout, again.stderr) == (0, first.stdout, first.stderr)


def test_relative_directories_are_ignored(tmp_path: Path) -> None:
    """Those of the home directory serve, wherever the program runs."""
    env = environment(HOME=str(tmp_path / "home"), XDG_CACHE_HOME="cache", XDG_STATE_HOME="state")
    (tmp_path / "here").mkdir()
    done = run("/bin/echo", "ran", options=("--machine", "m"), env=env, cwd=tmp_path / "here")
    assert (done.returncode, done.stdout, done.stderr) == (0, "ran\n", "")
    assert not list((tmp_path / "here").iterdir())
    assert (tmp_path / "home" / ".local" / "state" / "enclu" / "machines" / "m").stat().st_size == SECRET_SIZE
