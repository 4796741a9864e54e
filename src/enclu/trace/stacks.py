"""Which ECALLs and OCALLs of a thread are open: each in the one before it."""

from __future__ import annotations

from typing import Any

from enclu.trace.decoders import Call, Kind


class Frame:
    """A call that has begun."""

    __slots__ = ("call", "cssa", "eid", "note", "outside", "start", "tcs")

    def __init__(self, call: Call | None, eid: int, tcs: int, cssa: int, start: int) -> None:
        self.call = call
        """None: an entry, of an enclave whose convention is not known, up to its EEXIT."""
        self.eid, self.tcs, self.cssa, self.start = eid, tcs, cssa, start
        self.outside = call is not None and call.kind is Kind.OCALL
        """It is an OCALL."""
        self.note: Any = None
        """Of whoever uses the stacks."""


Change = tuple[list[Frame], Frame | None]
"""What ends by a leaf, from the innermost on, and what begins."""


class Stacks:
    """Of all threads.  Calls that are given up end with the one around them, or when their TCS is entered anew."""

    def __init__(self) -> None:
        self._of: dict[int, list[Frame]] = {}

    def of(self, tid: int) -> list[Frame]:
        """What is open in a thread, from the outermost on; it is not to be changed."""
        return self._of.setdefault(tid, [])

    def threads(self) -> list[int]:
        """Those that have done something."""
        return list(self._of)

    def enter(self, tid: int, eid: int, tcs: int, cssa: int, call: Call | None, time: int) -> Change:
        """EENTER."""
        stack = self.of(tid)
        last = _last(stack, eid, tcs)
        if call is not None and call.kind is Kind.OCALL_RETURN:
            while last >= 0 and not (stack[last].outside and stack[last].tcs == tcs and stack[last].eid == eid):
                last -= 1
            return _end(stack, last), None
        ended: list[Frame] = []
        if last >= 0 and not stack[last].outside and stack[last].cssa >= cssa:
            ended = _end(stack, last)  # the enclave was made to forget it
        stack.append(Frame(call, eid, tcs, cssa, time))
        return ended, stack[-1]

    def exit(self, tid: int, eid: int, tcs: int, call: Call | None, time: int) -> Change:
        """EEXIT."""
        stack = self.of(tid)
        if call is not None and call.kind is Kind.OCALL:
            stack.append(Frame(call, eid, tcs, 0, time))
            return [], stack[-1]
        last = _last(stack, eid, tcs)
        while last >= 0 and (stack[last].outside or stack[last].tcs != tcs or stack[last].eid != eid):
            last -= 1
        return _end(stack, last), None

    def gone(self, tid: int) -> list[Frame]:
        """A thread ends, or its program is replaced.  What was open."""
        return self._of.pop(tid, [])[::-1]


def _last(stack: list[Frame], eid: int, tcs: int) -> int:
    """The innermost frame of a TCS; -1: none."""
    at = len(stack) - 1
    while at >= 0 and not (stack[at].tcs == tcs and stack[at].eid == eid):
        at -= 1
    return at


def _end(stack: list[Frame], at: int) -> list[Frame]:
    """Take this frame and all in it off."""
    if at < 0:
        return []
    ended = stack[at:][::-1]
    del stack[at:]
    return ended
