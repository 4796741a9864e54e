"""fork(2) of a program that has processes with enclaves, and what is left of those that it has closed."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import enclu
from tests.host.conftest import processes_of
from tests.host.test_ecalls import ADD, OCALL
from tests.host.test_process import eventually

USES: dict[str, Callable[[enclu.Enclave], Any]] = {
    "ecall": lambda enclave: enclave.ecall(ADD, 1),
    "syscall": lambda enclave: enclave.process.syscall("getpid"),
    "memory.read": lambda enclave: enclave.process.memory.read(enclave.base, 8),
    "memory.write": lambda enclave: enclave.process.memory.write(enclave.process.arena.address, b"x"),
    "memory.allocate": lambda enclave: enclave.process.memory.allocate(8),
    "load": lambda enclave: enclave.process.load(enclave.image),
    "a thread": lambda enclave: enclave.process.thread(),
    "another process": lambda enclave: enclave.process.machine.process(),
}


def in_child(work: Callable[[], Any]) -> str:
    """What the function returns in a forked child, or the exception with its message."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            said = str(work())
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said


@pytest.mark.parametrize("use", USES)
def test_a_child_is_refused_what_it_has_inherited_and_the_parent_keeps_it(
    process: enclu.Process, image: Path, use: str
) -> None:
    enclave = process.load(image, ocalls=[lambda n: n])
    said = in_child(lambda: USES[use](enclave))
    assert said.startswith("HostError: ") and "fork" in said
    assert [enclave.ecall(ADD, 1), enclave.ecall(OCALL, 5)] == [2, 5]


def test_a_child_that_closes_what_it_has_inherited_harms_nobody(process: enclu.Process, image: Path) -> None:
    enclave = process.load(image)

    def close() -> str:
        enclave.unload()
        process.close()
        process.machine.close()
        return "closed"

    assert in_child(close) == "closed"
    assert process.alive and enclave.ecall(ADD, 1) == 2


def test_a_child_makes_calls_while_its_parent_does_and_all_of_the_parents_are_right(
    process: enclu.Process, image: Path
) -> None:
    enclave = process.load(image)
    child = os.fork()
    if not child:
        for n in range(10_000):
            try:
                enclave.ecall(ADD, 1000 + n)
            except enclu.HostError:
                continue
        os._exit(0)
    try:
        assert [enclave.ecall(ADD, n) for n in range(300)] == list(range(1, 301))
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_child_may_have_a_machine_of_its_own(process: enclu.Process, image: Path) -> None:
    def own() -> int:
        with enclu.Machine() as machine, machine.process() as mine:
            result: int = mine.load(image).ecall(ADD, 41)
            return result

    assert in_child(own) == "42"


def test_it_ends_with_its_program_though_a_child_lives_on(image: Path) -> None:
    script = f"""
        import os, sys, time, enclu
        process = enclu.Machine().process()
        process.load({str(image)!r})
        child = os.fork()
        if not child:
            os.close(1)
            time.sleep(600)
        print(process.pid, child, flush=True)
        os._exit(0)
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE, text=True, timeout=60, env=environment,
    )  # fmt: skip
    pid, child = map(int, done.stdout.split())
    try:
        assert eventually(lambda: not processes_of(pid))
    finally:
        os.kill(child, signal.SIGKILL)


def held() -> tuple[int, int, int]:
    """How many arenas are mapped, descriptors there are of arenas, pipes and devices, and threads of the host's own."""
    gc.collect()
    maps = Path("/proc/self/maps").read_text()
    links = [Path(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
    names = [os.readlink(link) for link in links if link.is_symlink()]
    descriptors = sum("enclu-arena" in name or name.startswith(("pipe:", "/dev/")) for name in names)
    own = sum(thread.name == "enclu" for thread in threading.enumerate())
    return maps.count("enclu-arena"), descriptors, own


def test_closed_processes_are_let_go(machine: enclu.Machine, image: Path) -> None:
    before = held()
    kept = []
    for _ in range(4):
        with machine.process() as process:
            assert process.load(image).ecall(ADD, 1) == 2
            kept.append(process)
    assert eventually(lambda: held() == before)
    assert not machine.processes


def test_processes_that_nobody_closes_end_with_the_last_who_knows_them(image: Path) -> None:
    before = held()
    pids = []
    for _ in range(3):
        process = enclu.Machine().process()
        assert process.load(image).ecall(ADD, 1) == 2
        pids.append(process.pid)
        del process
    assert eventually(lambda: held() == before and not any(map(processes_of, pids)))


def test_a_closed_process_says_so(process: enclu.Process, image: Path) -> None:
    enclave = process.load(image)
    address = process.memory.allocate(8)
    process.close()
    for use in (
        lambda: enclave.ecall(ADD, 1), lambda: process.memory.read(address, 8), lambda: process.syscall("getpid"),
    ):  # fmt: skip
        with pytest.raises(enclu.ProcessDied, match="closed"):
            use()


def test_a_system_call_that_is_not_known_by_name_is_named(process: enclu.Process) -> None:
    with pytest.raises(enclu.HostError, match=r"'sgx_enter'.*number"):
        process.syscall("sgx_enter")
    assert process.syscall(39) == process.pid
