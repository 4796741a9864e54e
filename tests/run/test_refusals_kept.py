"""What is kept of refusals, however many there are."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from enclu.base.events import Event, IoctlRefused, Leaf, LeafRefused, ProcessExit, ProcessGone, ThreadGone
from enclu.base.listeners import Events
from enclu.run.refusals import KEPT, Refusals

MILLION = 1_000_000


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
def refusals(events: Events, told: list[str]) -> Refusals:
    return Refusals(events, told.append)


def happens(events: Events, pid: int, tid: int, kind: Any, *values: object) -> None:
    with events.acting(pid, tid):
        events.emit(kind, *values)


def refuse(events: Events, pid: int, tid: int, why: str = "why") -> None:
    happens(events, pid, tid, IoctlRefused, 0, "an ioctl", "EINVAL", why)


def size_of(thing: object, seen: set[int]) -> int:
    """Bytes of everything that an object consists of."""
    if id(thing) in seen or isinstance(thing, type) or callable(thing):
        return 0
    seen.add(id(thing))
    return sys.getsizeof(thing) + sum(size_of(part, seen) for part in parts(thing))


def parts(thing: Any) -> Iterator[object]:
    if isinstance(thing, dict):
        yield from (*thing, *thing.values())
    elif not isinstance(thing, str) and hasattr(thing, "__iter__"):
        yield from thing
    else:
        yield from vars(thing).values() if hasattr(thing, "__dict__") else ()


@pytest.mark.parametrize("differ", [False, True], ids=["alike", "all different"])
def test_a_million_refusals_take_no_more_memory_than_a_few(differ: bool, events: Events, refusals: Refusals) -> None:
    for i in range(10):
        refuse(events, 1, 1, f"why {i:07}" if differ else "why")
    few = size_of(refusals, set())
    for i in range(MILLION // 10):
        refuse(events, 1, 1, f"why {i:07}" if differ else "why")
    assert size_of(refusals, set()) <= few + 100  # larger numbers
    assert len(refusals.of(1, 1)) == (KEPT if differ else 1)


def test_a_long_reason_is_cut(events: Events, refusals: Refusals, told: list[str]) -> None:
    for i in range(9):
        refuse(events, 1, 1, f"{i}" * 100_000)
    happens(events, 1, 1, ProcessExit, "name", 1, 0)
    assert len(told[0]) < 1200


def test_threads_that_come_and_go_leave_only_the_last_refusals(
    events: Events, refusals: Refusals, told: list[str]
) -> None:
    for tid in range(2, 5000):
        refuse(events, 1, tid, f"why {tid}")
        happens(events, 1, tid, ThreadGone)
    assert size_of(refusals, set()) < 10_000
    happens(events, 1, 1, ProcessExit, "name", 1, 0)
    assert [f"why {tid}" in told[0] for tid in (4996, 4997, 4998, 4999)] == [False, True, True, True]


def test_a_process_that_is_gone_leaves_nothing_to_the_next_of_its_number(
    events: Events, refusals: Refusals, told: list[str]
) -> None:
    refuse(events, 1, 1)
    happens(events, 1, 1, ThreadGone)
    happens(events, 1, 1, ProcessGone)
    happens(events, 1, 1, ProcessExit, "name", 1, 0)
    assert not told and not events.leaves.wanted


def entered(events: Events, pid: int, tid: int) -> None:
    """As the supervisor tells of it."""
    if events.leaves.wanted and events.leaves.expects(pid, tid):
        happens(events, pid, tid, Leaf, 1, "EENTER", 0x1000, 0, 0, 0, 0, 0, 0)


def test_leaves_are_told_only_while_they_matter(events: Events, refusals: Refusals) -> None:
    assert not events.leaves.wanted
    refuse(events, 1, 2)
    assert events.leaves.expects(1, 2) and events.leaves.expects(1, 3) and not events.leaves.expects(4, 4)
    entered(events, 1, 3)  # another thread: from now on only the refused one's matter
    assert events.leaves.expects(1, 2) and not events.leaves.expects(1, 3)
    entered(events, 1, 2)
    assert not events.leaves.wanted and not refusals.of(1, 2)


def test_who_gets_further_where_nobody_can_tell_is_asked_for(
    events: Events, refusals: Refusals, told: list[str]
) -> None:
    onward = {1: 4, 2: 0, 3: 7}
    events.leaves.onward = lambda pid: dict(onward) if pid == 1 else {}
    refuse(events, 1, 1, "of the first")
    refuse(events, 1, 2, "of the second")
    assert refusals.of(1, 1) and refusals.of(1, 2)
    onward[1] = 5
    assert not refusals.of(1, 1) and refusals.of(1, 2) == ["an ioctl: EINVAL, of the second (thread 2)"]
    happens(events, 1, 1, ProcessExit, "name", 1, 0)
    assert told == []  # the first has outrun the second
    onward[3] = 8
    refuse(events, 1, 2, "of the second, later")
    happens(events, 1, 1, ProcessExit, "name", 1, 0)
    assert "later" in told[0]


def test_an_error_code_is_over_when_the_leaf_succeeds(events: Events, refusals: Refusals) -> None:
    refuse(events, 1, 1)
    happens(events, 1, 1, Leaf, 1, "EACCEPT", 0x1000, 19, 0, 0, 0, 0, 0)
    happens(events, 1, 1, LeafRefused, 1, "EACCEPT", 0x1000, "SGX_PAGE_ATTRIBUTES_MISMATCH")
    happens(events, 1, 1, Leaf, 1, "EEXIT", 0x1000, 0, 0, 0, 0, 0, 0)
    assert len(refusals.of(1, 1)) == 2
    happens(events, 1, 1, Leaf, 1, "EACCEPT", 0x1000, 0, 0, 0, 0, 0, 0)
    assert refusals.of(1, 1) == ["an ioctl: EINVAL, why"]


def test_events_are_not_made_for_nobody(events: Events) -> None:
    class Counted(Event):
        made = 0

        def __init__(self, pid: int, tid: int) -> None:
            Counted.made += 1

    happens(events, 1, 1, Counted)
    assert Counted.made == 0
    events.listen(lambda event: None, Counted)
    happens(events, 1, 1, Counted)
    assert Counted.made == 1
