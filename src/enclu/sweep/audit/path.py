"""The way of an ECALL through the enclave, instruction by instruction: where the stack is, and when it is deepest.

Whatever the runtime, its entry code switches to the enclave's stack and calls the code that is compiled; the deepest
point of the stack is in that.  Registers and flags are judged there, for what the entry code has made of them by then
is what the enclave's own code runs with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from enclu.host.events import Event, Exit
from enclu.sweep.audit.target import MOST_RIPS, Target
from enclu.sweep.audit.ways.way import Answer, Sample

EACH = 400
"""So many instructions from the first on are looked at one by one."""
SPREAD = 200
"""And of the rest so many, at equal distances."""


@dataclass(frozen=True)
class Point:
    """The enclave is about to execute an instruction."""

    number: int
    """How many it has executed."""
    rip: int
    rsp: int


@dataclass(frozen=True)
class Path:
    """Of one call, from EENTER to the first time that the enclave is left."""

    sample: Sample
    points: tuple[Point, ...]
    rips: tuple[int, ...]
    """Of every instruction, in their order."""
    event: Event
    answer: Answer | None
    """If it has left by EEXIT."""
    switched: Point | None
    """The first point at which RSP leads into the enclave."""
    judged: Point | None
    """The one with the deepest stack."""


def rips(target: Target, sample: Sample) -> tuple[tuple[int, ...], Event]:
    """Addresses of all instructions of a call, and how it left."""
    target.stepping.arm(target.tcs, free=True, room=MOST_RIPS)
    event = target.enter(sample.registers).event
    return tuple(target.stepping.rips(target.tcs)), event


def walk(
    target: Target, sample: Sample, hostile: Mapping[str, int] | None = None, most: int | None = None
) -> list[Point]:
    """The points of a call, of which `hostile` are registers at EENTER; `most` ends it early."""
    target.fresh()
    points: list[Point] = []
    at, stride = 0, 1
    entry = target.run_to(0, sample.registers, hostile)
    while target.stopped(entry):
        frame = target.ssa().gprsgx
        points.append(Point(at, frame.rip, frame.rsp))
        if most is not None and at + stride > most:
            break
        stride = 1 if most is not None or at < EACH else max(1, (at - EACH) // SPREAD)
        if not target.step(entry, stride):
            break
        at += stride
    return points


def path(target: Target) -> Path:
    """Of the way's sample."""
    target.fresh()
    sample = target.way.sample()
    executed, event = rips(target, sample)
    answer = target.way.answer(event.registers) if isinstance(event, Exit) else None
    target.fresh()
    points = walk(target, target.way.sample())
    trusted = [point for point in points if target.inside(point.rsp)]
    switched = trusted[0] if trusted else None
    judged = min(trusted, key=lambda point: (point.rsp, point.number), default=None)
    return Path(sample, tuple(points), executed, event, answer, switched, judged)
