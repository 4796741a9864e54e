"""What one thread at a time does, and what threads wait for, where an exception may break into any bytecode.

The locks of `threading` can stay locked for ever when KeyboardInterrupt comes between their acquisition and the body of
the `with`.  Here, a token moves from a queue to its holder, or back, within one call of a function in C; what a holder
still has when its call is over goes back with the rest.
"""

from __future__ import annotations

import contextlib
import queue


class Event:
    """A counter that sleepers take from."""

    def __init__(self) -> None:
        self._tokens: queue.SimpleQueue[None] = queue.SimpleQueue()

    def wait(self, timeout: float | None = None) -> bool:
        """Until it is greater than zero, and one less; False if the time, in seconds, is over before."""
        with contextlib.suppress(queue.Empty):
            self._tokens.get(timeout=timeout)
            return True
        return False

    def wake(self) -> None:
        """One more."""
        self._tokens.put(None)


class Guard:
    """At most one holder has it."""

    def __init__(self) -> None:
        self._free: queue.SimpleQueue[Guard] = queue.SimpleQueue()
        self._free.put(self)

    def hold(self, tokens: list[Guard]) -> Holding:
        """For the length of a `with`.  `tokens` are those of the holder."""
        return Holding(self, tokens)

    def take(self, tokens: list[Guard]) -> None:
        tokens.extend(map(queue.SimpleQueue.get, (self._free,)))

    def give_back(self, tokens: list[Guard]) -> None:
        """The last of the tokens, which is this one."""
        any(map(queue.SimpleQueue.put, (self._free,), map(list.pop, (tokens,))))


def give_back(tokens: list[Guard]) -> None:
    """All that a holder has.  May be broken into, and called again."""
    while tokens:
        tokens[-1].give_back(tokens)


class Holding:
    def __init__(self, guard: Guard, tokens: list[Guard]) -> None:
        self._guard, self._tokens = guard, tokens

    def __enter__(self) -> None:
        self._guard.take(self._tokens)

    def __exit__(self, *error: object) -> None:
        self._guard.give_back(self._tokens)
