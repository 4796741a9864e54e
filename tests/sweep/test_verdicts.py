"""What has become of calls, and verdicts on them: judged, told, put together."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclu.sweep import report
from enclu.sweep.outcome import Kind, Outcome, Point, Run, judge, shown
from enclu.sweep.points import sliced
from enclu.sweep.verdict import HARMLESS, Verdict, VerdictError, merged

BLOCK = 0x1000
REFERENCE = Run(result=0, shown="0x0", ocalls=[5], memory={BLOCK: b"abcd"})
CHANGED = Run(result=0, ocalls=[5], memory={BLOCK: b"aXcd"})
OUTCOMES = st.builds(
    Outcome, st.sampled_from(list(Kind)), st.sampled_from(["", "result 0x1 in place of 0x0"]),
    st.sampled_from([(), ("handler: accepted",)]),
)  # fmt: skip


def run(**changes: Any) -> Run:
    return dataclasses.replace(REFERENCE, **changes)


def verdict(outcomes: dict[int, Outcome], **changes: Any) -> Verdict:
    fields: dict[str, Any] = {
        "image": "/enclave.elf", "call": "f(1)", "behaviour": "pf:handle,resume", "causable": True,
        "rips": [0x1000 + 4 * n for n in range(100)], "reference": "result 0x0, 1 OCALLs", "wanted": len(outcomes),
        "points": outcomes,
    }  # fmt: skip
    return Verdict(**fields | changes)


NO_SLICES: list[list[int]] = [[], [1], [0, 2], [3, 2], [2, 1, 2], [1, 1, 2]]
VERDICTS = st.dictionaries(st.integers(0, 99), OUTCOMES).map(verdict)


@pytest.mark.parametrize(
    ("tried", "kind"),
    [
        (run(), Kind.SAME),
        (run(memory={BLOCK: b"aXcd"}), Kind.CHANGED),
        (run(refused=True), Kind.REFUSED),
        (run(result=3, refusal="SGX_ERROR_UNEXPECTED"), Kind.REFUSED),
        (run(ended=Kind.LEFT), Kind.LEFT),
        (run(ended=Kind.CRASH, note="#GP"), Kind.CRASH),
        (run(ended=Kind.HANG), Kind.HANG),
        (run(result=1), Kind.DIFFERENT),
        (run(ocalls=[5, 5]), Kind.DIFFERENT),
        (run(memory={BLOCK: b"aYcd"}), Kind.DIFFERENT),
    ],
)
def test_the_outcome_is_told_by_the_undisturbed_call(tried: Run, kind: Kind) -> None:
    assert judge(tried, REFERENCE, CHANGED, {}).kind is kind


@pytest.mark.parametrize(
    ("tried", "detail"),
    [
        (run(result=1, shown="0x1"), "result 0x1 in place of 0x0"),
        (run(ocalls=[]), "OCALLs [] in place of [5]"),
        (run(memory={BLOCK: b"abcX"}), "shared memory 0+3"),
    ],
)
def test_what_is_different_is_told(tried: Run, detail: str) -> None:
    assert judge(tried, REFERENCE, None, {}).detail == detail


def test_what_the_host_has_written_itself_is_no_difference() -> None:
    assert judge(run(memory={BLOCK: b"aXcd"}), REFERENCE, None, {BLOCK: [range(1, 2)]}).kind is Kind.SAME
    assert judge(run(memory={BLOCK: b"aXYd"}), REFERENCE, None, {BLOCK: [range(1, 2)]}).kind is Kind.DIFFERENT


@pytest.mark.parametrize("ended", [Kind.CRASH, Kind.HANG, Kind.HARMED])
def test_a_call_that_does_not_return_with_its_memory_changed_says_nothing(ended: Kind) -> None:
    changed = Run(result=0, ended=ended)
    assert judge(run(memory={BLOCK: b"aXcd"}), REFERENCE, changed, {}).kind is Kind.DIFFERENT


@given(VERDICTS)
def test_json_and_back(one: Verdict) -> None:
    text = json.dumps(one.as_dict())
    assert Verdict.of(text) == one
    assert json.dumps(Verdict.of(text).as_dict()) == text


@given(VERDICTS, st.integers(1, 9), st.randoms())
def test_parts_in_any_order_are_the_whole(one: Verdict, count: int, random: Any) -> None:
    parts = parts_of(one, count)
    some = random.sample(parts, random.randint(1, len(parts)))
    others = [part for part in parts if part not in some]
    random.shuffle(parts)
    assert json.dumps(merged(parts).as_dict()) == json.dumps(one.as_dict())
    by_steps = merged([merged(some), *others])
    assert json.dumps(by_steps.as_dict()) == json.dumps(one.as_dict())


def parts_of(one: Verdict, count: int) -> list[Verdict]:
    """Slices, as that many machines would have them."""
    slices = sliced(sorted(one.points), count)
    slices += [[]] * (count - len(slices))
    return [
        dataclasses.replace(one, points={n: one.points[n] for n in part}, wanted=len(part), parts=(i,), count=count)
        for i, part in enumerate(slices, 1)
    ]


@given(VERDICTS, st.integers(2, 9), st.randoms())
def test_parts_that_are_missing_are_known(one: Verdict, count: int, random: Any) -> None:
    parts = parts_of(one, count)
    there = random.sample(parts, random.randint(1, count - 1))
    both = merged(there)
    numbers = sorted(part.parts[0] for part in there)
    assert (list(both.parts), both.count, both.whole) == (numbers, count, False)
    assert both.missing == sorted(set(range(1, count + 1)) - set(numbers)) and both.complete
    assert Verdict.of(json.dumps(both.as_dict())) == both
    assert both.as_dict()["slice"] == [*numbers, count]
    assert merged(there[::-1]).as_dict() == both.as_dict()


def test_what_parts_say_of_differences_does_not_depend_on_their_order() -> None:
    parts = [dataclasses.replace(part, unlike=f"x{part.parts[0] % 3}") for part in parts_of(verdict({}), 3)]
    assert merged(parts).as_dict() == merged(parts[::-1]).as_dict()


@pytest.mark.parametrize(
    ("slices", "message"),
    [
        ([(1, 2), (1, 2)], "slice 1/2 is there twice"),
        ([(1, 1), (1, 1)], "slice 1/1 is there twice"),
        ([(1, 2), (2, 3)], "slices of 2 and of 3: not slices of the same sweep"),
    ],
)
def test_parts_that_do_not_fit_are_refused(slices: list[tuple[int, int]], message: str) -> None:
    with pytest.raises(VerdictError, match=message):
        merged([verdict({}, parts=(part,), count=count) for part, count in slices])


def test_parts_with_other_points_are_refused() -> None:
    with pytest.raises(VerdictError, match=r"slices of all and of 0:40: not slices of the same sweep"):
        merged([verdict({}, count=2, where="all"), verdict({}, parts=(2,), count=2, where="0:40")])


def test_people_are_told_which_parts_are_missing() -> None:
    one = verdict({1: Outcome(Kind.SAME)}, parts=(1, 3, 4, 5), count=7)
    assert list(report.lines(one, hex))[3] == "parts 1, 3-5 of 7 only: 2, 6-7 are missing"
    one = verdict({1: Outcome(Kind.SAME)}, parts=(2,), count=2)
    assert list(report.lines(one, hex))[3] == "part 2 of 2 only: 1 is missing"


@pytest.mark.parametrize("change", [{"call": "g()"}, {"behaviour": "int:resume"}, {"rips": [1, 2, 3]}])
def test_parts_of_different_sweeps_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(VerdictError, match=f"{next(iter(change))} differs: not slices of the same sweep"):
        merged([verdict({}, count=2), verdict({}, parts=(2,), count=2, **change)])


@pytest.mark.parametrize(
    "text", ["", "[]", "[" * 100_000, json.dumps(verdict({}).as_dict()) + "\n{}",
             "{}", '{"program": "enclu audit", "format": 1}', '{"program": "enclu sweep", "format": 0}',
             json.dumps(verdict({}).as_dict() | {"points": [[1, 5]]}),
             json.dumps(verdict({}).as_dict() | {"behaviour": "nonsense"}),
             *(json.dumps(verdict({}).as_dict() | {"slice": s}) for s in NO_SLICES),
             json.dumps(verdict({}).as_dict() | {"behaviour": 5})],
)  # fmt: skip
def test_what_is_no_verdict_is_refused(text: str) -> None:
    with pytest.raises(VerdictError, match=r"verdict|version"):
        Verdict.of(text)


@pytest.mark.parametrize("kind", list(Kind))
def test_what_is_harmless(kind: Kind) -> None:
    assert verdict({1: Outcome(Kind.SAME), 2: Outcome(kind)}).harmless == (kind in HARMLESS)


def test_neighbours_with_the_same_outcome_are_a_range() -> None:
    same, crash = Outcome(Kind.SAME), Outcome(Kind.CRASH, "#GP")
    one = verdict({4: same, 5: same, 6: crash, 7: crash, 9: crash, 12: same})
    assert [(r.first, r.last, r.count, r.outcome) for r in one.ranges] == [
        (4, 5, 2, same), (6, 9, 3, crash), (12, 12, 1, same),
    ]  # fmt: skip


def test_another_instruction_than_the_first_time_is_told() -> None:
    one = verdict({}, wanted=1)
    one.add(Point(3, 0x9999, Outcome(Kind.SAME)))
    assert one.unlike == "instruction 3 is another one than the first time"


def test_people_are_told_ranges_with_places() -> None:
    crash = Outcome(Kind.CRASH, "#GP", ("handler: accepted",))
    one = verdict({1: Outcome(Kind.SAME), 2: crash, 3: crash}, wanted=5, behaviour="ud:handle,resume", causable=False)
    lines = list(report.lines(one, lambda rip: f"f+{rip - 0x1000:#x}"))
    assert lines == [
        "/enclave.elf: f(1)",
        "100 instructions; undisturbed: result 0x0, 1 OCALLs",
        "ud:handle,resume: #UD, invalid opcode, forged: no host can bring it about here",
        "stopped early: 3 of 5 instructions have been tried",
        "",
        "       1 same",
        "       2 crash",
        "                   2-3  f+0x8 .. f+0xc  #GP; handler: accepted",
    ]


def test_of_many_ranges_the_first_are_told() -> None:
    one = verdict({n: Outcome(Kind.CRASH, str(n)) for n in range(100)})
    assert list(report.lines(one, hex))[-1].strip() == f"{100 - report.SHOWN} more ranges: see --json or --html"


@pytest.mark.parametrize(
    ("result", "told"),
    [(5, "0x5"), (0x7F00_1234_5678, "ELRANGE+0x5678"), (0x1234_5678, "ELRANGE+0x5678"), (-1, "-0x1"), ("x", "'x'")],
)
def test_a_result_is_told_alike_wherever_the_enclave_is(result: object, told: str) -> None:
    assert shown(result, 0x7F00_1234_0000, 0x10000) == told


def test_slices_of_sweeps_with_other_options_are_not_merged() -> None:
    one, other = ({"parts": (1,), "options": ""}, {"parts": (2,), "options": "--rsp trusted"})
    parts = [verdict({1: Outcome(Kind.SAME)}, count=2, **which) for which in (one, other)]

    with pytest.raises(VerdictError, match="options differs"):
        merged(parts)
