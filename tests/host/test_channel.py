"""How the turn goes from one to the other, and when that takes a system call."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator

import pytest

import enclu
from enclu.base.abi import FUTEX_WAIT, FUTEX_WAKE
from enclu.host import channel as channels
from enclu.host.arena import Arena
from enclu.host.channel import LOOKS_IN_VAIN, LOOKS_SELDOM, TURN_AGENT, TURN_PYTHON, Channel, Command

NANOSLEEP = 35
"""It has no name here."""
HAND_OVERS = 1500
LONGEST = 300e-6
"""Seconds of a pause: more than anybody looks for a turn."""


class Futex:
    """Instead of futex(2): what was asked for, and what is done about it."""

    def __init__(self) -> None:
        self.operations: list[int] = []
        self.then: Callable[[], object] = bool

    def __call__(self, _number: int, _address: object, operation: int, *_: object) -> int:
        self.operations.append(operation)
        self.then()
        return 0


class Clock:
    """Instead of time.monotonic(): who looks for a turn reads it."""

    def __init__(self) -> None:
        self.readings = 0

    def __call__(self) -> float:
        self.readings += 1
        return float(self.readings)


@pytest.fixture
def futex(monkeypatch: pytest.MonkeyPatch) -> Futex:
    futex = Futex()
    monkeypatch.setattr(channels, "_syscall", futex)
    return futex


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


@pytest.fixture
def channel() -> Iterator[Channel]:
    """With nobody at the other end."""
    arena = Arena()
    channel = Channel(arena, arena.allocate(4096, align=4096), lambda: None)
    yield channel
    channel.close()
    arena.unmap()
    arena.close()


def answer(channel: Channel) -> None:
    channel.struct.turn = TURN_PYTHON


def test_an_agent_that_is_awake_is_given_the_turn_without_a_system_call(channel: Channel, futex: Futex) -> None:
    channel.give(Command.SYSCALL)
    assert channel.struct.turn == TURN_AGENT
    assert not futex.operations


def test_an_agent_that_sleeps_is_woken(channel: Channel, futex: Futex) -> None:
    channel.struct.agent_sleeps = 1
    channel.give(Command.SYSCALL)
    assert futex.operations == [FUTEX_WAKE]


def test_an_answer_that_is_there_takes_no_system_call(channel: Channel, futex: Futex) -> None:
    assert channel.await_turn()
    assert not futex.operations


def test_who_sleeps_says_so_as_long_as_he_does(channel: Channel, futex: Futex) -> None:
    said = []

    def agent() -> None:
        said.append(channel.struct.python_sleeps)
        answer(channel)

    futex.then = agent
    channel.struct.turn = TURN_AGENT
    assert channel.await_turn()
    assert futex.operations == [FUTEX_WAIT]
    assert [*said, channel.struct.python_sleeps] == [1, 0]


@pytest.fixture
def several_processors(monkeypatch: pytest.MonkeyPatch, channel: Channel) -> None:
    """Both sides find that there are, whatever the machine has."""
    monkeypatch.setattr(channels, "_several_processors", lambda: True)
    channel.struct.looks = True


def test_with_one_processor_nobody_looks_for_a_turn(
    one_processor: None, channel: Channel, futex: Futex, clock: Clock
) -> None:
    futex.then = lambda: answer(channel)
    for _ in range(2 * LOOKS_SELDOM):
        channel.struct.turn = TURN_AGENT
        assert channel.await_turn()
    assert not channel.struct.looks
    assert not clock.readings


def test_who_has_looked_in_vain_again_and_again_seldom_looks(
    several_processors: None, channel: Channel, futex: Futex, clock: Clock
) -> None:
    futex.then = lambda: answer(channel)
    looked = []
    for n in range(1, 2 * LOOKS_SELDOM + 1):
        before = clock.readings
        channel.struct.turn = TURN_AGENT
        assert channel.await_turn()
        if clock.readings > before:
            looked.append(n)
    assert looked == [*range(1, LOOKS_IN_VAIN + 1), LOOKS_SELDOM, 2 * LOOKS_SELDOM]


def test_who_finds_an_answer_looks_for_the_next_ones(
    monkeypatch: pytest.MonkeyPatch, several_processors: None, channel: Channel, futex: Futex, clock: Clock
) -> None:
    futex.then = lambda: answer(channel)
    for _ in range(LOOKS_SELDOM - 1):
        channel.struct.turn = TURN_AGENT
        assert channel.await_turn()
    monkeypatch.setattr(channels, "SPIN", 1e9)
    assert channel.await_turn()
    before = clock.readings
    assert channel.await_turn()
    assert clock.readings > before


def no_turn_is_slept_through(process: enclu.Process) -> None:
    """Should one be, both would sleep for ever."""
    chance = random.Random(1)
    with process.memory.temporary(16) as pause:
        for _ in range(HAND_OVERS):
            time.sleep(chance.random() * LONGEST)
            process.memory.write(pause + 8, int(chance.random() * LONGEST * 1e9).to_bytes(8, "little"))
            assert process.syscall(NANOSLEEP, pause, 0) == 0
            assert process.syscall("getpid") == process.pid


def test_no_turn_is_slept_through(process: enclu.Process) -> None:
    no_turn_is_slept_through(process)


def test_no_turn_is_slept_through_on_one_processor(one_processor: None, process: enclu.Process) -> None:
    no_turn_is_slept_through(process)
