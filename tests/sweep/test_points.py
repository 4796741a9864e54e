"""At which instructions a host is tried."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclu.sweep.points import AROUND, PointsError, check, chosen, sliced

RIPS = [0x100, 0x104, 0x108, 0x104, 0x108, 0x10C] * 100


def test_all() -> None:
    assert chosen("all", RIPS) == list(range(600))


def test_functions_are_each_address_once() -> None:
    assert chosen("functions", RIPS) == [0, 1, 2, 5]


def test_the_window_is_around_entries_and_the_end() -> None:
    near = [*range(AROUND), *range(300 - AROUND, 300 + AROUND), *range(600 - AROUND, 600)]
    assert chosen("window", RIPS, [0, 300]) == near


def test_windows_that_overlap_are_one() -> None:
    assert chosen("window", RIPS[:60], [0, 20]) == list(range(60))


@pytest.mark.parametrize(
    ("where", "points"),
    [("7", [7]), ("3:6", [3, 4, 5]), ("598:700", [598, 599]), ("5, 3:6 ,3", [3, 4, 5]), ("1:1,9", [9]),
     ("590:99999999999999999999", [*range(590, 600)])],
)  # fmt: skip
def test_ranges(where: str, points: list[int]) -> None:
    assert chosen(where, RIPS) == points


@pytest.mark.parametrize("where", ["", "everywhere", "1-5", "1:2:3", "-1", "1:", "0x10", "1,,2"])
def test_what_is_no_range_is_refused(where: str) -> None:
    for refuse in (check, lambda text: chosen(text, RIPS)):
        with pytest.raises(PointsError, match="is no range of instructions: all, functions, window, or 0:40,411:546"):
            refuse(where)


@pytest.mark.parametrize("where", ["all", "functions", "window", "0:40,411"])
def test_places_can_be_checked_without_a_call(where: str) -> None:
    check(where)


def test_a_call_may_be_too_short() -> None:
    with pytest.raises(PointsError, match="4000:5000: the call executes 600 instructions, none of them there"):
        chosen("4000:5000", RIPS)


@given(st.lists(st.integers(0, 10**6), min_size=1, unique=True).map(sorted), st.integers(1, 300))
def test_slices_are_the_whole_in_order_and_about_as_large(points: list[int], count: int) -> None:
    parts = sliced(points, count)
    assert [point for part in parts for point in part] == points
    sizes = {len(part) for part in parts}
    assert len(parts) == min(count, len(points)) and max(sizes) - min(sizes) <= 1
