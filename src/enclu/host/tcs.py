"""The TCSes of an enclave: which can be entered, which nobody has, which will never be entered again.

A TCS moves from one holder to another within one call of a function in C, for an exception may break into any bytecode.
"""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Iterable


class TcsPool:
    """`every` are their addresses, all but the lost ones.  `free` are those that no call has, the next one last."""

    def __init__(self, addresses: Iterable[int]) -> None:
        self.every = list(addresses)
        self.free = self.every[::-1]
        self.lost: list[int] = []
        """Left interrupted, by an exception, a timeout or what broke into a call."""
        self._freed: queue.SimpleQueue[None] = queue.SimpleQueue()
        """Wakes who waits for a TCS."""

    def take(self, leased: list[int]) -> bool:
        """A free one goes to `leased`; False if there is none."""
        try:
            leased.extend(map(list.pop, (self.free,)))
        except IndexError:
            return False
        return True

    def await_free(self) -> None:
        """Until one comes back, or a second is over, in which others may have been lost."""
        with contextlib.suppress(queue.Empty):
            self._freed.get(timeout=1)

    def wake(self) -> None:
        """Somebody who waits is to look again."""
        self._freed.put(None)

    def give_back(self, leased: list[int]) -> None:
        """What a call held, but for those that are lost.  May be broken into, and called again."""
        while leased:
            if leased[-1] in self.every:
                self.free.extend(map(list.pop, (leased,)))
            else:
                leased.pop()
        if self._freed.empty():
            self.wake()

    def add(self, tcs: int) -> None:
        """One that the enclave has made at run time."""
        self.every.append(tcs)
        self.free.append(tcs)

    def abandon(self, tcs: int) -> None:
        """Never enter this one again."""
        if tcs not in self.lost:
            self.lost.append(tcs)
        with contextlib.suppress(ValueError):
            self.every.remove(tcs)
