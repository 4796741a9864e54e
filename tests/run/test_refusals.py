"""The line that tells by which refusals a process may have failed, and when there is none."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.runs import environment, run

Fails = Callable[..., tuple[int, list[str]]]
ADD = r"SGX_IOC_ENCLAVE_ADD_PAGES: EINVAL, the enclave has not been created \(SGX_IOC_ENCLAVE_CREATE\)"
LEAF = r"EENTER, TCS 0x1008: #GP, RBX 0x1008 is not page aligned, or not canonical"
UD2 = r"enclave \d+ at offset 0x[0-9a-f]+: #UD, invalid opcode"


@pytest.fixture
def fails(program: Callable[[str], Path], enclave_environment: dict[str, str]) -> Fails:
    """fails(how, ..., options=): exit status of tests/c/programs/fails_after.c, and what is on standard error."""

    def ends(how: str, *arguments: object, options: tuple[str, ...] = ()) -> tuple[int, list[str]]:
        done = run(
            program("fails_after"), how, *map(str, arguments), options=options, env=environment(**enclave_environment)
        )
        return done.returncode, done.stderr.splitlines()

    return ends


def line(end: str, *refusals: str, name: str = "fails_after") -> str:
    noun = "refusals" if len(refusals) > 1 else "refusal"
    return rf"enclu: process \d+ \({name}\) {end}; last {noun}: {'; '.join(refusals)}"


@pytest.mark.parametrize(
    ("how", "status", "expected"),
    [
        ("ioctl", 1, line("ended with status 1", ADD)),
        ("mapping", 2, line("ended with status 2", "mmap of an enclave: EINVAL, .*MAP_PRIVATE.*")),
        ("enclave", 3, line("ended with status 3", UD2)),
        ("enclave's handler", 4, line("ended with status 4", UD2)),
        ("thread", 1, line("ended with status 1", rf"{ADD} \(thread \d+\)")),
        ("last thread", 6, line("ended with status 6", ADD)),
        ("name", 1, line("ended with status 1", ADD, name=r"a\\x0ab\\x1b\[1m")),
    ],
)
def test_a_failing_status_right_after_a_refusal(how: str, status: int, expected: str, fails: Fails) -> None:
    code, (told,) = fails(how, status)
    assert code == status
    assert re.fullmatch(expected, told)


@pytest.mark.parametrize(
    ("how", "signo", "refusal"),
    [
        ("leaf", signal.SIGSEGV, LEAF),
        ("enclave's signal", signal.SIGILL, UD2),
        ("thread among busy ones", signal.SIGSEGV, rf"{LEAF} \(thread \d+\)"),
        ("abort", signal.SIGABRT, ADD),
    ],
)
def test_a_signal_right_after_a_refusal(how: str, signo: signal.Signals, refusal: str, fails: Fails) -> None:
    code, (told,) = fails(how)
    assert code == -signo
    assert re.fullmatch(line(f"was ended by {signo.name}", refusal), told)


@pytest.mark.parametrize(
    ("how", "status", "code"),
    [
        ("ioctl", 0, 0),
        ("ioctl, then an entry", 1, 1),
        ("repaired", 1, 1),
        ("thread, then an entry", 1, 1),
        ("child without SGX", 0, 0),
        ("exec", 0, 5),
        ("terminated", 0, -signal.SIGTERM),
    ],
    ids=["success", "got further", "repaired", "another thread got further", "fork", "exec", "somebody's wish"],
)
def test_no_line_where_it_would_mislead(how: str, status: int, code: int, fails: Fails) -> None:
    assert fails(how, status) == (code, [])


def test_each_process_has_its_own_line(fails: Fails) -> None:
    code, (child, parent) = fails("two processes")
    assert code == -signal.SIGSEGV
    assert re.fullmatch(line("ended with status 7", ADD), child)
    assert re.fullmatch(line("was ended by SIGSEGV", LEAF), parent)


def test_the_same_refusal_again_and_again_is_told_once(fails: Fails) -> None:
    code, (told,) = fails("ioctl", 1, 3000)
    assert code == 1
    assert re.fullmatch(line("ended with status 1", rf"{ADD} \(3,000 times\)"), told)


@pytest.mark.parametrize("how", ["ioctl", "leaf"])
def test_quiet(how: str, fails: Fails) -> None:
    code, told = fails(how, 1, options=("--quiet",))
    assert code == {"ioctl": 1, "leaf": -signal.SIGSEGV}[how]
    assert told == []


def test_counters_come_after_the_line(fails: Fails) -> None:
    _, (told, counters) = fails("ioctl", 1, options=("--stats=json",))
    assert told.startswith("enclu: process") and '"refused_ioctls": 1,' in counters


def test_a_program_that_fails_without_sgx_is_not_told_of() -> None:
    done = run("/bin/sh", "-c", "exit 9")
    assert (done.returncode, done.stderr) == (9, "")
