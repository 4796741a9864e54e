"""The enclave's entry for exceptions, and whether it has done anything.

Its status is no verdict: only what it has changed of the interrupted frame is what it has acted on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from enclu.host.events import EnclaveException, Event
from enclu.sweep.audit.verdict import Means

if TYPE_CHECKING:
    from collections.abc import Mapping

    from enclu.host.frames import Gprsgx
    from enclu.host.thread import Entry
    from enclu.sweep.audit.path import Point
    from enclu.sweep.audit.target import Target

UD = 6
RESUMED = 4000
"""Instructions after which a handler that runs when the enclave is resumed is at its end, or never will be."""
PASSED = 6
"""Times that are looked at."""
NEAR = 16
"""Bytes from an instruction on within which the next one is."""


@dataclass(frozen=True)
class Handled:
    """The entry at CSSA 1, with the frame of CSSA 0 as it was before and after it."""

    before: Gprsgx
    after: Gprsgx
    event: Event

    @property
    def acted(self) -> bool:
        """Registers of what is interrupted have changed: the exception is accepted."""
        return _state(self.before) != _state(self.after)

    @property
    def steps_over(self) -> bool:
        """It has done so on a stack of its own, and is over: RIP is just behind, and RSP where it was."""
        return self.after.rsp == self.before.rsp and 0 <= self.after.rip - self.before.rip <= NEAR

    def what(self, target: Target) -> str:
        """What has changed, in words."""
        before, after = self.before, self.after
        changed = (
            [f"RIP from {target.place(before.rip)} to {target.place(after.rip)}"] if after.rip != before.rip else []
        )
        if after.rsp != before.rsp:
            changed.append(f"RSP from {target.address(before.rsp)} to {target.address(after.rsp)}")
        others = [
            name
            for name, value in _state(before).items()
            if _state(after)[name] != value and name not in ("rip", "rsp")
        ]
        return " and ".join(changed) or ", ".join(name.upper() for name in others)


def _state(frame: Gprsgx) -> dict[str, int]:
    hosts = ("exitinfo", "aexnotify", "fsbase", "gsbase", "ursp", "urbp")
    return {name: value for name, value in vars(frame).items() if name not in hosts}


def handle(target: Target, entry: Entry, index: int = 0) -> Handled:
    """EENTER of an interrupted enclave, by its entry for exceptions; `index` is of the frame that is interrupted."""
    before = target.ssa(index).gprsgx
    target.stepping.disarm(target.tcs)
    event = entry.enter(**target.way.handle(), timeout=2.0)
    return Handled(before, target.ssa(index).gprsgx, event)


def bring_about(
    target: Target, point: Point, means: Means, vector: int = UD, hostile: Mapping[str, int] | None = None
) -> Entry | None:  # fmt: skip
    """A call that has had an exception at a point: a real #PF, or a forged one.  None if it has not come to that."""
    target.fresh()
    registers = target.way.sample().registers
    if means is Means.FORGED:
        entry = target.forge(point.number, vector, registers, hostile)
        event = entry.event
        return entry if isinstance(event, EnclaveException) and event.vector == vector else None
    entry = target.run_to(point.number, registers, hostile)
    if not target.stopped(entry) or target.fault(entry) is None:
        return None
    return entry


@dataclass(frozen=True)
class Accepted:
    """An exception that the enclave handles, where it should."""

    means: Means
    vector: int

    @property
    def name(self) -> str:
        return "#PF" if self.means is Means.HOST else f"forged {NAMES[self.vector]}"


NAMES = {0: "#DE", 1: "#DB", 3: "#BP", 5: "#BR", 6: "#UD", 7: "#NM", 13: "#GP", 16: "#MF", 17: "#AC", 19: "#XM"}


def accepted(target: Target, point: Point) -> Accepted | None:
    """The first kind of exception that is handled at a point of the enclave's own code."""
    for means, vector in ((Means.HOST, 14), *((Means.FORGED, vector) for vector in (6, 0, 13, 5, 17))):
        entry = bring_about(target, point, means, vector)
        if entry is not None and handle(target, entry).acted:
            return Accepted(means, vector)
    return None


def goes_on(target: Target, point: Point, vector: int) -> bool:
    """A forged exception is handled, and the enclave comes back to behind where it was interrupted, with its stack.

    Two trials: in the first one, where it comes past; in the others, whether that is on the way back, for a handler may
    call the same function.
    """
    entry = bring_about(target, point, Means.FORGED, vector)
    handled = handle(target, entry) if entry is not None else None
    if entry is None or handled is None or not handled.acted:
        return False
    if handled.steps_over:
        return True
    near = range(point.rip, point.rip + NEAR)
    target.stepping.arm(target.tcs, until=RESUMED, room=RESUMED)
    entry.resume(2.0)
    passed = [number for number, rip in enumerate(target.stepping.rips(target.tcs)) if rip in near]
    for number in passed[:PASSED]:
        entry = bring_about(target, point, Means.FORGED, vector)
        if entry is None or not handle(target, entry).acted:
            return False
        if target.step(entry, number, unnotified=False) and target.ssa().gprsgx.rsp == point.rsp:
            return target.ssa().gprsgx.rip != point.rip  # else the instruction is only tried again
    return False
