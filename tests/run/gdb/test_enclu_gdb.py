"""`enclu gdb`: gdb started by enclu, with backtraces that go on outside."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.run.gdb.conftest import DESIGNS
from tests.support.runs import ENCLU, HANGS, MARK, environment, marked
from tests.support.terminal import CTRL_C, Terminal

Build = Callable[[str], Path]
BODY = "set breakpoint pending on\nbreak encl_body\ncontinue\n"


def enclu_gdb(
    place: Path, script: str, *words: str | Path, options: tuple[str, ...] = (), env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:  # fmt: skip
    """A script, to its end."""
    (place / "script").write_text(script)
    command = [*ENCLU, "gdb", *options, "--batch", "-x", str(place / "script"), *map(str, words)]
    (place / "tmp").mkdir()
    variables = (env or {}) | {
        "DEBUGINFOD_URLS": "",
        "LC_ALL": "C.UTF-8",
        "TMPDIR": str(place / "tmp"),
        "HOME": str(place),
    }
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=HANGS,
        env=environment(**variables), check=False,
    )  # fmt: skip


@pytest.mark.parametrize("design", DESIGNS)
def test_a_backtrace_goes_from_the_enclave_to_main(
    design: str, place: Path, program: Build, enclave_environment: dict[str, str]
) -> None:
    options = ("--delivery", design)
    done = enclu_gdb(place, f"{BODY}bt\n", program("debuggee"), "load", "add", options=options, env=enclave_environment)
    lines = [line for line in done.stdout.splitlines() if line.startswith("#")]
    assert "encl_body" in lines[0] and "enter_body" in lines[1], done.stdout
    assert " in __vdso_sgx_enter_enclave" in lines[2] or design != "vdso", done.stdout
    assert any(" in main " in line for line in lines[3:]), done.stdout


def test_a_backtrace_from_an_exception_goes_to_main(
    place: Path, program: Build, enclave_environment: dict[str, str]
) -> None:
    done = enclu_gdb(place, "continue\nbt\n", program("debuggee"), "load", "ud2", env=enclave_environment)
    lines = [line for line in done.stdout.splitlines() if line.startswith("#")]
    assert "encl_body" in lines[0] and any(" in main " in line for line in lines[3:]), done.stdout


def test_the_program_is_killed_with_its_gdb_and_nothing_is_left(
    place: Path, program: Build, enclave_environment: dict[str, str]
) -> None:
    with marked() as processes:
        environ = {**enclave_environment, MARK: processes.mark}
        done = enclu_gdb(place, BODY, program("debuggee"), "load", "add", "wait", env=environ)
        assert done.returncode == 0, done.stdout
        assert processes.all_gone()
    assert not list((place / "tmp").iterdir())


def test_ctrl_c_at_a_terminal_stops_the_program_and_not_gdb(
    program: Build, enclave_environment: dict[str, str]
) -> None:
    with marked() as processes:
        command = [*ENCLU, "gdb", str(program("debuggee")), "load", "twice", "wait"]
        with closing(Terminal(command, processes, DEBUGINFOD_URLS="", HOME="/", **enclave_environment)) as terminal:
            terminal.expect(r"\(gdb\) ")
            terminal.type("set pagination off")
            terminal.expect(r"\(gdb\) ")
            terminal.type("continue")
            terminal.expect("twice 42")
            terminal.press(CTRL_C)
            terminal.expect(r"received signal SIGINT[^$]*\(gdb\) ")
            terminal.type("set var go_on = 1")
            terminal.expect(r"\(gdb\) ")
            terminal.type("continue")
            terminal.expect(r"exited with code 03")
            terminal.type("quit")
            assert processes.all_gone()


def test_a_program_that_is_not_there_is_told_in_a_line(place: Path) -> None:
    done = enclu_gdb(place, "", "/no/such/program")
    assert (done.returncode, done.stdout) == (127, "enclu: /no/such/program: no such file\n")


def test_a_gdb_that_is_not_there_is_told_in_a_line(place: Path, program: Build) -> None:
    done = enclu_gdb(place, "", program("debuggee"), options=("--gdb-command", "no-such-gdb"))
    assert done.returncode == 127
    assert done.stdout.startswith("enclu: no no-such-gdb here: install it") and done.stdout.count("\n") == 1


def test_a_gdb_that_ends_without_connecting_leaves_nothing(place: Path, program: Build) -> None:
    with marked() as processes:
        done = enclu_gdb(place, "", program("debuggee"), options=("--gdb-command", "true"), env={MARK: processes.mark})
        assert (done.returncode, done.stdout) == (0, "enclu: gdb has ended, and has not connected\n")
        assert processes.all_gone()
    assert not list((place / "tmp").iterdir())
