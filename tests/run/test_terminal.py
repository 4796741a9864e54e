"""`enclu run` on a terminal: keys, job control, window size; all as the program alone would have it."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.runs import Marked, children_of, gone, marked, status, supervisor_of, wait_until
from tests.support.terminal import CTRL_BACKSLASH, CTRL_C, CTRL_D, CTRL_Z, Terminal

PYTHON = sys.executable


@pytest.fixture
def processes() -> Iterator[Marked]:
    with marked() as found:
        yield found


@pytest.fixture
def shell(processes: Marked) -> Iterator[Terminal]:
    terminal = Terminal.shell(processes)
    yield terminal
    terminal.close()


def start(shell: Terminal, command: str, ready: str) -> None:
    """Type a command that will say `ready`, and wait until it does (the echo of the command does not count)."""
    assert ready not in command
    shell.type(command)
    shell.expect(ready)


def foreground_again(shell: Terminal, program: int) -> None:
    """`fg`, until the program has the terminal; what is typed before then is the shell's."""
    shell.type("fg")
    assert wait_until(lambda: shell.foreground() == program and status(program, "State")[0] == "S")


SLEEPER = "$ENCLU sh -c 'echo rea\"\"dy; exec sleep 300'"
READY = "ready\n"


@pytest.mark.parametrize(
    ("key", "code"), [(CTRL_C, 128 + signal.SIGINT), (CTRL_BACKSLASH, 128 + signal.SIGQUIT)], ids=["INT", "QUIT"]
)
def test_a_key_kills_the_program_and_the_shell_sees_by_what(
    shell: Terminal, processes: Marked, key: bytes, code: int
) -> None:
    start(shell, SLEEPER, READY)
    shell.press(key)
    shell.until_prompt()
    assert f"\nwas {code}\n" in shell.command("echo was $?")
    shell.close()
    assert processes.all_gone()


def test_a_program_that_handles_ctrl_c_goes_on(shell: Terminal) -> None:
    script = (
        "import signal, sys; caught = []; signal.signal(2, lambda *a: caught.append(1)); print(*\"ready\", sep=\"\"); "
        "sys.stdin.readline(); print(\"caught\", len(caught)); sys.exit(7)"
    )  # fmt: skip
    start(shell, f"$ENCLU {PYTHON} -u -c '{script}'", READY)
    shell.press(CTRL_C)
    shell.type("")
    shell.expect("caught 1\n")  # once: nobody passes the terminal's signal on a second time
    shell.until_prompt()
    assert "\nwas 7\n" in shell.command("echo was $?")


def test_ctrl_z_stops_the_program_and_fg_continues_it(shell: Terminal) -> None:
    start(shell, "$ENCLU sh -c 'echo rea\"\"dy; exec cat'", READY)
    program = shell.foreground()
    shell.press(CTRL_Z)
    shell.expect("Stopped")
    shell.until_prompt()
    assert status(program, "State")[0] in "Tt"
    assert f"\nwas {128 + signal.SIGTSTP}\n" in shell.command("echo was $?")
    foreground_again(shell, program)
    shell.type("is it there?")
    shell.expect("is it there[?]\n(?s:.*)is it there[?]\n")  # the echo, and cat's copy
    shell.press(CTRL_D)
    shell.until_prompt()
    assert "\nwas 0\n" in shell.command("echo was $?")


def test_bg_continues_the_program_and_kill_ends_it(shell: Terminal, processes: Marked) -> None:
    start(shell, SLEEPER, READY)
    program = shell.foreground()
    shell.press(CTRL_Z)
    shell.expect("Stopped")
    shell.command("bg")
    assert wait_until(lambda: status(program, "State")[0] == "S")
    shell.type("jobs")
    shell.expect("Running")
    shell.type("kill %1; wait %1; echo was $?")
    shell.expect(f"was {128 + signal.SIGTERM}\n")
    shell.close()
    assert processes.all_gone()


def test_every_process_of_a_stopped_pipeline_goes_on(shell: Terminal) -> None:
    shell.type("$ENCLU sh -c 'cat; true' | $ENCLU sh -c 'sed -u s/^/got:/; true'")
    # Ready when a word has come through, not before: a child of vfork that is stopped holds its parent up, as on Linux.
    shell.type("first")
    shell.expect("got:first\n")
    program = shell.foreground()
    shell.press(CTRL_Z)
    shell.expect("Stopped")
    shell.until_prompt()
    foreground_again(shell, program)
    shell.type("word")
    shell.press(CTRL_D)
    shell.expect("got:word\n")
    shell.until_prompt()


def test_reading_in_the_background_stops_the_program(shell: Terminal) -> None:
    shell.type("$ENCLU cat & echo is $!")
    program = int(shell.expect(r"\nis \d+\n").split()[-1])
    shell.until_prompt()
    assert wait_until(lambda: "Stopped" in shell.command("jobs"))
    foreground_again(shell, program)
    shell.type("now mine")
    shell.expect("now mine\n(?s:.*)now mine\n")
    shell.press(CTRL_D)
    shell.until_prompt()


def test_a_change_of_the_window_size_reaches_the_program(shell: Terminal) -> None:
    script = (
        "import os, signal; signal.pthread_sigmask(0, [signal.SIGWINCH]); print(*\"ready\", sep=\"\"); "
        "signal.sigwait([signal.SIGWINCH]); print(\"size\", *os.get_terminal_size(0))"
    )  # fmt: skip
    start(shell, f"$ENCLU {PYTHON} -u -c '{script}'", READY)
    shell.resize(40, 117)
    shell.expect("size 117 40\n")
    shell.until_prompt()


def test_the_terminals_settings_are_left_alone(shell: Terminal) -> None:
    """While the program reads, it finds those of the shell's jobs; and so do later jobs."""
    script = "import termios, sys; print(\"settings\", termios.tcgetattr(0)[:4]); sys.stdout.flush()"  # fmt: skip
    shell.type(f"{PYTHON} -c '{script}'")
    natively = shell.expect(r"settings \[.*\]\n").splitlines()[-1]
    shell.until_prompt()
    shell.type(f"$ENCLU {PYTHON} -c '{script}'")
    assert shell.expect(r"settings \[.*\]\n").splitlines()[-1] == natively
    shell.until_prompt()
    shell.type(f"{PYTHON} -c '{script}'")
    assert shell.expect(r"settings \[.*\]\n").splitlines()[-1] == natively


def test_what_is_typed_is_left_for_the_next_program(shell: Terminal) -> None:
    start(shell, "$ENCLU sh -c 'echo rea\"\"dy; read x; echo mine:$x'; $ENCLU sh -c 'read x; echo next:$x'", READY)
    shell.type("one")
    shell.type("two")
    shell.expect("mine:one\n")
    shell.expect("next:two\n")


def test_an_interactive_shell_inside_has_job_control(shell: Terminal) -> None:
    shell.type("$ENCLU bash --norc --noprofile -i")
    shell.until_prompt()
    start(shell, "sh -c 'echo rea\"\"dy; exec sleep 300'", READY)
    program = shell.foreground()
    shell.press(CTRL_Z)
    shell.expect("Stopped")
    shell.until_prompt()
    foreground_again(shell, program)
    shell.press(CTRL_C)
    shell.until_prompt()
    assert "\nwas 130\n" in shell.command("echo was $?")
    shell.command("exit 5")
    assert "\nwas 5\n" in shell.command("echo was $?")


def test_a_shell_inside_can_suspend_itself(shell: Terminal) -> None:
    shell.type("$ENCLU bash --norc --noprofile -i")
    shell.until_prompt()
    shell.type("suspend")
    shell.expect("Stopped")
    shell.until_prompt()
    shell.type("fg")
    shell.expect("bash --norc --noprofile -i\n")
    shell.type("echo and on $((20 + 3))")
    shell.expect("and on 23\n")


def test_a_closed_window_ends_the_program(processes: Marked) -> None:
    terminal = Terminal.shell(processes)
    start(terminal, SLEEPER, READY)
    program = terminal.foreground()
    supervisor = supervisor_of(program)
    terminal.hang_up()
    assert wait_until(lambda: gone(program)) and wait_until(lambda: gone(supervisor))
    terminal.close()
    assert processes.all_gone()


def test_while_the_program_is_stopped_its_other_sessions_go_on(shell: Terminal, tmp_path: Path) -> None:
    """They need the supervisor, which must not be stopped with the program."""
    fifo, script = tmp_path / "fifo", tmp_path / "script"
    os.mkfifo(fifo)
    script.write_text(f"echo ready; read x <{fifo}; exec sleep 300\n")
    start(shell, f"$ENCLU sh -c 'setsid sh {script} & exec sleep 301'", READY)
    program = shell.foreground()
    (other,) = children_of(program)
    shell.press(CTRL_Z)
    shell.expect("Stopped")
    fifo.write_text("go on\n")
    assert wait_until(lambda: status(other, "Name") == "sleep")


SLOW = (
    "import time, enclu.native.text_scan as m, enclu.base.console as c; c.PATIENCE = {patience}; scan = m.scan; "
    "m.scan = lambda *a: (time.sleep(0.3), scan(*a))[1]; from enclu.cli.main import main; main()"
)
"""enclu with a search through the program's text that takes a while."""


def slow_run(terminal: str, patience: float, processes: Marked, tmp_path: Path) -> str:
    """All that is seen on the terminal."""
    command = [PYTHON, "-c", SLOW.format(patience=patience), "run", "/bin/echo", "the end"]
    slow = Terminal(command, processes, TERM=terminal, XDG_CACHE_HOME=str(tmp_path))
    try:
        return slow.expect("the end\n")
    finally:
        slow.close()


def test_long_work_is_told_at_a_terminal_and_taken_back(processes: Marked, tmp_path: Path) -> None:
    seen = slow_run("xterm", 0.05, processes, tmp_path)
    told = re.findall(r"\x1b7enclu: looking through [^\x1b]+ \.\.\.\x1b8\x1b\[K", seen)
    assert len(told) >= 1 and seen.endswith("the end\n")
    assert "".join(told) + "the end\n" == seen
    assert slow_run("xterm", 0.05, processes, tmp_path) == "the end\n"  # what was found has been kept


@pytest.mark.parametrize(("terminal", "patience"), [("dumb", 0.05), ("xterm", 300)])
def test_nothing_is_told_where_it_cannot_be_taken_back_or_is_soon_over(
    terminal: str, patience: float, processes: Marked, tmp_path: Path
) -> None:
    assert slow_run(terminal, patience, processes, tmp_path) == "the end\n"
