"""Faults that go through memory in order, and how many pages come with the next one.

What mm/readahead.c does for files and swap_vma_readahead() in mm/swap_state.c for swapped pages: one page at first, and
twice as many with each fault that comes where the pages of the last one ended.
"""

from __future__ import annotations

SEQUENCES = 8
"""Places that are remembered: as many threads may go through one mapping at once."""


class Ahead:
    """Of one mapping.  Pages go by their index."""

    __slots__ = ("_expected",)

    def __init__(self) -> None:
        self._expected: dict[int, int] = {}
        """Where the pages of a fault ended, and how many they were."""

    def wanted(self, index: int, most: int) -> int:
        """Pages that should come with a fault at `index`, itself included; 1 where nobody expected it there."""
        return min(max(1, 2 * self._expected.pop(index, 0)), most)

    def came(self, end: int, count: int) -> None:
        """`count` pages came, the last of them before `end`."""
        self._expected[end] = count
        if len(self._expected) > SEQUENCES:
            del self._expected[next(iter(self._expected))]
