"""What is counted of a trace, and how it is shown."""

from __future__ import annotations

import json
import random
import re

import pytest

from enclu.trace.profile import page, report
from enclu.trace.profile.durations import Durations
from enclu.trace.profile.measure import CallStats, Profile
from tests.trace.traces import TCS, Making


def stats(profile: Profile, name: str) -> CallStats:
    return next(stats for key, stats in profile.calls.items() if str(key) == name)


def callers(profile: Profile, name: str) -> dict[str, int]:
    return {str(key): count for key, count in stats(profile, name).callers.items()}


def test_an_ecall_takes_what_it_takes_without_its_ocalls() -> None:
    made = Making()
    made.ecall(1)
    made.now += 300
    made.whole_ocall(7, 5_000)
    made.now += 200
    made.ecall_returns()
    outer, inner = stats(made.profile, "ECALL 1 work1"), stats(made.profile, "OCALL 7")
    assert (outer.durations.total, outer.own.total) == (5_500, 500)
    assert (inner.durations.total, inner.own.total) == (5_000, 5_000)
    assert made.profile.inside == 500 and made.profile.nanoseconds == 5_500


def test_who_calls_whom_is_known_through_nested_calls() -> None:
    made = Making()
    for _ in range(2):
        made.ecall(1)
        made.ocall(7)
        made.whole_ecall(2, 10)
        made.whole_ecall(2, 10)
        made.ocall_returns()
        made.ecall_returns()
    assert callers(made.profile, "ECALL 1 work1") == {"None": 2}
    assert callers(made.profile, "OCALL 7") == {"ECALL 1 work1": 2}
    assert callers(made.profile, "ECALL 2 work2") == {"OCALL 7": 4}
    assert [tuple(edge) for edge in report.edges(made.profile)] == [
        ("OCALL 7", "ECALL 2 work2", 4), ("ECALL 1 work1", "OCALL 7", 2), ("program", "ECALL 1 work1", 2),
    ]  # fmt: skip


def test_an_aex_belongs_to_the_call_that_it_interrupts() -> None:
    made = Making()
    made.ecall(1)
    made.aex()
    made.leaf("ERESUME")
    made.ocall(7)
    made.whole_ecall(2, 10)
    made.ocall_returns()
    made.aex(-1)
    made.leaf("ERESUME")
    made.ecall_returns()
    profile = made.profile
    assert stats(profile, "ECALL 1 work1").aexs == 2 and stats(profile, "ECALL 2 work2").aexs == 0
    assert report.aexs(profile) == {"#PF": 1, "interrupt": 1}
    assert profile.transitions == 3 + 3 + 2 + 2
    assert sum(stats.transitions for stats in profile.calls.values()) == profile.transitions


def test_a_call_that_is_given_up_has_no_duration() -> None:
    made = Making()
    made.ecall(1)
    made.now += 100
    made.aex(6)
    made.ecall(1)
    made.now += 10
    made.ecall_returns()
    made.ecall(1)
    made.event("thread_gone")
    found = stats(made.profile, "ECALL 1 work1")
    assert (found.durations.count, found.durations.total, found.unfinished, found.calls) == (1, 10, 2, 3)


def test_what_is_open_at_the_end_has_no_duration() -> None:
    made = Making()
    made.ecall(1)
    made.ocall(7)
    made.now += 10
    assert stats(made.profile, "ECALL 1 work1").unfinished == stats(made.profile, "OCALL 7").unfinished == 1


def test_without_a_convention_there_are_entries() -> None:
    made = Making()
    made.leaf("EENTER")
    made.now += 70
    made.leaf("EEXIT")
    assert stats(made.profile, "entry").durations.total == 70


def test_a_number_that_only_the_return_tells_is_taken() -> None:
    made = Making()
    made.leaf("EENTER", {"kind": "ecall"})
    made.leaf("EEXIT", {"kind": "ecall_return", "number": 9})
    assert stats(made.profile, "ECALL 9").durations.count == 1


def test_threads_and_enclaves_are_kept_apart() -> None:
    made = Making()
    made.ecall(1)
    made.ecall(1, tid=3, tcs=TCS + 1)
    made.now += 50
    made.ecall_returns()
    made.now += 50
    made.ecall_returns(tid=3, tcs=TCS + 1)
    made.event("enclave_initialised", eid=2, mrenclave="ab" * 32, mrsigner="", pages=3)
    made.ecall(1, eid=2)
    made.ecall_returns(eid=2)
    profile = made.profile
    assert sorted(found.durations.total for found in profile.calls.values()) == [0, 150]
    assert {report.label(profile, key) for key in profile.calls} == {
        "ECALL 1 work1 of 1",
        "ECALL 1 work1 of abababababab",
    }


def test_a_clock_that_goes_back_does_no_harm() -> None:
    made = Making()
    made.ecall(1)
    made.now -= 500
    made.ecall_returns()
    assert stats(made.profile, "ECALL 1 work1").durations.total == 0 and made.profile.nanoseconds == 0


def test_paging_is_counted_for_each_enclave() -> None:
    made = Making()
    made.event("enclave_initialised", eid=1, mrenclave="cd" * 32, mrsigner="", pages=100)
    for address in 0x1000, 0x2000, 0x3000:
        made.event("page_evicted", eid=1, address=address)
    for _ in range(2):
        made.event("page_reloaded", eid=1, address=0x1000)
        made.event("page_evicted", eid=1, address=0x1000)
    made.event("fault_resolved", eid=1, address=0x9000, how="augmented")
    paging = made.profile.paging["cdcdcdcdcdcd"]
    assert (paging.initial, paging.most, paging.augmented) == (100, 100, 1)
    assert (paging.evictions, paging.reloads, len(paging.came_back)) == (5, 2, 1)


def test_percentiles_are_exact_to_one_percent() -> None:
    random.seed(7)
    values = [int(random.lognormvariate(10, 3)) for _ in range(5_000)]
    durations = Durations()
    for value in values:
        durations.add(value)
    values.sort()
    for percent in (1, 50, 95, 99, 100):
        exact = values[max(-(-len(values) * percent // 100) - 1, 0)]
        assert exact * 0.99 <= durations.percentile(percent) <= exact
    assert durations.longest == values[-1] and durations.below[0] == sum(value < 1_000 for value in values)
    assert len(durations._buckets) < 3_000 and Durations().percentile(50) == 0


@pytest.mark.parametrize(
    ("ns", "shown"),
    [(0, "0 ns"), (999, "999 ns"), (1_234, "1.23 us"), (12_345_678, "12.3 ms"), (5_000_000_000, "5 s"),
     (12_345_000_000_000, "12,345 s")],
)  # fmt: skip
def test_times_are_shown_with_their_unit(ns: int, shown: str) -> None:
    assert report.span(ns) == shown


def busy() -> Making:
    made = Making()
    made.event("enclave_initialised", eid=1, mrenclave="ef" * 32, mrsigner="", pages=100)
    for _ in range(50):
        made.whole_ecall(3, 400)
        made.now += 100
    return made


def test_text_has_calls_edges_pages_and_advice() -> None:
    text = report.as_text(busy().profile)
    for words in (
        "app <b>, under vdso",
        "ECALL 3 work3     50",
        "100.0%",
        "program  ECALL 3 work3",
        "efefefefefef",
        "1. ECALL 3",
    ):
        assert words in text
    assert "No advice" in report.as_text(Making().profile)


def test_json_has_every_figure() -> None:
    found = json.loads(json.dumps(report.as_json(busy().profile)))
    (call,) = found["calls"]
    assert (call["kind"], call["number"], call["name"], call["calls"], call["total"]) == (
        "ecall",
        3,
        "work3",
        50,
        20_000,
    )
    assert call["percentiles"]["50"] == 400 and call["share"] == 1.0 and call["enclave"] == "efefefefefef"
    assert found["edges"] == [{"caller": "program", "callee": "ECALL 3 work3", "calls": 50}]
    assert found["paging"]["efefefefefef"]["initial"] == 100 and found["enclu_profile"] == report.VERSION
    assert {advice["rule"] for advice in found["advice"]} >= {"short", "batch"}


def test_the_page_needs_nothing_else_and_quotes_names() -> None:
    made = busy()
    made.leaf("EENTER", {"kind": "ecall", "number": 9, "name": "<script>alert(1)</script>"})
    made.ecall_returns()
    text = page.render(made.profile)
    assert "<script" not in text and "&lt;script&gt;" in text and "app &lt;b&gt;" in text
    assert not re.search(r"https?://|src=|<link|@import|url\(", text)
    assert "ECALL 3 work3" in text and "efefefefefef" in text


def test_calls_of_which_leaves_are_missing_have_no_duration() -> None:
    made = Making()
    made.ecall(1)
    made.event("leaves_lost", count=7)
    made.now += 100
    made.ecall_returns()
    made.whole_ecall(1, 5)
    found = stats(made.profile, "ECALL 1 work1")
    assert (found.durations.count, found.unfinished, found.durations.total) == (1, 1, 5)
    assert "lacks 7 leaves" in report.as_text(made.profile) and "lacks 7 leaves" in page.render(made.profile)


def test_texts_of_a_trace_are_shown_as_characters() -> None:
    made = Making()
    made.lines[0] = {**made.lines[0], "command": ["\udcff\x1b"], "delivery": "\udcfe"}
    made.event("enclave_initialised", eid=1, mrenclave="\udcfd", mrsigner="", pages=1)
    for _ in range(20):
        made.leaf("EENTER", {"kind": "ecall", "number": 1, "name": "\udcfc\x1b"})
        made.ecall_returns()
    for text in report.as_text(made.profile), page.render(made.profile), json.dumps(report.as_json(made.profile)):
        assert text.encode() and "\x1b" not in text
