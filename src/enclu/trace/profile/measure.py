"""What is counted of a trace: calls, who calls whom, transitions, paging.  Events come one by one and are not kept."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from enclu.base import console
from enclu.trace.decoders import Call, Kind
from enclu.trace.pages import EPC_PAGES, Pages
from enclu.trace.profile.durations import Durations
from enclu.trace.profile.reader import Trace
from enclu.trace.stacks import Change, Frame, Stacks

GAPS = (1_000, 5_000, 10_000, 20_000)
"""Nanoseconds between a call and the one before it."""
EDGES = (10_000, 20_000)
"""Nanoseconds between the beginning or end of a call and an OCALL in it."""


class Key(NamedTuple):
    """Which call."""

    enclave: str
    """Beginning of its MRENCLAVE, or its EID if that is not known."""
    kind: str
    """ecall, ocall, or entry, of an enclave whose convention is not known."""
    number: int | None
    name: str

    def __str__(self) -> str:
        words = ["entry" if self.kind == "entry" else self.kind.upper()]
        return " ".join([*words, *([] if self.number is None else [str(self.number)]), *filter(None, [self.name])])


@dataclass
class Near:
    """How often a call was close to another."""

    count: int = 0
    within: list[int] = field(default_factory=lambda: [0] * len(GAPS))
    """By the first of the bounds that is greater."""

    def add(self, ns: int, bounds: tuple[int, ...]) -> None:
        self.count += 1
        for at, bound in enumerate(bounds):
            if ns < bound:
                self.within[at] += 1
                return


@dataclass
class CallStats:
    """Of one call."""

    durations: Durations = field(default_factory=Durations)
    """From its begin to its end, calls within it included."""
    own: Durations = field(default_factory=Durations)
    """Without calls within it."""
    undisturbed: Durations = field(default_factory=Durations)
    """The same of those without an AEX, which takes far longer here than on hardware."""
    aexs: int = 0
    unfinished: int = 0
    """Begun, and given up or going on at the end of the trace or of their thread."""
    callers: Counter[Key | None] = field(default_factory=Counter)
    """None: the program, in no call."""
    after: dict[Key, Near] = field(default_factory=dict)
    """Calls of the same kind, in the same call, that came directly before."""
    early: dict[Key, Near] = field(default_factory=dict)
    """Of OCALLs that are the first in the call that makes them: time from its begin."""
    late: dict[Key, Near] = field(default_factory=dict)
    """Of OCALLs that are the last: time to its end."""

    @property
    def calls(self) -> int:
        return self.durations.count + self.unfinished

    @property
    def transitions(self) -> int:
        """EENTER, EEXIT, and AEX and ERESUME."""
        return 2 * self.durations.count + self.unfinished + 2 * self.aexs


@dataclass
class Paging:
    """Of the enclaves with one MRENCLAVE."""

    enclaves: int = 0
    initial: int = 0
    """Pages at EINIT, of the largest."""
    most: int = 0
    """Pages in the EPC at once, of the largest."""
    augmented: int = 0
    evictions: int = 0
    reloads: int = 0
    came_back: set[tuple[int, int]] = field(default_factory=set)
    """Pages that were evicted and wanted again."""

    def add(self, other: Paging) -> None:
        """Another one's, of the same MRENCLAVE."""
        self.enclaves += other.enclaves
        self.initial, self.most = max(self.initial, other.initial), max(self.most, other.most)
        self.augmented += other.augmented
        self.evictions += other.evictions
        self.reloads += other.reloads
        self.came_back |= other.came_back


class _Open:
    """What is noted of a call until it ends."""

    __slots__ = ("aexs", "before", "inner", "key", "last", "parent", "since")

    def __init__(self, key: Key, parent: _Open | None) -> None:
        self.key, self.parent = key, parent
        self.inner = self.aexs = 0
        """Nanoseconds in calls within it; AEXs in itself."""
        self.before: tuple[Key, int] | None = None
        """The call that ended before it began, and how long before."""
        self.since: int | None = None
        """How long after its caller's begin it began, if it is the first."""
        self.last: tuple[Key, int] | None = None
        """The last call within it, and its end."""


class Profile:
    """Of one trace."""

    def __init__(self, command: list[str], delivery: str) -> None:
        self.command, self.delivery = command, delivery
        self.calls: dict[Key, CallStats] = {}
        self.leaves: Counter[str] = Counter()
        self.aexs: Counter[int] = Counter()
        """By vector; -1: interrupts."""
        self.paging: dict[str, Paging] = {}
        self.lost = 0
        """Leaves that the trace does not have."""
        self.begin = self.end = 0
        self.inside = 0
        """Nanoseconds that threads were in enclave mode, together."""
        self._stacks = Stacks()
        self._pages = Pages()
        self._of_eid: dict[int, Paging] = {}
        self._enclaves: dict[int, str] = {}
        """Of each EID, what Key calls it."""
        self._entered: dict[int, int] = {}
        """Since when a thread is in enclave mode."""
        self._outermost: dict[int, tuple[Key, int]] = {}
        """The last call of a thread that was in no other, and its end."""

    @property
    def transitions(self) -> int:
        return self.leaves["EENTER"] + self.leaves["ERESUME"] + self.leaves["EEXIT"] + sum(self.aexs.values())

    @property
    def nanoseconds(self) -> int:
        """From the first event to the last."""
        return max(self.end - self.begin, 0)

    def event(self, event: dict[str, Any], call: Call | None) -> None:
        """The next one; of an EENTER or EEXIT, what it is for, if that is known."""
        name, time, tid = event["event"], event["time"], event["tid"]
        self.begin = self.begin or time
        self.end = max(self.end, time)
        if name == "leaf":
            self._leaf(event, call, time, tid)
        elif name == "aex":
            self._aex(event, time, tid)
        elif name in ("thread_gone", "process_exec", "leaves_lost"):
            self._leave(time, tid)
            self._give_up(self._stacks.gone(tid))
            self._outermost.pop(tid, None)
            self.lost += event.get("count", 0)
        elif name == "enclave_initialised":
            self._enclaves[event["eid"]] = console.printable(event["mrenclave"][:_SHOWN]) or str(event["eid"])
            self._paging(event["eid"]).initial = event["pages"]
        self._page(name, event)

    def finish(self) -> None:
        """The trace is over."""
        for tid in self._stacks.threads():
            self._give_up(self._stacks.gone(tid))
        for eid, paging in self._of_eid.items():
            self.paging.setdefault(self._enclaves.get(eid) or str(eid), Paging()).add(paging)

    # Calls.

    def _leaf(self, event: dict[str, Any], call: Call | None, time: int, tid: int) -> None:
        leaf, eid, tcs = event["leaf"], event["eid"], event["tcs"]
        self.leaves[leaf] += 1
        if leaf == "EENTER":
            self._entered[tid] = time
            self._change(self._stacks.enter(tid, eid, tcs, event["rax"], call, time), call, time, tid)
        elif leaf == "ERESUME":
            self._entered[tid] = time
        elif leaf == "EEXIT":
            self._leave(time, tid)
            self._change(self._stacks.exit(tid, eid, tcs, call, time), call, time, tid)

    def _change(self, change: Change, call: Call | None, time: int, tid: int) -> None:
        ended, begun = change
        if ended and begun is None:
            *given_up, last = ended
            self._give_up(given_up)
            self._ended(last, call, time, tid)
        else:
            self._give_up(ended)
        if begun is not None:
            self._begun(begun, time, tid)

    def _begun(self, frame: Frame, time: int, tid: int) -> None:
        call = frame.call
        kind = call.kind.value if call is not None else "entry"
        enclave = self._enclaves.get(frame.eid) or str(frame.eid)
        key = Key(enclave, kind, call.number if call is not None else None, call.name if call is not None else "")
        stack = self._stacks.of(tid)
        around = stack[-2] if len(stack) > 1 else None
        parent = around.note if around is not None else None
        frame.note = note = _Open(key, parent)
        last = parent.last if parent is not None else self._outermost.get(tid)
        if last is not None:
            note.before = last[0], max(time - last[1], 0)
        elif around is not None:
            note.since = max(time - around.start, 0)

    def _ended(self, frame: Frame, call: Call | None, time: int, tid: int) -> None:
        note: _Open = frame.note
        if note.key.number is None and call is not None and call.number is not None:
            note.key = note.key._replace(number=call.number, name=note.key.name or call.name)
        key, parent = note.key, note.parent
        took = max(time - frame.start, 0)
        own = max(took - note.inner, 0)
        stats = self._stats(key)
        stats.durations.add(took)
        stats.own.add(own)
        if not note.aexs:
            stats.undisturbed.add(own)
        stats.aexs += note.aexs
        stats.callers[parent.key if parent is not None else None] += 1
        if note.before is not None:
            stats.after.setdefault(note.before[0], Near()).add(note.before[1], GAPS)
        if frame.outside and parent is not None and note.since is not None:
            stats.early.setdefault(parent.key, Near()).add(note.since, EDGES)
        if note.last is not None and note.last[0].kind == Kind.OCALL.value and not frame.outside:
            self._stats(note.last[0]).late.setdefault(key, Near()).add(max(time - note.last[1], 0), EDGES)
        if parent is not None:
            parent.inner += took
            parent.last = key, time
        else:
            self._outermost[tid] = key, time

    def _give_up(self, frames: list[Frame]) -> None:
        """They do not end as calls do."""
        for frame in frames:
            note: _Open = frame.note
            stats = self._stats(note.key)
            stats.unfinished += 1
            stats.aexs += note.aexs
            stats.callers[note.parent.key if note.parent is not None else None] += 1

    def _stats(self, key: Key) -> CallStats:
        return self.calls.get(key) or self.calls.setdefault(key, CallStats())

    # Enclave mode.

    def _aex(self, event: dict[str, Any], time: int, tid: int) -> None:
        self.aexs[event["vector"]] += 1
        self._leave(time, tid)
        for frame in reversed(self._stacks.of(tid)):
            if not frame.outside and frame.tcs == event["tcs"] and frame.eid == event["eid"]:
                frame.note.aexs += 1
                break

    def _leave(self, time: int, tid: int) -> None:
        since = self._entered.pop(tid, None)
        if since is not None:
            self.inside += max(time - since, 0)

    # Pages.

    def _page(self, name: str, event: dict[str, Any]) -> None:
        if name in ("page_evicted", "page_reloaded"):
            paging = self._paging(event["eid"])
            if name == "page_evicted":
                paging.evictions += 1
            else:
                paging.reloads += 1
                paging.came_back.add((event["eid"], event["address"]))
        elif name == "fault_resolved" and event["how"] == "augmented":
            self._paging(event["eid"]).augmented += 1
        for eid, counter, value in self._pages.event(name, event):
            if counter == EPC_PAGES:
                paging = self._paging(eid)
                paging.most = max(paging.most, value)

    def _paging(self, eid: int) -> Paging:
        """Of an enclave: it is evicted from before it has an MRENCLAVE."""
        return self._of_eid.get(eid) or self._of_eid.setdefault(eid, Paging(1))


def measure(trace: Trace) -> Profile:
    """Read it to its end.  Raises TraceError."""
    profile = Profile(trace.command, trace.delivery)
    for event in trace:
        profile.event(event, _call(event))
    profile.finish()
    return profile


def _call(event: dict[str, Any]) -> Call | None:
    found = event.get("call")
    return None if found is None else Call(Kind(found["kind"]), found.get("number"), found.get("name", ""))


_SHOWN = 12
"""Digits of MRENCLAVE that tell enclaves apart."""
