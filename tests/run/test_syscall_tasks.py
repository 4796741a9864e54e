"""The machine's own work in a program's memory: who has nothing to do with it notices nothing, and nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.run.conftest import Passes
from tests.support.runs import HANGS, RUN, Marked, gone, marked, status, supervisor_of, wait_until

TASK = "enclu-syscalls"
"""What the machine's task in an address space is called."""
DESIGNS = ("vdso", "signal")


@pytest.fixture
def processes() -> Iterator[Marked]:
    with marked() as found:
        yield found


def tasks(processes: Marked) -> list[int]:
    """Those that have not ended."""
    return [pid for pid in processes.alive() if status(pid, "Name") == TASK and not gone(pid)]


@pytest.mark.parametrize("reaper", [(), ("reaper",)], ids=["", "reaper"])
@pytest.mark.parametrize("mode", ["elsewhere", "fault"])
def test_a_restartable_sequence_is_aborted(mode: str, reaper: tuple[str, ...], passes: Passes) -> None:
    passes("rseq_aborted", mode, *reaper, options=("--epc", "1M"))


@pytest.mark.parametrize("design", DESIGNS)
def test_a_thread_in_a_fault_of_the_kernels_stops_nobody(design: str, passes: Passes) -> None:
    passes("fault_in_the_kernel", options=("--delivery", design, "--epc", "1M"))


@pytest.mark.parametrize("design", DESIGNS)
def test_waits_at_once_have_masks_of_their_own(design: str, passes: Passes) -> None:
    passes("masks_of_waits", options=("--delivery", design))


@pytest.mark.parametrize("where", ["anywhere", "reaper", "pid", "before"])
def test_a_process_finds_nobody_else_in_itself(where: str, passes: Passes) -> None:
    passes("nobody_else", where)


@pytest.mark.parametrize("who", ["subreaper", "int80", "init", "wall", "waitid"])
def test_who_waits_for_children_finds_its_own(who: str, passes: Passes) -> None:
    passes("no_stranger", who)


SUBREAPER = "import ctypes, os, sys; ctypes.CDLL(None).prctl(36, 1, 0, 0, 0); os.execvp(sys.argv[1], sys.argv[1:])"
"""PR_SET_CHILD_SUBREAPER, which exec keeps."""


def test_a_program_that_begins_as_a_subreaper_finds_its_own_children(
    program: Callable[[str], Path], enclave_environment: dict[str, str]
) -> None:
    command = [sys.executable, "-c", SUBREAPER, *RUN, str(program("no_stranger")), "given"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANGS, check=False,
                          env={**os.environ, **enclave_environment})  # fmt: skip
    assert (done.returncode, "not ok" in done.stdout) == (0, False), done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("fault_in_the_kernel", ()), ("masks_of_waits", ()), ("nobody_else", ()), ("nobody_else", ("before",)),
     ("no_stranger", ("subreaper",)), ("no_stranger", ("init",)), ("no_stranger", ("wall",)),
     ("no_stranger", ("waitid",))],
)  # fmt: skip
def test_natively_too(name: str, arguments: tuple[str, ...], program: Callable[[str], Path]) -> None:
    """What the programs expect is what the kernel does."""
    command: list[str | Path] = [program(name), "native", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANGS, check=False)
    assert (done.returncode, "not ok" in done.stdout) == (0, False), done.stdout


@pytest.fixture
def holder(
    program: Callable[[str], Path], enclave_environment: dict[str, str], processes: Marked
) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """holder(how): `enclu run` of a program that has an enclave, and ends in this way on a byte of input."""
    runs = []

    def start(how: str, *arguments: str) -> subprocess.Popen[bytes]:
        run = subprocess.Popen(
            [*RUN, "--epc", "1M", str(program("enclave_holder")), how, *arguments], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, env=processes.environment(**enclave_environment), process_group=0,
        )  # fmt: skip
        runs.append(run)
        assert run.stdout is not None and run.stdout.readline() == b"up\n"
        return run

    yield start
    for run in runs:
        run.kill()
        run.wait()


def tell(run: subprocess.Popen[bytes]) -> None:
    assert run.stdin is not None
    run.stdin.write(b"x")
    run.stdin.flush()


def answer(run: subprocess.Popen[bytes]) -> bytes:
    assert run.stdout is not None
    return run.stdout.readline()


def test_the_task_has_nothing_but_the_memory(
    holder: Callable[..., subprocess.Popen[bytes]], processes: Marked
) -> None:  # fmt: skip
    run = holder("exit")
    (task,) = tasks(processes)
    assert os.listdir(f"/proc/{task}/fd") == []
    assert os.readlink(f"/proc/{task}/cwd") == "/"
    assert os.getsid(task) == os.getpgid(task) == task
    assert int(status(task, "TracerPid")) == supervisor_of(run.pid)
    assert int(status(task, "PPid")) not in (run.pid, os.getpid())
    every = (1 << 64) - 1
    deaf = every & ~sum(1 << signo - 1 for signo in (signal.SIGKILL, signal.SIGSTOP, signal.SIGTRAP))
    assert int(status(task, "SigBlk"), 16) == deaf


@pytest.mark.parametrize("how", ["exit", "thread", "exec", "signal", "vfork"])
def test_the_task_is_gone_before_its_process_is(
    how: str, holder: Callable[..., subprocess.Popen[bytes]], processes: Marked
) -> None:
    run = holder(how)
    assert len(tasks(processes)) == 1
    tell(run)
    if how == "exec":
        assert answer(run) == b"new\n"
        assert tasks(processes) == []
        assert run.stdin is not None
        run.stdin.close()
    run.wait(HANGS)
    assert tasks(processes) == []
    assert processes.all_gone()


def test_the_task_is_gone_when_the_program_is_killed(
    holder: Callable[..., subprocess.Popen[bytes]], processes: Marked
) -> None:
    run = holder("exit")
    run.kill()
    run.wait(HANGS)
    assert tasks(processes) == []
    assert processes.all_gone()


def test_the_task_is_killed_with_the_supervisor(
    holder: Callable[..., subprocess.Popen[bytes]], processes: Marked
) -> None:
    run = holder("exit")
    os.kill(supervisor_of(run.pid), signal.SIGKILL)
    assert run.wait(HANGS) == -signal.SIGKILL
    assert processes.all_gone()


@pytest.mark.parametrize("signo", [signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM, signal.SIGTRAP])
def test_pages_are_evicted_although_the_task_gets_a_signal(
    signo: signal.Signals, holder: Callable[..., subprocess.Popen[bytes]], processes: Marked
) -> None:
    run = holder("exit", "evicted")
    for _ in range(3):
        for task in tasks(processes):
            os.kill(task, signo)
        if signo == signal.SIGKILL:
            assert wait_until(lambda: not tasks(processes))
        tell(run)
        assert answer(run) == b"right\n"
    tell(run)
    assert run.wait(HANGS) == 0
    assert processes.all_gone()


def test_a_process_without_a_task_is_served(passes: Passes) -> None:
    """No process is left to be made (RLIMIT_NPROC), or the program's own filter denies clone."""
    passes("no_task")
