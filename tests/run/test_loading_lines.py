"""Large enclaves that take long to load are told of: when, how often, and to whom."""

from __future__ import annotations

import fcntl
import os
import pty
import select
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from enclu.base import console
from enclu.linux.encl import Encl
from enclu.run import loading
from enclu.run.loading import Loading
from tests.support.memory_processor import REG_RW, World

LARGE = 4
"""Pages, for these tests."""
MIB = bytes(1 << 20)


@dataclass
class Load:
    """An enclave that is being loaded, on a clock that stands still by itself."""

    now: float
    world: World
    offset: int = 0

    def add(self, content: bytes, at: float) -> None:
        self.now = at
        self.world.add(self.offset, content, REG_RW, 0)
        self.offset += len(content)


def begun(epc_pages: int) -> Load:
    load = Load(100.0, World(epc_pages, size=1 << 24))
    load.world.user.bytes = bytearray(8 << 20)
    load.world.kernel.loading = Loading(lambda: load.now)
    load.world.create()
    return load


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    monkeypatch.setattr(loading, "LARGE", LARGE)
    return begun(epc_pages=4096)


class Told:
    """Lines so far of what is written to the other end."""

    def __init__(self, reading: int, terminal: bool) -> None:
        self.reading = reading
        self.terminal = terminal
        self.seen = b""

    def __call__(self) -> list[str]:
        while select.select([self.reading], [], [], 0)[0]:
            self.seen += os.read(self.reading, 4096)
        return self.seen.decode().splitlines()


@pytest.fixture(params=["pipe", "terminal"])
def told(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Told]:
    """Lines on standard error so far, which is a pipe or a terminal."""
    reading, writing = os.pipe() if request.param == "pipe" else pty.openpty()
    monkeypatch.setattr(console, "STDERR", writing)
    yield Told(reading, request.param == "terminal")
    os.close(reading)
    os.close(writing)


def test_a_load_that_is_soon_over_is_quiet(load: Load, told: Told) -> None:
    for i in range(8):
        load.add(MIB, at=100 + i * 0.24)
    assert told() == []


def test_a_small_enclave_is_quiet_however_long_the_program_takes(load: Load, told: Told) -> None:
    for i in range(LARGE - 1):
        load.add(bytes(4096), at=1000 + i)
    assert told() == []


def test_it_is_told_once_and_at_a_terminal_whenever_it_has_taken_twice_the_time(load: Load, told: Told) -> None:
    for seconds in (1, 2, 3, 5, 6, 9, 10, 11):
        load.add(MIB, at=100 + seconds)
    lines = [f"enclu: loading an enclave: {mib} MiB added in {s} s" for mib, s in ((2, 2), (4, 5), (7, 10))]
    assert told() == (lines if told.terminal else lines[:1])


def test_every_enclave_has_a_time_of_its_own(load: Load, told: Told) -> None:
    load.add(MIB, at=110)
    load.world.encl = load.world.kernel.open_enclave(type(load.world.memory)())
    load.world.create()
    load.offset = 0
    load.add(MIB, at=111)
    assert len(told()) == 1
    load.add(MIB, at=112)
    assert told()[1:] == ["enclu: loading an enclave: 2 MiB added in 2 s"]


def test_evictions_are_named_as_a_cause(monkeypatch: pytest.MonkeyPatch, told: Told) -> None:
    monkeypatch.setattr(loading, "LARGE", LARGE)
    load = begun(epc_pages=300)
    load.add(MIB, at=100)
    load.add(MIB, at=101)
    load.add(MIB, at=110)
    (line,) = told()
    assert line.endswith(" MiB of it evicted: a larger --epc is faster")


def test_within_one_ioctl_it_is_told_too(load: Load, told: Told) -> None:
    """As each chunk of pages takes the clock on."""
    report, times = load.world.kernel.loading, iter(range(100, 200))

    def slowly(encl: Encl) -> None:
        load.now = next(times)
        report(encl)

    load.world.kernel.loading = slowly
    load.add(MIB * 6, at=100)
    assert told() == ["enclu: loading an enclave: 6 MiB added in 2 s"]


def test_a_reader_that_does_not_read_holds_nobody_up(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    size = fcntl.fcntl(writing, fcntl.F_GETPIPE_SZ)
    os.write(writing, bytes(size))
    os.set_blocking(writing, True)
    monkeypatch.setattr(console, "STDERR", writing)
    load.add(MIB, at=110)
    assert len(os.read(reading, 2 * size)) == size
    os.close(reading)
    load.add(MIB, at=120)  # nor one that is gone
    os.close(writing)


def test_a_closed_standard_error_is_quiet(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(writing)
    monkeypatch.setattr(console, "STDERR", writing)
    load.add(MIB, at=110)
    assert os.read(reading, 1) == b""
    os.close(reading)
