"""SmashEx: an exception while RSP is still the host's, or is so again (CVE-2021-0186, CVE-2021-33767).

The host's RSP leads into the enclave's stack.  An exception handler that takes RSP from the interrupted frame writes
there, over what the enclave has on its stack: return addresses, say.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from enclu.host.errors import HostError
from enclu.sweep.audit.checklist import Audit, Item
from enclu.sweep.audit.handling import accepted, bring_about, handle
from enclu.sweep.audit.path import walk

if TYPE_CHECKING:
    from enclu.sweep.audit.handling import Accepted
    from enclu.sweep.audit.path import Point
    from enclu.sweep.audit.target import Target
    from enclu.sweep.audit.verdict import Finding

BELOW = 0x400
"""Bytes below the deepest stack to which the host's RSP leads: there the call itself writes nothing."""
FIRST, LAST = 40, 24
"""Points at the beginning and at the end that are tried."""
SIZES = (0x800, 0x300, 0x100)
"""Bytes below the host's RSP that are looked at."""
RESUMED = 3000


def _window(audit: Audit, item: Item) -> Iterator[Finding]:
    target = audit.target
    if not target.way.handles_exceptions:
        yield item.not_applicable(f"enclaves of the convention {target.way.name} have no entry for exceptions")
        return
    judged = audit.path(target).judged
    if judged is None:
        yield item.undecided("the sample call never has its RSP in the enclave: its stack was not found")
        return
    control = accepted(target, judged)
    if control is None:
        yield item.undecided(
            f"the enclave handles neither a #PF nor any forged exception at {target.place(judged.rip)}, on its own "
            "stack: that it handles none before would say nothing"
        )
        return
    hostile = judged.rsp - BELOW & -16
    window = [point for point in walk(target, target.way.sample(), {"rsp": hostile}) if point.rsp == hostile]
    if not window:
        yield item.sound(
            f"no instruction has the host's RSP: with {target.address(hostile)} the enclave is not even entered"
        )
        return
    tried = list(dict.fromkeys([*window[:FIRST], *window[-LAST:]]))
    smashed = [(point, what) for point in tried if (what := _smashes(target, point, control, hostile))]
    first, last = target.place(tried[0].rip), target.place(tried[-1].rip)
    which = f"{len(tried)} instructions with the host's RSP, from {first} to {last}"
    if not smashed:
        yield item.sound(
            f"a {control.name} is handled at {target.place(judged.rip)}, and at none of {which}: the interrupted "
            "frame and the stack stay as they are",
            control.means,
        )
        return
    point, what = smashed[0]
    yield item.weak(
        f"a {control.name} is handled at {len(smashed)} of {which}, first before {target.place(point.rip)} "
        f"(instruction {point.number}): {what}",
        control.means,
    )


def _smashes(target: Target, point: Point, control: Accepted, hostile: int) -> str:
    """What the handler has done with the host's RSP; empty if nothing."""
    entry = bring_about(target, point, control.means, control.vector, {"rsp": hostile})
    if entry is None or target.ssa().gprsgx.rsp != hostile:
        return ""
    start, before = _below(target, hostile)
    handled = handle(target, entry)
    if not handled.acted or handled.steps_over:
        return ""
    changed = _changed(target, start, before)
    if not changed:
        target.step(entry, RESUMED, unnotified=False)
        changed = _changed(target, start, before)
    if not changed:
        return ""
    return (
        f"it changes {handled.what(target)}, and {changed} bytes of the enclave's stack below {target.address(hostile)}"
    )


def _below(target: Target, hostile: int) -> tuple[int, bytes]:
    """What is there of the stack."""
    for size in SIZES:
        try:
            return hostile - size, target.stepping.read(hostile - size, size)
        except HostError:
            continue
    return hostile, b""


def _changed(target: Target, start: int, before: bytes) -> int:
    after = target.stepping.read(start, len(before)) if before else b""
    return sum(a != b for a, b in zip(before, after, strict=True))


ITEMS = (Item("exception/stack-window", "no exception is handled on the host's RSP (SmashEx)", _window),)
