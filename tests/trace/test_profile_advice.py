"""Each rule at its threshold: what is beyond is told, what is not is not."""

from __future__ import annotations

import pytest

from enclu.trace.profile.advice import advise
from tests.trace.traces import Making


def rules(made: Making) -> set[tuple[str, str]]:
    return {(advice.rule, advice.subject) for advice in advise(made.profile)}


def calls(durations: list[int], gap: int = 1_000_000) -> Making:
    made = Making()
    for ns in durations:
        made.whole_ecall(1, ns)
        made.now += gap
    return made


@pytest.mark.parametrize(
    ("durations", "short"),
    [([999] * 36 + [99_999] * 64, True), ([999] * 35 + [99_999] * 65, False),
     ([4_999] * 51 + [99_999] * 49, True), ([4_999] * 50 + [99_999] * 50, False),
     ([9_999] * 66 + [99_999] * 34, True), ([9_999] * 65 + [99_999] * 35, False),
     ([10_000] * 100, False), ([1] * 9, False), ([1] * 10, True)],
)  # fmt: skip
def test_short_calls(durations: list[int], short: bool) -> None:
    assert (("short", "ECALL 1 work1") in rules(calls(durations))) is short


def test_calls_with_an_aex_are_not_judged_by_their_time() -> None:
    made = Making()
    for _ in range(20):
        made.ecall(1)
        made.aex()
        made.leaf("ERESUME")
        made.ecall_returns()
        made.now += 1_000_000
    assert rules(made) == {("aexs", "ECALL 1 work1")}


@pytest.mark.parametrize(("others", "told"), [(0, True), (8, True), (10, False)])
def test_short_calls_with_a_share_of_the_transitions_may_be_switchless(others: int, told: bool) -> None:
    made = Making()
    for _ in range(20):
        made.whole_ecall(1, 10)
        for _ in range(others):
            made.now += 1_000_000
            made.whole_ecall(2, 1_000_000)
        made.now += 1_000_000
    assert (("switchless", "ECALL 1 work1") in rules(made)) is told


@pytest.mark.parametrize(("gap", "told"), [(999, True), (4_999, True), (9_999, True), (10_001, False), (99_999, False)])
def test_calls_in_a_row_may_be_batched(gap: int, told: bool) -> None:
    assert (("batch", "ECALL 1 work1") in rules(calls([100_000] * 30, gap))) is told


def test_calls_that_follow_another_may_be_merged_with_it() -> None:
    made = Making()
    for _ in range(20):
        made.whole_ecall(1, 100_000)
        made.now += 500
        made.whole_ecall(2, 100_000)
        made.now += 1_000_000
    (advice,) = advise(made.profile)
    assert (advice.rule, advice.subject) == ("merge", "ECALL 2 work2") and "ECALL 1 work1" in advice.text
    assert "100% of 20 calls" in advice.figures and "1.00" in advice.figures


def test_calls_that_seldom_follow_each_other_stay_apart() -> None:
    made = Making()
    for number in range(100):
        made.whole_ecall(1, 100_000)
        made.now += 500
        if number % 3:
            made.whole_ecall(3, 100_000)
            made.now += 1_000_000
        if number % 5 == 0:
            made.whole_ecall(2, 100_000)
            made.now += 1_000_000
    assert ("merge", "ECALL 2 work2") not in rules(made)


@pytest.mark.parametrize(
    ("before", "after", "where"), [(5_000, 90_000, "begin"), (90_000, 5_000, "end"), (90_000, 90_000, "")]
)
def test_ocalls_at_an_edge_of_the_ecall_may_be_moved_out(before: int, after: int, where: str) -> None:
    made = Making()
    for _ in range(20):
        made.ecall(1)
        made.now += before
        made.whole_ocall(7, 100_000)
        made.now += after
        made.ecall_returns()
        made.now += 1_000_000
    found = [advice for advice in advise(made.profile) if advice.rule == "reorder"]
    assert [advice.subject for advice in found] == (["OCALL 7"] if where else [])
    assert all(f"made at its {where}" in advice.text for advice in found)


@pytest.mark.parametrize(
    ("evictions", "reloads", "told"),
    [(160, 16, True), (161, 16, False), (15, 15, False), (16, 16, True), (500, 0, False)],
)
def test_an_epc_that_is_too_small(evictions: int, reloads: int, told: bool) -> None:
    made = Making()
    made.event("enclave_initialised", eid=1, mrenclave="ab" * 32, mrsigner="", pages=1_000)
    for number in range(evictions):
        made.event("page_evicted", eid=1, address=number << 12)
    for number in range(reloads):
        made.event("page_reloaded", eid=1, address=number << 12)
    assert (("epc", "enclave abababababab") in rules(made)) is told


def test_what_concerns_most_transitions_comes_first() -> None:
    made = Making()
    for number in range(200):
        made.whole_ecall(1 if number % 4 else 2, 10)
        made.now += 1_000_000
    assert [advice.subject for advice in advise(made.profile) if advice.rule == "short"] == [
        "ECALL 1 work1",
        "ECALL 2 work2",
    ]
