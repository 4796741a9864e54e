"""What a run comes to, to be compared with another of the same program: its status and its counters."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

HOW = ("in_process", "by_stops")
"""Counters of how transitions took place, which tracing and gdb change."""
OPTIONS = ("--quiet", "--stats=json")
"""Of `enclu run`, for `counters_of`."""
TRIES = 3
T = TypeVar("T")


def without_races(counters: dict[str, Any]) -> dict[str, Any]:
    """The counters without AEXs for page faults, and ERESUMEs after them.

    Of threads that touch a page for the first time, any number may have left the enclave before the page is shown.
    """
    aex, leaves = dict(counters["aex"]), dict(counters["leaves"])
    faults = aex.pop("#PF", 0)
    leaves["ERESUME"] = leaves.get("ERESUME", 0) - faults
    return {**counters, "aex": aex, "leaves": leaves, "entries": counters["entries"] - faults}


def counters_of(stderr: str, without: tuple[str, ...] = ()) -> tuple[dict[str, Any], str]:
    """The counters, without those of `HOW` and `without_races`, and what else was said."""
    lines = [line for line in stderr.splitlines() if "waiting for gdb" not in line]
    (counters,) = [line for line in lines if line.startswith("{")]
    found = without_races(json.loads(counters))
    found = {key: value for key, value in found.items() if key not in (*HOW, *without)}
    return found, "\n".join(line for line in lines if line != counters)


def agree(one: Callable[[], T], other: Callable[[], T]) -> None:
    """Both observe the same: of a program that differs from itself now and then, after some tries."""
    ones, others = list[T](), list[T]()
    for _ in range(TRIES):
        ones.append(one())
        others.append(other())
        if any(found in others for found in ones):
            return
    assert ones == others
