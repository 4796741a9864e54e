"""What stepping through enclaves costs: medians of several rounds, and ratios to their floors.

A step in an enclave, recorded (floor: PTRACE_SINGLESTEP, wait4 and PTRACE_GETREGS by Python on an ordinary process); a
checkpoint restored after one call (floor: memcmp of as many bytes); and an injection of a sweep, in CPU time of all
processes (floor: one ECALL and one checkpoint restored, without which there is no injection).
"""

from __future__ import annotations

import ctypes
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import enclu
from enclu.base.abi import WALL
from enclu.host import signing
from enclu.host.build import Layout, build_enclave
from enclu.native import ptrace
from enclu.native.ptrace import NOTHING, UserRegs, Word
from enclu.sweep.behaviour import Behaviour
from enclu.sweep.session import Session

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "tests" / "host" / "stepping" / "enclave.c"
LOOP, STORE = 5, 7
"""Functions of the enclave."""
STEPS, ROUNDS, MIB = 40000, 7, 16
SWEPT, POINTS = 1500, 300
"""Rounds of LOOP in the call that is swept, some 3,000 instructions, and how many of them are tried."""


def built(work: Path) -> Path:
    path = work / "stepped.elf"
    build_enclave([SOURCE], path, layout=Layout(heap_pages=MIB << 8))
    sigstruct = signing.sign(signing.unsigned(enclu.open_image(path)), signing.signing_key(work / "key.pem"))
    path.with_name(path.name + ".sig").write_bytes(sigstruct)
    return path


def seconds(do: Callable[[], object]) -> float:
    start = time.perf_counter()
    do()
    return time.perf_counter() - start


def step_ordinary(pid: int) -> None:
    """Single-step a tracee that is stopped, and read its registers, STEPS times."""
    regs = UserRegs()
    how, who, get, where = Word(ptrace.SINGLESTEP), Word(pid), Word(ptrace.GETREGS), Word(ctypes.addressof(regs))
    for _ in range(STEPS):
        ptrace.raw(how, who, NOTHING, NOTHING)
        os.waitpid(pid, WALL)
        ptrace.raw(get, who, NOTHING, where)


def cpu(process: enclu.Process) -> float:
    """Seconds of CPU time that this process, the agent and its supervisor have used."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    tracer = int(status.partition("TracerPid:")[2].split()[0])
    threads = [task for pid in (os.getpid(), process.pid, tracer) for task in Path(f"/proc/{pid}/task").iterdir()]
    return sum(int((task / "schedstat").read_text().split()[0]) for task in threads) / 1e9


def of_each(process: enclu.Process, do: Callable[[], object], count: int) -> float:
    """CPU time, in seconds."""
    before = cpu(process)
    do()
    return (cpu(process) - before) / count


def sweep(enclave: enclu.Enclave, process: enclu.Process, behaviour: str) -> None:
    """Print what an injection costs."""
    session = Session(enclave, lambda enclave: enclave.ecall(LOOP, SWEPT))
    session.prepare()
    event, points = Behaviour.parse(behaviour), range(0, len(session.rips), len(session.rips) // POINTS)
    injections, ratios = [], []

    def call() -> None:
        for _ in range(POINTS):
            enclave.ecall(LOOP, SWEPT)
            enclave.stepping.restore()

    for _ in range(3):
        injection = of_each(process, lambda: session.sweep(event, points, lambda point: None), len(points))
        injections.append(injection * 1e3)
        ratios.append(injection / of_each(process, call, POINTS))
    session.close()
    print(f"an injection, {behaviour}, of a call of {len(session.rips):,} instructions: "
          f"{statistics.median(injections):.2f} ms of CPU, {statistics.median(ratios):.2f}")  # fmt: skip


def main() -> None:
    libc = ctypes.CDLL(None)
    size = MIB << 20
    one, other = ctypes.create_string_buffer(size), ctypes.create_string_buffer(size)
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    ptrace.ptrace(ptrace.SEIZE, busy.pid, 0, 0)
    ptrace.ptrace(ptrace.INTERRUPT, busy.pid, 0, 0)
    os.waitpid(busy.pid, WALL)
    steps, step_ratios, restores, restore_ratios = [], [], [], []
    with tempfile.TemporaryDirectory() as work, enclu.Machine() as machine, machine.process(stepping=True) as process:
        enclave = process.load(built(Path(work)))
        enclave.step(LOOP, 1)
        enclave.stepping.checkpoint()
        for number in range(ROUNDS):
            step = seconds(lambda: enclave.step(LOOP, STEPS // 2, record=1)) / STEPS
            floor = seconds(lambda: step_ordinary(busy.pid)) / STEPS
            steps.append(step * 1e6)
            step_ratios.append(step / floor)
            enclave.ecall(STORE, number)
            restore = seconds(enclave.stepping.restore)
            compare = seconds(lambda: libc.memcmp(one, other, size))
            restores.append(restore * 1e3)
            restore_ratios.append(restore / compare)
        busy.kill()
        sweep(enclave, process, "int:resume")
        sweep(enclave, process, "pf:resume")
    print(f"a step: {statistics.median(steps):.1f} us, {statistics.median(step_ratios):.2f} of the floor")
    print(f"a checkpoint of {MIB} MiB: {statistics.median(restores):.2f} ms, {statistics.median(restore_ratios):.2f}")


if __name__ == "__main__":
    main()
