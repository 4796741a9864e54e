"""Limits of time where others have the processor."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import enclu
from tests.host.test_ecalls import COUNT, LOOP

OTHERS = 8
pytestmark = pytest.mark.usefixtures("one_processor")


@contextlib.contextmanager
def others() -> Iterator[None]:
    """Who never stops, on the same processor."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(OTHERS)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def taking(enclave: enclu.Enclave, seconds: float) -> int:
    """How often its loop goes round in about that time, without others."""
    count = 1 << 20
    while True:
        start = time.monotonic()
        enclave.ecall(COUNT, count)
        took = time.monotonic() - start
        if took > seconds / 2:
            return int(count * seconds / took)
        count *= 2


def test_what_others_have_of_the_processor_is_no_hang_where_enclaves_are_stepped_through(
    stepping_process: enclu.Process, image: Path
) -> None:
    enclave = stepping_process.load(image)
    count = taking(enclave, 0.3)
    with others():
        start = time.monotonic()
        assert enclave.ecall(COUNT, count, timeout=0.6) == 10
        assert time.monotonic() - start > 0.6, "nobody was in its way"


def test_a_hang_is_one_all_the_same(stepping_process: enclu.Process, image: Path) -> None:
    enclave = stepping_process.load(image)
    with others(), pytest.raises(enclu.EnclaveTimeout):
        enclave.ecall(LOOP, timeout=0.1)
    assert enclave.ecall(COUNT, 1) == 10


def test_elsewhere_a_limit_is_one_of_the_clock_on_the_wall(process: enclu.Process, image: Path) -> None:
    enclave = process.load(image)
    count = taking(enclave, 0.3)
    with others(), pytest.raises(enclu.EnclaveTimeout):
        enclave.ecall(COUNT, count, timeout=0.6)
