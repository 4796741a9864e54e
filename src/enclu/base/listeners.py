"""How events reach whoever listens: counters, messages, traces."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Concatenate, ParamSpec

from enclu.base.events import Event, Leaf

P = ParamSpec("P")
Listener = Callable[[Any], None]


class Leaves:
    """ENCLU leaves: counted always, in bulk, and told only if somebody listens or expects a certain thread's.

    They are executed too often for an event each.
    """

    __slots__ = ("_expected", "counts", "heard", "lossy", "on_heard", "onward", "raw", "wanted")

    def __init__(self) -> None:
        self.counts = [0] * 16
        """How many were executed, by leaf number."""
        self.wanted = False
        """One should be told, if `expects` says so of its thread; else nothing is to be done."""
        self.heard = False
        """Somebody listens to all."""
        self.lossy = False
        """Where more are executed without a stop than there is room to record, they are counted only: `LeavesLost`."""
        self.on_heard: Callable[[], None] = lambda: None
        """Called when that becomes true: leaves that are executed where nobody can tell of them are to be recorded."""
        self.raw: Callable[[int, int, memoryview], None] | None = None
        """Who takes records of leaves as they are (`native.in_process`), of a process and thread; else each is told."""
        self.onward: Callable[[int], dict[int, int]] = lambda pid: {}
        """How often, as nobody could tell, threads of a process have resumed their enclaves or entered at CSSA 0."""
        self._expected: set[int] = set()

    def hear(self) -> None:
        """Somebody listens to all."""
        self.heard = self.wanted = True
        self.on_heard()

    def expect(self, ids: Iterable[int]) -> None:
        """Somebody listens to those of these threads, and of all threads of these processes; to no others any more."""
        self._expected = set(ids)
        self.wanted = self.heard or bool(self._expected)

    def expects(self, pid: int, tid: int) -> bool:
        return self.heard or tid in self._expected or -pid in self._expected


class Events:
    """Of one run.  Whoever emits says what happened; for whom, `acting` has said before."""

    def __init__(self) -> None:
        self.pid = self.tid = 0
        self.leaves = Leaves()
        self._listeners: dict[object, tuple[Listener, ...]] = {}
        self.counts: dict[object, int] = {}
        """How often each kind of event has happened that is to be counted, which takes no event."""
        self._late: dict[object, tuple[Listener, ...]] = {}
        self.overdue: Callable[[int], None] = lambda pid: None
        """Have told what has happened in a process that nobody wanted to be told of at once."""

    def listen_late(self, listener: Listener, *kinds: type[Event]) -> None:
        """The same, but what happens need not be told before `overdue` is called."""
        for kind in kinds:
            self._late[kind] = (*self._late.get(kind, ()), listener)

    def count(self, *kinds: type[Event]) -> None:
        """Count events of these kinds from now on."""
        for kind in kinds:
            self.counts.setdefault(kind, 0)

    def happened(self, kind: object) -> None:
        """Of an event of which there is nothing to tell but that."""
        if kind in self.counts:
            self.counts[kind] += 1

    def listen(self, listener: Listener, *kinds: type[Event]) -> None:
        """Call `listener` with every event of these kinds, in the thread of the supervisor, as it happens."""
        for kind in kinds:
            self._listeners[kind] = (*self._listeners.get(kind, ()), listener)
            if kind is Leaf:
                self.leaves.hear()

    def listen_to_expected(self, listener: Listener) -> None:
        """Call `listener` with leaves, at least with those that `leaves.expect` names."""
        self._listeners[Leaf] = (*self._listeners.get(Leaf, ()), listener)

    def heard(self, kind: type[Event]) -> bool:
        """Somebody listens, or counts: for where it takes work to find out what to emit."""
        return kind in self._listeners or kind in self.counts or kind in self._late

    def prompt(self, kind: type[Event]) -> bool:
        """Somebody wants to be told of each as it happens."""
        return kind in self._listeners

    def emit(self, kind: Callable[Concatenate[int, int, P], Event], *args: P.args, **named: P.kwargs) -> None:
        """Tell those who listen to this kind."""
        self.happened(kind)
        listeners = self._listeners.get(kind, ()) + self._late.get(kind, ())
        if listeners:
            event = kind(self.pid, self.tid, *args, **named)
            for listener in listeners:
                listener(event)

    def acting(self, pid: int, tid: int) -> _Acting:
        """What happens meanwhile, happens to this thread."""
        return _Acting(self, pid, tid)


class _Acting:
    """A context manager, by hand: each stop of a thread has one."""

    __slots__ = ("_before", "_events", "_meanwhile")

    def __init__(self, events: Events, pid: int, tid: int) -> None:
        self._events, self._meanwhile = events, (pid, tid)

    def __enter__(self) -> None:
        events = self._events
        self._before = events.pid, events.tid
        events.pid, events.tid = self._meanwhile

    def __exit__(self, *exception: object) -> None:
        self._events.pid, self._events.tid = self._before
