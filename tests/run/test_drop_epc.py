"""`enclu drop-epc`: a power event from outside."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.runs import PATIENCE, RUN, enclu, environment


def test_who_is_inside_is_told_though_nothing_else_happens(
    program: Callable[[str], Path], enclave_environment: dict[str, str]
) -> None:
    command = [*RUN, str(program("power_event_awaited"))]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(**enclave_environment)
    ) as running:
        assert running.stdin and running.stdout
        try:
            assert running.stdout.readline() == "ok 1 entered\n"
            done = enclu("drop-epc", str(running.pid))
            assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
            assert running.stdout.readline() == "ok 2 who was inside is told\n"
            running.stdin.write("\n")
            running.stdin.close()
            assert running.wait(PATIENCE) == 0
        finally:
            running.kill()


@pytest.mark.parametrize(
    ("pid", "status", "word"),
    [("1", 1, "not under `enclu run`"), ("4194305", 1, "no process"), ("0", 2, "pid"), ("x", 2, "pid")],
)
def test_a_process_that_is_none_of_enclus_is_named(pid: str, status: int, word: str) -> None:
    done = enclu("drop-epc", pid)
    assert done.returncode == status and done.stdout == ""
    assert word in done.stderr.lower() and len(done.stderr.splitlines()) == 1


def test_what_traces_but_is_not_enclu_is_left_alone(work: Path) -> None:
    """SIGPWR would kill it."""
    tracer = subprocess.Popen(
        [sys.executable, "-c",
         "import ctypes, subprocess, sys, signal, os\n"
         "p = subprocess.Popen(['sleep', '60'])\n"
         "assert ctypes.CDLL(None).ptrace(0x4206, p.pid, 0, 0x100000) == 0\n"
         "print(p.pid, flush=True)\n"
         "sys.stdin.read()\n"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with tracer:
        assert tracer.stdin and tracer.stdout
        done = enclu("drop-epc", tracer.stdout.readline().strip())
        assert done.returncode == 1 and "not under `enclu run`" in done.stderr
        tracer.stdin.close()
        assert tracer.wait(PATIENCE) == 0
