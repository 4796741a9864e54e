"""The simplest behaviour of a host with the same outcome, found by Hypothesis: fewer actions, fewer bytes changed."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from enclu.host.errors import HostError, ProcessDied
from enclu.sweep.behaviour import Behaviour, Move
from enclu.sweep.outcome import Kind, Point

if TYPE_CHECKING:
    from enclu.sweep.session import Session
    from enclu.sweep.subject import Subject

MOST_EXAMPLES = 300


def simplest(subject: Subject, number: int, behaviour: Behaviour) -> Behaviour:
    """As said, after `number` instructions.  Raises HostError; where Hypothesis is not installed, too."""
    try:
        from hypothesis import HealthCheck, Phase, find, settings
        from hypothesis.errors import NoSuchExample
    except ImportError:
        raise HostError("--minimise needs Hypothesis: pip install hypothesis") from None
    from enclu.sweep.strategies import simpler

    quiet = settings(
        max_examples=MOST_EXAMPLES, deadline=None, database=None, phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck), derandomize=True,
    )  # fmt: skip
    with contextlib.ExitStack() as sessions:
        attempts = _Attempts(subject, number, sessions)
        wanted = attempts.kind(behaviour)
        try:
            found: Behaviour = find(simpler(behaviour), lambda other: attempts.kind(other) is wanted, settings=quiet)
        except NoSuchExample:
            return behaviour
        return found


class _Attempts:
    """At one point; each with the session of the one before, unless that has killed its host."""

    def __init__(self, subject: Subject, number: int, sessions: contextlib.ExitStack) -> None:
        self._subject, self._number, self._sessions = subject, number, sessions
        self._known: dict[Behaviour, Kind] = {}
        self._session: Session | None = None

    def kind(self, behaviour: Behaviour) -> Kind:
        """What becomes of it."""
        if behaviour not in self._known:
            self._known[behaviour] = self._tried(behaviour)
        return self._known[behaviour]

    def _tried(self, behaviour: Behaviour) -> Kind:
        if not any(action.move is Move.RESUME for action in behaviour.actions):
            return Kind.LEFT
        changed = self._alive().changed(behaviour)
        found: list[Point] = []
        try:
            self._alive().sweep(behaviour, [self._number], found.append, changed)
        except ProcessDied:
            return Kind.HARMED
        return found[0].outcome.kind if found else Kind.LEFT

    def _alive(self) -> Session:
        if self._session is None or not self._session.enclave.process.alive:
            self._sessions.close()
            self._session = self._sessions.enter_context(self._subject.session())
        return self._session
