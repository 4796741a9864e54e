"""How long calls took: counts of durations, each exact to 1 %, in memory that does not grow with the trace."""

from __future__ import annotations

BOUNDS = (1_000, 5_000, 10_000)
"""Nanoseconds below which calls are counted exactly."""
_BITS = 8
"""Of a duration that are kept."""


class Durations:
    """In nanoseconds."""

    __slots__ = ("_buckets", "below", "count", "longest", "total")

    def __init__(self) -> None:
        self.count = self.total = self.longest = 0
        self.below = [0] * len(BOUNDS)
        """How many were shorter than each of BOUNDS."""
        self._buckets: dict[int, int] = {}

    def add(self, ns: int) -> None:
        self.count += 1
        self.total += ns
        self.longest = max(self.longest, ns)
        for at, bound in enumerate(BOUNDS):
            self.below[at] += ns < bound
        shift = max(ns.bit_length() - _BITS, 0)
        bucket = ns >> shift << shift
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1

    def percentile(self, percent: float) -> int:
        """So many percent are not longer; 0 if there are none."""
        left = self.count * percent / 100
        for bucket in sorted(self._buckets):
            left -= self._buckets[bucket]
            if left <= 0:
                return bucket
        return 0
