"""A profile for people, as text, and for programs, as JSON; docs/profile.md tells what its figures mean."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

from enclu import __version__
from enclu.base import console
from enclu.sgx.exceptions import Vector
from enclu.trace.profile.advice import advise
from enclu.trace.profile.measure import CallStats, Key, Profile

VERSION = 1
"""Of the JSON; another when a field is gone or means something else."""
PERCENTILES = (50, 95, 99)
_MOST_LINES = 40
"""Of a table in the text; JSON and HTML have all."""


class Edge(NamedTuple):
    """Who calls whom."""

    caller: str
    callee: str
    calls: int


def by_transitions(profile: Profile) -> list[tuple[Key, CallStats]]:
    """Calls, those with most transitions first."""
    return sorted(profile.calls.items(), key=lambda item: (-item[1].transitions, item[0].enclave, str(item[0])))


def edges(profile: Profile) -> list[Edge]:
    """The most frequent first."""
    found = [
        Edge(label(profile, caller) if caller is not None else "program", label(profile, key), count)
        for key, stats in profile.calls.items()
        for caller, count in stats.callers.items()
    ]
    return sorted(found, key=lambda edge: (-edge.calls, edge))


def label(profile: Profile, key: Key) -> str:
    """Its name, with the enclave's if there are several."""
    several = len({key.enclave for key in profile.calls}) > 1
    return console.printable(f"{key} of {key.enclave}" if several else str(key))


def share(stats: CallStats, profile: Profile) -> float:
    """Of the transitions."""
    return stats.transitions / profile.transitions if profile.transitions else 0.0


def span(ns: int) -> str:
    """A time for people."""
    for unit, size in ("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000):
        if ns >= size:
            return f"{ns / size:.3g} {unit}" if ns < 1000 * size else f"{ns / size:,.0f} {unit}"
    return f"{ns} ns"


def aexs(profile: Profile) -> dict[str, int]:
    """By what they were for."""
    return {_vector(vector): count for vector, count in profile.aexs.most_common()}


def as_json(profile: Profile) -> dict[str, Any]:
    """Plain values.  Times are nanoseconds."""
    return {
        "enclu_profile": VERSION, "enclu": __version__, "command": profile.command, "delivery": profile.delivery,
        "time": profile.nanoseconds, "inside": profile.inside, "transitions": profile.transitions, "lost": profile.lost,
        "leaves": dict(profile.leaves), "aexs": aexs(profile),
        "calls": [_call(profile, key, stats) for key, stats in by_transitions(profile)],
        "edges": [edge._asdict() for edge in edges(profile)],
        "paging": {
            enclave: {**dataclasses.asdict(paging), "came_back": len(paging.came_back)}
            for enclave, paging in profile.paging.items()
        },
        "advice": [dataclasses.asdict(advice) for advice in advise(profile)],
    }  # fmt: skip


def _call(profile: Profile, key: Key, stats: CallStats) -> dict[str, Any]:
    return {
        **key._asdict(), "calls": stats.calls, "unfinished": stats.unfinished, "total": stats.durations.total,
        "own": stats.own.total, "longest": stats.durations.longest,
        "percentiles": {str(percent): stats.durations.percentile(percent) for percent in PERCENTILES},
        "own_percentiles": {str(percent): stats.own.percentile(percent) for percent in PERCENTILES},
        "aexs": stats.aexs, "transitions": stats.transitions, "share": share(stats, profile),
    }  # fmt: skip


def as_text(profile: Profile) -> str:
    """Some tables, and what to do."""
    lines = [
        f"{console.printable(' '.join(profile.command))}, under {profile.delivery}",
        f"{span(profile.nanoseconds)}, {span(profile.inside)} of it in enclave mode (of all threads together); "
        f"{profile.transitions:,} transitions, {sum(profile.aexs.values()):,} of them AEXs"
        + "".join(f", {name} {count:,}" for name, count in aexs(profile).items()),
    ]
    if profile.lost:
        lines.append(f"the trace lacks {profile.lost:,} leaves (--lossy): calls that they belong to are not counted")
    calls = [row(profile, key, stats) for key, stats in by_transitions(profile)]
    lines += _table("Calls, by their transitions", HEADS, calls)
    called = [[edge.caller, edge.callee, f"{edge.calls:,}"] for edge in edges(profile)]
    lines += _table("Who calls whom", ("", "calls", "times"), called, texts=2)
    paging = [
        [enclave, *(f"{number:,}" for number in (found.enclaves, found.initial, found.most, found.augmented,
                                                 found.evictions, found.reloads, len(found.came_back)))]
        for enclave, found in profile.paging.items()
    ]  # fmt: skip
    lines += _table("Pages of enclaves", PAGING_HEADS, paging)
    advice = advise(profile)
    lines += ["", "Advice" if advice else "No advice: nothing is beyond its threshold (docs/profile.md)"]
    for number, one in enumerate(advice, 1):
        lines += [f"{number:3}. {console.printable(one.subject)}: {console.printable(one.text)}"]
        lines += [f"     {one.figures}"]
    return "\n".join(lines) + "\n"


HEADS = ("", "calls", "total", "own", "median", "95 %", "99 %", "longest", "AEXs", "transitions")
PAGING_HEADS = ("enclave", "enclaves", "initial", "most in EPC", "augmented", "evictions", "reloads", "came back")


def row(profile: Profile, key: Key, stats: CallStats) -> list[str]:
    """Of a call, as HEADS has it."""
    took = stats.durations
    times = (took.total, stats.own.total, *(took.percentile(percent) for percent in PERCENTILES), took.longest)
    return [
        label(profile, key), f"{stats.calls:,}", *(span(ns) if took.count else "-" for ns in times), f"{stats.aexs:,}",
        f"{share(stats, profile):.1%}",
    ]  # fmt: skip


def _table(title: str, heads: tuple[str, ...], rows: list[list[str]], texts: int = 1) -> list[str]:
    """The first columns are texts, others are numbers."""
    if not rows:
        return []
    shown = rows[:_MOST_LINES]
    widths = [max(len(line[at]) for line in [list(heads), *shown]) for at in range(len(heads))]
    lines = [
        "  ".join(cell.ljust(width) if at < texts else cell.rjust(width)
                  for at, (cell, width) in enumerate(zip(line, widths, strict=True))).rstrip()
        for line in [list(heads), *shown]
    ]  # fmt: skip
    more = [f"... and {len(rows) - len(shown)} more"] if len(rows) > len(shown) else []
    return ["", title, *lines, *more]


def _vector(vector: int) -> str:
    if vector < 0:
        return "interrupt"
    try:
        return f"#{Vector(vector).name}"
    except ValueError:
        return str(vector)
