"""How a program and its descendants end and stop, as their parents see it; that enclu holds nothing back meanwhile."""

from __future__ import annotations

import os
import resource
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.runs import HANGS, RUN, Marked, environment, gone, marked, run, sh, status, supervisor_of, wait_until

MORTAL = [
    signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGILL, signal.SIGTRAP, signal.SIGABRT, signal.SIGBUS,
    signal.SIGFPE, signal.SIGKILL, signal.SIGUSR1, signal.SIGSEGV, signal.SIGPIPE, signal.SIGALRM, signal.SIGTERM,
    signal.SIGXCPU, signal.SIGSYS, signal.SIGRTMIN,
]  # fmt: skip


@pytest.mark.parametrize("code", [0, 1, 2, 42, 125, 126, 127, 128, 137, 255])
def test_the_exit_code_is_the_programs(code: int) -> None:
    assert sh(f"exit {code}").returncode == code


@pytest.mark.parametrize("signo", MORTAL, ids=lambda signo: signo.name)
def test_death_by_a_signal_is_the_programs(signo: signal.Signals) -> None:
    assert sh(f"kill -{int(signo)} $$").returncode == -signo


def wait_status(command: Sequence[str], cwd: Path) -> int:
    """What waitpid(2) tells of it, where core dumps are allowed."""
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    child = subprocess.Popen(
        command, cwd=cwd, env=environment(), preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    )
    return os.waitpid(child.pid, 0)[1]


def test_whether_core_was_dumped_is_told(tmp_path: Path) -> None:
    command = ["/bin/sh", "-c", "kill -SEGV $$"]
    assert wait_status([*RUN, *command], tmp_path) == wait_status(command, tmp_path)


def test_a_real_fault_kills_as_natively(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import ctypes; ctypes.string_at(16)"]
    assert wait_status([*RUN, *command], tmp_path) == wait_status(command, tmp_path)


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("exit 7", 7),
        ("kill -KILL $$", -signal.SIGKILL),
        ("kill -TERM $$", -signal.SIGTERM),
        ("exec /bin/sh -c 'exit 8'", 8),
    ],
    ids=["exit", "killed", "terminated", "exec"],
)
def test_who_polls_a_pidfd_of_the_program_can_wait_for_it_then(script: str, expected: int) -> None:
    for _ in range(6):
        assert polled([*RUN, "/bin/sh", "-c", script]) == expected


def polled(command: Sequence[str]) -> int | None:
    """How it has ended, asked for without waiting once its pidfd is readable; None if there is no answer then."""
    child = subprocess.Popen(command, env=environment())
    pidfd = os.pidfd_open(child.pid)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.poll()
    pid, told = os.waitpid(child.pid, os.WNOHANG)
    os.close(pidfd)
    if not pid:
        return None
    child.returncode = os.waitstatus_to_exitcode(told)
    return int(child.returncode)


def test_the_time_limit_of_timeout_is_kept() -> None:
    done = subprocess.run(["timeout", "0.3", *RUN, "sleep", "300"], env=environment(), timeout=HANGS, check=False)
    assert done.returncode == 124


def test_nohup_protects_from_hangup(tmp_path: Path) -> None:
    command = ["nohup", *RUN, "/bin/sh", "-c", "kill -HUP $$; echo alive"]
    done = subprocess.run(
        command, env=environment(), cwd=tmp_path, timeout=HANGS, check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "alive\n")


def test_the_parent_sees_stops_and_continuations() -> None:
    with marked() as processes:
        # A process group of its own, which is not orphaned: in one that is, only SIGSTOP stops.
        child = subprocess.Popen([*RUN, "/bin/sleep", "300"], env=processes.environment(), process_group=0)
        supervisor = supervisor_of(child.pid)
        assert wait_until(lambda: status(child.pid, "Name") == "sleep" and status(child.pid, "State")[0] == "S")
        for signo in (signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU):
            os.kill(child.pid, signo)
            _, told = os.waitpid(child.pid, os.WUNTRACED)
            assert os.WIFSTOPPED(told) and os.WSTOPSIG(told) == signo
            os.kill(child.pid, signal.SIGCONT)
            _, told = os.waitpid(child.pid, os.WCONTINUED)
            assert os.WIFCONTINUED(told)
        assert not gone(supervisor)
        os.kill(child.pid, signal.SIGTERM)
        assert child.wait(30) == -signal.SIGTERM
        assert processes.all_gone()


def test_a_program_that_stops_itself_is_continued_by_its_child() -> None:
    done = sh("(sleep 0.2; cat /etc/hostname >/dev/null; kill -CONT $$) & kill -STOP $$; echo on; wait")
    assert (done.returncode, done.stdout) == (0, "on\n")


def test_a_session_and_a_process_group_of_ones_own() -> None:
    """A shell's job leads its process group and cannot lead a session; others can."""
    script = "import os; os.setsid(); print(os.getsid(0) == os.getpid() == os.getpgrp())"
    done = run(sys.executable, "-c", script)
    assert done.stdout == "True\n"
    done = run(sys.executable, "-c", script, process_group=0)
    assert "PermissionError" in done.stderr


def test_descendants_go_on_after_the_program(tmp_path: Path) -> None:
    """The end of the program is told at once; what it has left behind is supervised on."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with marked() as processes:
        script = f"(read x <{fifo}; grep -c -m1 -w sgx /proc/cpuinfo >{tmp_path}/out; exec sleep 300) & exit 3"
        child = subprocess.Popen([*RUN, "/bin/sh", "-c", script], env=processes.environment())
        assert child.wait(30) == 3
        fifo.write_text("go on\n")
        assert wait_until(lambda: (tmp_path / "out").exists() and (tmp_path / "out").read_text() == "1\n")
        assert wait_until(lambda: [status(p, "Name") for p in processes.alive()].count("sleep") == 1)
        (left,) = (p for p in processes.alive() if status(p, "Name") == "sleep")
        supervisor = supervisor_of(left)
        assert not gone(supervisor)
        os.kill(left, signal.SIGTERM)
        assert wait_until(lambda: gone(supervisor)) and processes.all_gone()


def test_nobody_waits_for_descriptors_that_the_program_has_let_go_of() -> None:
    """Who reads a pipe to its end must not wait for the supervisor; nor must who writes into one that is not read."""
    with marked() as processes:
        child = subprocess.Popen(
            [*RUN, "/bin/sh", "-c", "exec <&- >&-; exec sleep 300"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env=processes.environment(),
        )  # fmt: skip
        assert child.stdin is not None and child.stdout is not None
        assert child.stdout.read() == b""
        with pytest.raises(BrokenPipeError):
            child.stdin.write(b"x" * (1 << 20))
            child.stdin.flush()
        assert child.poll() is None
        child.kill()
        child.stdin = None
        child.wait()


def test_standard_error_ends_with_the_program() -> None:
    """A daemon that closes it is not waited for."""
    with marked() as processes:
        done = subprocess.run(
            [*RUN, "/bin/sh", "-c", "sleep 300 <&- >&- 2>&- & exit 4"], capture_output=True, timeout=HANGS, check=False,
            env=processes.environment(),
        )  # fmt: skip
        assert (done.returncode, done.stdout, done.stderr) == (4, b"", b"")
        assert "sleep" in [status(p, "Name") for p in processes.alive()]


def test_a_descriptor_inherited_by_the_program_is_the_programs_alone() -> None:
    """Another pipe than the standard ones: closed when the program has closed it."""
    reading, writing = os.pipe()
    with marked() as processes:
        child = subprocess.Popen(
            [*RUN, "/bin/bash", "-c", f"exec {writing}>&-; exec sleep 300"], pass_fds=[writing],
            env=processes.environment(),
        )  # fmt: skip
        os.close(writing)
        assert os.read(reading, 1) == b""
        os.close(reading)
        assert child.poll() is None
        child.kill()
        child.wait()


def test_a_reader_that_has_had_enough_ends_the_writer() -> None:
    with marked() as processes:
        script = f"{' '.join(RUN)} yes | head -n 1; echo ${{PIPESTATUS[0]}}"
        env = processes.environment()
        done = subprocess.run(
            ["bash", "-c", script], capture_output=True, text=True, timeout=HANGS, check=False, env=env
        )
        assert done.stdout.split() == ["y", str(128 + signal.SIGPIPE)]
        assert processes.all_gone()


def test_orphans_are_waited_for_by_whom_they_are_left_to() -> None:
    """The program has made itself the reaper of its descendants; the supervisor takes no exit status from it."""
    script = (
        "import ctypes, os\n"
        "ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)\n"
        "for i in range(20):\n"
        "    if os.fork() == 0:\n"
        "        if os.fork() == 0: os._exit(7)\n"
        "        os._exit(6)\n"
        "codes = sorted(os.wait()[1] >> 8 for _ in range(40))\n"
        "print(codes == [6] * 20 + [7] * 20)\n"
    )
    assert run(sys.executable, "-c", script).stdout == "True\n"


def test_the_end_of_a_run_leaves_no_process(processes: Marked) -> None:
    done = sh("for i in 1 2 3 4 5; do (true & true) & done; wait", env=processes.environment())
    assert done.returncode == 0
    assert processes.all_gone()


@pytest.fixture
def processes() -> object:
    with marked() as found:
        yield found
