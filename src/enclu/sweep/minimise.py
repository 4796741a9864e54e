"""The simplest behaviour of a host with the same outcome, found by Hypothesis: fewer actions, fewer bytes changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from enclu.host.errors import HostError, ProcessDied
from enclu.sweep.behaviour import Behaviour, Move
from enclu.sweep.ladder import Point
from enclu.sweep.outcome import Kind

if TYPE_CHECKING:
    from enclu.sweep.ladder import Session
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

    with subject.session() as session:
        wanted = _kind(session, behaviour, number)
        if wanted is Kind.HARMED:
            return behaviour  # the host's process is dead, and each attempt would need another
        quiet = settings(
            max_examples=MOST_EXAMPLES, deadline=None, database=None, phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck), derandomize=True,
        )  # fmt: skip
        try:
            found: Behaviour = find(
                simpler(behaviour), lambda other: _kind(session, other, number) is wanted, settings=quiet
            )
        except NoSuchExample:
            return behaviour
        return found


def _kind(session: Session, behaviour: Behaviour, number: int) -> Kind:
    """What becomes of it."""
    if not any(action.move is Move.RESUME for action in behaviour.actions):
        return Kind.LEFT
    found: list[Point] = []
    try:
        session.sweep(behaviour, [number], found.append)
    except ProcessDied:
        return Kind.HARMED
    return found[0].outcome.kind if found else Kind.LEFT
