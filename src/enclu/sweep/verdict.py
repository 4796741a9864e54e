"""What a sweep has found: points with their outcomes, as ranges of instructions, and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from enclu.host.errors import HostError
from enclu.sweep.behaviour import Behaviour, BehaviourError
from enclu.sweep.outcome import Kind, Outcome, Point

FORMAT = 1
"""Of the JSON."""
HARMLESS = frozenset((Kind.SAME, Kind.REFUSED, Kind.LEFT, Kind.CHANGED))


class VerdictError(HostError):
    """A file has no verdict, or verdicts are not of the same sweep."""


def options(
    *, rsp: int | str | None, warm: int, delivery: str, exinfo: bool = False, ocalls: str | None = None,
    usual_warm: int = 1,
) -> str:  # fmt: skip
    """`Verdict.options`."""
    given = {
        "--delivery": delivery if delivery != "vdso" else None, "--exinfo": "" if exinfo else None, "--ocalls": ocalls,
        "--rsp": hex(rsp) if isinstance(rsp, int) else rsp, "--warm": str(warm) if warm != usual_warm else None,
    }  # fmt: skip
    return " ".join(f"{name} {value}".strip() for name, value in given.items() if value is not None)


@dataclass(frozen=True)
class Range:
    """Neighbouring points with the same outcome."""

    first: int
    last: int
    count: int
    outcome: Outcome


@dataclass
class Verdict:
    """Of one call and one behaviour of its host."""

    image: str
    call: str
    behaviour: str
    causable: bool
    """A host can bring the event about; else it is forged."""
    rips: list[int]
    """Of the undisturbed call, from ELRANGE's base."""
    reference: str
    """What the undisturbed call returns."""
    unlike: str = ""
    """How two undisturbed calls have differed: then outcomes say less."""
    drawn: int = 0
    longer: bool = False
    """The call executes more instructions than `rips` are known of."""
    where: str = ""
    """Which points were to be tried, as `enclu sweep --where` has it."""
    wanted: int = 0
    """Points that were to be tried."""
    points: dict[int, Outcome] = field(default_factory=dict)
    """By the number of instructions that had been executed."""
    parts: tuple[int, ...] = (1,)
    """Which of the sweep's slices it is of, in order, counted from 1."""
    count: int = 1
    """How many slices the sweep has."""
    options: str = ""
    """What else the host does, and how the enclave was loaded: options of `enclu sweep`, but for the usual."""

    def add(self, point: Point) -> None:
        """One more.  Where the call has come to another instruction than the first time, `unlike` says so."""
        if point.number < len(self.rips) and self.rips[point.number] != point.rip:
            self.unlike = self.unlike or f"instruction {point.number} is another one than the first time"
        self.points[point.number] = point.outcome

    @property
    def complete(self) -> bool:
        """All points of its parts have been tried."""
        return len(self.points) >= self.wanted

    @property
    def whole(self) -> bool:
        """All points have been tried, of all parts of the sweep."""
        return self.complete and not self.missing

    @property
    def missing(self) -> list[int]:
        """Parts of the sweep that it is not of."""
        return sorted(set(range(1, self.count + 1)) - set(self.parts))

    @property
    def harmless(self) -> bool:
        """Nothing has been found."""
        return all(outcome.kind in HARMLESS for outcome in self.points.values())

    @property
    def kinds(self) -> Counter[Kind]:
        return Counter(outcome.kind for outcome in self.points.values())

    @property
    def ranges(self) -> list[Range]:
        """In order.  Points that were not to be tried do not come in between."""
        ranges: list[Range] = []
        for number in sorted(self.points):
            outcome = self.points[number]
            if ranges and ranges[-1].outcome == outcome:
                before = ranges[-1]
                ranges[-1] = Range(before.first, number, before.count + 1, outcome)
            else:
                ranges.append(Range(number, number, 1, outcome))
        return ranges

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the same for the same verdict, in whatever order its points came."""
        outcomes = sorted(set(self.points.values()), key=lambda o: (o.kind, o.detail, o.answers))
        index = {outcome: number for number, outcome in enumerate(outcomes)}
        return {
            "program": "enclu sweep", "format": FORMAT, "image": self.image, "call": self.call,
            "behaviour": self.behaviour, "causable": self.causable, "instructions": len(self.rips), "rips": self.rips,
            "reference": self.reference, "unlike": self.unlike, "drawn": self.drawn, "longer": self.longer,
            "options": self.options, "where": self.where, "wanted": self.wanted, "slice": [*self.parts, self.count],
            "outcomes": [{"kind": o.kind, "detail": o.detail, "answers": list(o.answers)} for o in outcomes],
            "points": [[number, index[self.points[number]]] for number in sorted(self.points)],
        }  # fmt: skip

    @classmethod
    def of(cls, text: str) -> Verdict:
        """What `as_dict` has become.  Raises VerdictError."""
        one, *others = cls.several(text)
        if others:
            raise VerdictError("more than one verdict of enclu sweep")
        return one

    @classmethod
    def several(cls, text: str) -> list[Verdict]:
        """One for each behaviour of the host, as `--json` has them.  Raises VerdictError where there is none."""
        decoder, left = json.JSONDecoder(), text.strip()
        found: list[Verdict] = []
        try:
            while left or not found:
                value, end = decoder.raw_decode(left)
                found.append(cls._of(value))
                left = left[end:].lstrip()
        except (ValueError, RecursionError) as error:
            raise VerdictError(f"no verdict of enclu sweep: {error}") from None
        return found

    @classmethod
    def _of(cls, d: Any) -> Verdict:
        try:
            if d["program"] != "enclu sweep" or d["format"] != FORMAT:
                raise VerdictError("not the JSON of this version's enclu sweep")
            outcomes = [Outcome(Kind(o["kind"]), o["detail"], tuple(o["answers"])) for o in d["outcomes"]]
            points = {int(number): outcomes[index] for number, index in d["points"]}
            Behaviour.parse(d["behaviour"])
            *parts, count = map(int, d["slice"])
            if not parts or sorted(set(parts)) != parts or parts[0] < 1 or parts[-1] > count:
                raise VerdictError(f"no verdict of enclu sweep: {d['slice']} is no slice")
            return cls(
                d["image"], d["call"], d["behaviour"], d["causable"], [int(rip) for rip in d["rips"]], d["reference"],
                d["unlike"], d["drawn"], d["longer"], d["where"], d["wanted"], points, tuple(parts), count,
                d["options"],
            )  # fmt: skip
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, BehaviourError) as error:
            raise VerdictError(f"no verdict of enclu sweep: {error}") from None

    def take(self, other: Verdict) -> None:
        """What has been found of the same sweep elsewhere.  Raises VerdictError where it is of another."""
        for name in ("call", "behaviour", "options", "rips"):
            if getattr(self, name) != getattr(other, name):
                raise VerdictError(f"{name} differs: not slices of the same sweep")
        self.points = self.points | other.points
        self.unlike = min(filter(None, (self.unlike, other.unlike)), default="")  # in whatever order they come
        self.drawn = max(self.drawn, other.drawn)


def merged(verdicts: Sequence[Verdict]) -> Verdict:
    """The verdict of several slices, in whatever order; of all of them, that of the whole sweep.

    Raises VerdictError where they are not of the same sweep, or have a slice in common.
    """
    first, *others = sorted(verdicts, key=lambda verdict: verdict.parts)
    one = replace(first)
    for other in others:
        if one.count != other.count:
            raise VerdictError(f"slices of {one.count} and of {other.count}: not slices of the same sweep")
        if one.where != other.where:
            raise VerdictError(f"slices of {one.where} and of {other.where}: not slices of the same sweep")
        twice = set(one.parts) & set(other.parts)
        if twice:
            raise VerdictError(f"slice {min(twice)}/{one.count} is there twice")
        one.take(other)
        one.wanted += other.wanted
        one.parts = tuple(sorted(one.parts + other.parts))
    if not one.missing:
        one.parts, one.count = (1,), 1
    return one


def merged_by_behaviour(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Slices of sweeps of one call: a verdict for each behaviour, in the order in which these come.

    Raises VerdictError as `merged` does.
    """
    behaviours = dict.fromkeys(verdict.behaviour for verdict in verdicts)
    if len({verdict.call for verdict in verdicts}) > 1:
        raise VerdictError("call differs: not slices of the same sweep")
    return [merged([v for v in verdicts if v.behaviour == behaviour]) for behaviour in behaviours]
