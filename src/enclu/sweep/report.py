"""A verdict, for people."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from enclu.host.errors import HostError
from enclu.host.images import open_image
from enclu.host.places import Places
from enclu.sweep.behaviour import Behaviour
from enclu.sweep.outcome import Kind
from enclu.sweep.points import runs
from enclu.sweep.verdict import Range, Verdict

SHOWN = 40
"""Ranges of one kind that are told one by one; JSON and the page have all."""
Where = Callable[[int], str]
"""What is at an offset from ELRANGE's base."""


def where_of(image: str) -> Where:
    """By the symbols of the image, as far as it has any."""
    try:
        places = Places.of(open_image(image))
    except HostError:
        return hex
    return lambda rip: str(places.at(rip))


def function_of(where: Where) -> Where:
    """The same without the offset from the symbol."""
    return lambda rip: where(rip).partition("+")[0]


def lines(verdict: Verdict, where: Where) -> Iterator[str]:
    """The text."""
    behaviour = Behaviour.parse(verdict.behaviour)
    causable = "which a host can bring about" if verdict.causable else "forged: no host can bring it about here"
    yield f"{verdict.image}: {verdict.call}" + (f"  {verdict.options}" if verdict.options else "")
    more = "more than " if verdict.longer else ""
    yield f"{more}{len(verdict.rips):,} instructions; undisturbed: {verdict.reference}"
    yield f"{verdict.behaviour}: {behaviour.described}, {causable}"
    if verdict.missing:
        yield partial(verdict)
    if not verdict.complete:
        yield f"stopped early: {len(verdict.points):,} of {verdict.wanted:,} instructions have been tried"
    if verdict.unlike:
        yield f"not deterministic: two undisturbed calls differ ({verdict.unlike}): outcomes say less"
    if verdict.drawn:
        yield f"not deterministic: {verdict.drawn} results of RDRAND and its like were drawn anew"
    yield ""
    for kind in Kind:
        found = [r for r in verdict.ranges if r.outcome.kind is kind]
        if not found:
            continue
        yield f"{sum(r.count for r in found):8,} {kind}"
        shown = found if kind is not Kind.SAME or any(r.outcome.answers for r in found) else []
        for r in shown[:SHOWN]:
            yield f"         {_numbers(r.first, r.last):>13}  {_place(r, verdict, where)}  {_said(r)}".rstrip()
        if len(shown) > SHOWN:
            yield f"         {len(shown) - SHOWN} more ranges: see --json or --html"


def partial(verdict: Verdict) -> str:
    """Which parts of the sweep there are, and which are missing."""
    parts, missing = _listed(verdict.parts), _listed(verdict.missing)
    which = "part" if len(verdict.parts) == 1 else "parts"
    return f"{which} {parts} of {verdict.count} only: {missing} {'is' if len(verdict.missing) == 1 else 'are'} missing"


def _listed(numbers: Sequence[int]) -> str:
    """In order, those that follow each other as ranges."""
    return ", ".join(_numbers(first, last) for first, last in runs(numbers))


def as_dict(verdict: Verdict, where: Where) -> dict[str, Any]:
    """For JSON: the verdict, and its ranges with their places."""
    ranges = [
        {
            "first": r.first, "last": r.last, "count": r.count, "kind": r.outcome.kind, "said": _said(r),
            "from": where(verdict.rips[r.first]), "to": where(verdict.rips[r.last]),
        }
        for r in verdict.ranges
    ]  # fmt: skip
    return verdict.as_dict() | {"ranges": ranges}


def rows(verdict: Verdict, where: Where) -> Iterator[tuple[str, str, str, str]]:
    """Instructions, outcome, place and what there is to say, of each range in order."""
    for r in verdict.ranges:
        yield _numbers(r.first, r.last), r.outcome.kind, _place(r, verdict, where), _said(r)


def _numbers(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"


def _place(r: Range, verdict: Verdict, where: Where) -> str:
    first = where(verdict.rips[r.first])
    if r.first == r.last:
        return first
    return f"{first} .. {where(verdict.rips[r.last])}"


def _said(r: Range) -> str:
    return "; ".join(part for part in (r.outcome.detail, *r.outcome.answers) if part)
