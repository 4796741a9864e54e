"""Enclaves for the tests of the host, compiled and signed once for each run of the tests."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import enclu
from enclu.host import signing
from enclu.host.build import build_enclave
from enclu.linux import delivery
from enclu.linux.delivery import usage
from tests.support.runs import wait_until

DESIGNS = tuple(delivery.names())
RESUMING = tuple(d for d in DESIGNS if delivery.design(d).entry.resumes)
WITH_REGISTERS = tuple(d for d in DESIGNS if delivery.design(d).entry.registers == usage.REGISTERS)
"""Those that enclaves of other runtimes can be entered by: two arguments or more."""


def signed_enclave(source: Path, directory: Path, *flags: str) -> Path:
    """An enclave of one C file, built with these flags of the compiler and signed."""
    path = directory / f"{source.stem}.elf"
    build_enclave([source], path, flags=flags)
    unsigned = signing.unsigned(enclu.open_image(path), ISVPRODID=1, ISVSVN=1)
    sigstruct = signing.sign(unsigned, signing.signing_key(path.with_name("key.pem")))
    path.with_name(path.name + ".sig").write_bytes(sigstruct)
    return path


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tests/host/enclave.c, signed."""
    return signed_enclave(Path(__file__).with_name("enclave.c"), tmp_path_factory.mktemp("host"))


@pytest.fixture
def machine() -> Iterator[enclu.Machine]:
    with enclu.Machine() as machine:
        yield machine


@pytest.fixture
def process(machine: enclu.Machine) -> enclu.Process:
    return machine.process()


@pytest.fixture
def stepping_process(machine: enclu.Machine) -> Iterator[enclu.Process]:
    with machine.process(stepping=True) as process:
        yield process


@pytest.fixture
def one_processor() -> Iterator[None]:
    """The calling thread, and what it starts, may run on one processor only."""
    several = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(several)})
    yield
    os.sched_setaffinity(0, several)


def traced(log: Path) -> list[dict[str, Any]]:
    """What EENTERs and EEXITs are for, by a trace in JSON, when the process is gone."""
    assert wait_until(lambda: log.exists() and "process_gone" in log.read_text())
    return [event["call"] for event in map(json.loads, log.read_text().splitlines()) if "call" in event]


def processes_of(pid: int) -> list[int]:
    """The process, its supervisor and whoever else has its number in a group or as a tracer."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            status = Path(f"/proc/{entry}/status").read_text()
            fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[2]) == pid or f"TracerPid:\t{pid}\n" in status:
            found.append(int(entry))
    return found
