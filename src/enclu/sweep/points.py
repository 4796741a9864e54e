"""At which instructions of a call a host is tried."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from enclu.host.errors import HostError

ALL, FUNCTIONS, WINDOW = "all", "functions", "window"
AROUND = 48
"""Instructions before and behind each border of the enclave that WINDOW has."""
_RANGE = re.compile(r"(\d+)(?::(\d+))?")


class PointsError(HostError):
    """There are no such points."""


def chosen(where: str, rips: Sequence[int], entries: Sequence[int] = (0,)) -> list[int]:
    """Numbers of instructions, of a call that executes these and enters the enclave there, in order.

    Raises PointsError.

    `all` of them; `functions`: each address when it is first executed; `window`: around each EENTER and EEXIT, where
    enclaves are in between the host's state and their own; or ranges, from the first on and up to before the last:
    `0:40,411:546,700`.
    """
    if where == ALL:
        return list(range(len(rips)))
    if where == FUNCTIONS:
        first: dict[int, int] = {}
        for number, rip in enumerate(rips):
            first.setdefault(rip, number)
        return sorted(first.values())
    if where == WINDOW:
        borders = [*entries, len(rips)]
        near = {n for border in borders for n in range(border - AROUND, border + AROUND)}
        return sorted(n for n in near if 0 <= n < len(rips))
    inside = sorted({n for part in _ranges(where) for n in part[: len(rips)] if n < len(rips)})
    if not inside:
        raise PointsError(f"{where}: the call executes {len(rips)} instructions, none of them there")
    return inside


def check(where: str) -> None:
    """Raises PointsError for what is none of these, whatever the call."""
    if where not in (ALL, FUNCTIONS, WINDOW):
        _ranges(where)


def _ranges(where: str) -> list[range]:
    found = []
    for part in where.split(","):
        match = _RANGE.fullmatch(part.strip())
        if match is None:
            raise PointsError(f"{part!r} is no range of instructions: {ALL}, {FUNCTIONS}, {WINDOW}, or 0:40,411:546")
        start = int(match[1])
        found.append(range(start, int(match[2]) if match[2] else start + 1))
    return found


def runs(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """First and last of those that follow each other; they come in order."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and found[-1][1] + 1 == number:
            found[-1] = found[-1][0], number
        else:
            found.append((number, number))
    return found


def sliced(points: Sequence[int], count: int) -> list[list[int]]:
    """The points in so many parts, contiguous and about as large; fewer parts if there are fewer points."""
    count = max(1, min(count, len(points)))
    size, more = divmod(len(points), count)
    parts, at = [], 0
    for number in range(count):
        end = at + size + (number < more)
        parts.append(list(points[at:end]))
        at = end
    return parts
