"""Hosts and programs that do not let transitions take place in process: each stops its thread then, and `--stats` says
why; nothing else tells of it.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from enclu.native import in_process
from enclu.native.shared_area import QUEUE, SLOTS, STRIDE, TCSES, TICKETS
from enclu.run import host_check
from tests.run.conftest import EncluRun
from tests.run.test_failures import sabotaged
from tests.support.runs import DENIED, ENCLU, HANGS, RUN, environment

PTRACE, SET_THREAD_AREA, SET_USER_DISPATCH = 101, 26, 0x4210
EIO, EPERM = 5, 1
OPTIONS = ("--quiet", "--stats=json")


def told(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Of a program that passes, and says nothing but its counters."""
    assert (done.returncode, re.findall(r"^not ok.*", done.stdout, re.MULTILINE)) == (0, []), done.stdout + done.stderr
    assert re.search(r"^1\.\.[1-9]", done.stdout, re.MULTILINE), done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    return dict(json.loads(line))


@pytest.fixture
def taken(
    program: Callable[[str], Path], enclu_run: EncluRun, enclave_environment: dict[str, str]
) -> Callable[..., dict[str, Any]]:
    """taken(address...): what is told of a program that has memory of its own there."""

    def run(*addresses: int) -> dict[str, Any]:
        return told(enclu_run(program("own_addresses"), *map(hex, addresses), options=OPTIONS, env=enclave_environment))

    return run


def not_mapped(address: int) -> str:
    return f"the program cannot map the machine's memory at {address:#x} (File exists)"


def test_a_program_may_have_the_address_of_its_tickets(taken: Callable[..., dict[str, Any]]) -> None:
    found = taken(TICKETS)
    assert (found["in_process"], found["by_stops"]) == ({}, [not_mapped(TICKETS)])


@pytest.mark.parametrize("slots", [[SLOTS], [SLOTS + STRIDE], [SLOTS, SLOTS + STRIDE]], ids=["one", "other", "both"])
def test_a_program_may_have_the_addresses_of_its_threads_slots(
    slots: list[int], taken: Callable[..., dict[str, Any]]
) -> None:
    found = taken(*slots)
    assert set(found["by_stops"]) == set(map(not_mapped, slots))
    assert found["in_process"].get("EENTER", 0) < found["leaves"]["EENTER"] - 300


def test_a_program_may_have_the_addresses_of_its_tcses(taken: Callable[..., dict[str, Any]]) -> None:
    found = taken(TCSES)
    assert "EENTER" not in found["in_process"] and found["by_stops"] == [not_mapped(TCSES)]


def test_a_program_that_has_the_address_of_its_queue_adds_each_page_by_a_stop(
    taken: Callable[..., dict[str, Any]],
) -> None:
    found = taken(QUEUE)
    assert found["in_process"]["EENTER"] > 300 and found["by_stops"] == [not_mapped(QUEUE)]


LACKS = {
    "FSGSBASE": (
        "own_addresses",
        "import enclu.native.in_process as m",
        "m.fsgsbase = lambda: False",
        in_process.NO_FSGSBASE,
    ),
    "a shared area": (
        "own_addresses",
        "import errno, os as m",
        "\n"
        "create = m.memfd_create\n"
        "def refuse(name, *flags):\n"
        "    if name == 'enclu' and flags == (m.MFD_CLOEXEC,):\n"
        "        raise PermissionError(errno.EPERM, 'Operation not permitted')\n"
        "    return create(name, *flags)\n"
        "m.memfd_create = refuse\nm.refused = True",
        "the machine has no memory to share with programs (Operation not permitted)",
    ),
    "threads without a shadow stack": (
        "own_addresses",
        "import enclu.native.proc as m; status = m.status",
        "m.status = lambda tid: {**status(tid), 'x86_Thread_features': 'shstk'}",
        "a thread has a shadow stack, which IRET would look at",
    ),
    "slots": ("own_addresses", "import enclu.run.in_process as m", "m.SLOT_COUNT = 1", "more than 1 threads live"),
    "tickets": (
        "forks_at_speed",
        "import enclu.native.shared_area as m",
        "m.SPACE_COUNT = 1",
        "more than 1 address spaces use SGX",
    ),
    "TCSes": (
        "own_addresses",
        "import enclu.native.shared_area as m, enclu.run.in_process as n",
        "m.TCS_COUNT = n.TCS_COUNT = 1",
        "more than 1 TCSes are in use",
    ),
    "room in a slot": (
        "own_addresses",
        "import enclu.run.in_process as m",
        "m.SLOT_SIZE = m.XSAVE",
        "the processor has more extended state than a slot has room for",
    ),
}
"""What a machine may lack: a program, how that comes, and what is told."""
SOME = ("slots", "tickets", "TCSes")
"""Of which there are some all the same."""


@pytest.mark.parametrize("what", LACKS)
def test_a_machine_that_lacks_something_runs_programs_by_stops(
    what: str, program: Callable[[str], Path], enclave_environment: dict[str, str]
) -> None:
    name, module, change, reason = LACKS[what]
    arguments = ("200",) if name == "forks_at_speed" else ()
    found = told(sabotaged(module, change, *OPTIONS, str(program(name)), *arguments, **enclave_environment))
    assert found["by_stops"] == [reason]
    assert ("EENTER" in found["in_process"]) == (what in SOME)
    assert found["in_process"].get("EENTER", 0) < found["leaves"]["EENTER"] - 300


def denied(request: int, error: int, *command: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """A command where ptrace(2) refuses a request."""
    words = [*DENIED, f"{PTRACE}:{request}", str(error), *map(str, command)]
    env = environment(**variables)
    return subprocess.run(words, capture_output=True, text=True, timeout=HANGS, check=False, env=env)


@pytest.mark.parametrize("request_", [SET_USER_DISPATCH, SET_THREAD_AREA], ids=["user dispatch", "thread area"])
@pytest.mark.parametrize(("error", "words"), [(EIO, "Input/output error"), (EPERM, "Operation not permitted")])
def test_a_kernel_that_does_not_offer_what_it_takes(
    request_: int, error: int, words: str, program: Callable[[str], Path], enclave_environment: dict[str, str]
) -> None:
    found = told(denied(request_, error, *RUN, *OPTIONS, program("own_addresses"), **enclave_environment))
    assert (found["in_process"], found["by_stops"]) == ({}, [in_process.NOT_OFFERED.format(words)])


@pytest.mark.parametrize("request_", [SET_USER_DISPATCH, SET_THREAD_AREA], ids=["user dispatch", "thread area"])
def test_check_says_what_the_kernel_does_not_offer(request_: int) -> None:
    report = json.loads(denied(request_, EIO, *ENCLU, "check", "--json").stdout)
    (finding,) = (finding for finding in report["findings"] if finding["name"] == "transitions")
    assert finding["good"] is None and finding["repair"]
    assert in_process.NOT_OFFERED.format("Input/output error") in finding["text"]
    assert report["works"] is True


def test_check_says_that_a_host_has_no_fsgsbase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_process, "fsgsbase", lambda: False)
    finding = host_check.transitions()
    assert finding.good is None and in_process.NO_FSGSBASE in finding.text


NOEXEC = "/proc/sys/vm/memfd_noexec"


@pytest.mark.skipif(not Path(NOEXEC).exists(), reason="the kernel has no vm.memfd_noexec (Linux 6.3)")
def test_memory_files_that_are_never_executable_files_will_do(
    program: Callable[[str], Path], enclave_environment: dict[str, str]
) -> None:
    """vm.memfd_noexec = 2, in a PID namespace of its own."""
    script = f'echo 2 >{NOEXEC} || exit 77; exec "$@"'
    words = ["unshare", "--map-root-user", "--pid", "--fork", "--mount-proc", "sh", "-c", script, "sh",
             *RUN, *OPTIONS, str(program("own_addresses"))]  # fmt: skip
    env = environment(**enclave_environment)
    done = subprocess.run(words, capture_output=True, text=True, timeout=HANGS, check=False, env=env)
    if done.returncode in (1, 77) and not done.stdout:
        pytest.skip(f"there can be no such namespace: {done.stderr.strip()}")
    found = told(done)
    assert found["in_process"]["EENTER"] > 300 and found["by_stops"] == []
