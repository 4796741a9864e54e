"""What entering and exceptions cost under each design, measured by one program, as ratios against `signal`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from enclu.compare import CompareError
from enclu.compare.runner import enclu

YARDSTICK = "signal"
ROUNDS = 3
TIMEOUT = 120


@dataclass(frozen=True)
class Cost:
    """Microseconds on this machine, and how many times the yardstick's they are."""

    entry: float
    """An ECALL that does nothing."""
    exception: float
    """How much longer one takes that ends with an exception."""
    entry_ratio: float
    exception_ratio: float


def measure(program: Path, designs: list[str], done: Callable[[], None] = lambda: None) -> dict[str, Cost]:
    """One program at a time; of several rounds the best counts, as others use the machine, too.

    Raises CompareError if the program fails.
    """
    measured: dict[str, list[tuple[float, float]]] = {}
    for _ in range(ROUNDS):
        for design in dict.fromkeys((YARDSTICK, *designs)):
            measured.setdefault(design, []).append(_once(program, design))
            done()
    best = {d: tuple(min(column) for column in zip(*rounds, strict=True)) for d, rounds in measured.items()}
    times = {d: (entry, both - entry) for d, (entry, both) in best.items()}
    entry, exception = times[YARDSTICK]
    return {d: Cost(*times[d], times[d][0] / entry, times[d][1] / exception) for d in designs}


def rounds(designs: list[str]) -> int:
    """How often `measure` will call `done`."""
    return ROUNDS * len({YARDSTICK, *designs})


def _once(program: Path, design: str) -> tuple[float, float]:
    status, stdout, stderr = enclu(("run", "--delivery", design, str(program)), TIMEOUT)
    try:
        result = json.loads(stdout)
        return result["entry"], result["exception"]
    except (ValueError, KeyError, TypeError):
        raise CompareError(
            f"measuring {design} failed, status {status}:\n{(stderr or stdout).strip() or 'no output'}"
        ) from None
