"""Exceptions that were none: the entry for exceptions is the host's to call (SIGY).

What was interrupted is told by the frame of the SSA alone: EXITINFO.VALID is clear after an interrupt, and the vector
is that of the processor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from enclu.host.events import EnclaveException
from enclu.sweep.audit.checklist import Audit, Item
from enclu.sweep.audit.handling import NAMES, accepted, bring_about, goes_on, handle
from enclu.sweep.audit.verdict import Means

if TYPE_CHECKING:
    from enclu.sweep.audit.path import Point
    from enclu.sweep.audit.target import Target
    from enclu.sweep.audit.verdict import Finding

UNLIKELY = (5, 17)
"""#BR and #AC: nothing raises both.  Of others, Linux keeps some for itself, and EXITINFO does not tell all."""


def _at_point(try_it: Callable[[Target, Point, Item], Iterator[Finding]]) -> Callable[[Audit, Item], Iterator[Finding]]:
    """Done in an enclave loaded anew, at the first instruction of a call at which exceptions are judged."""

    def run(audit: Audit, item: Item) -> Iterator[Finding]:
        target = audit.target
        if not target.way.handles_exceptions:
            why = f"enclaves of the convention {target.way.name} have no entry for exceptions"
            yield item.not_applicable(why)
        elif (judged := audit.path(target).judged) is None:
            yield item.undecided("the sample call never has its RSP in the enclave")
        else:
            target.fresh()
            yield from try_it(target, judged, item)

    return run


@_at_point
def _invalid(target: Target, judged: Point, item: Item) -> Iterator[Finding]:
    entry = target.run_to(judged.number, target.way.sample().registers)
    if not target.stopped(entry):
        yield item.undecided(f"it did not come to {target.place(judged.rip)} again")
        return
    handled = handle(target, entry)
    where = f"after an interrupt at {target.place(judged.rip)}, with EXITINFO.VALID clear, the entry for exceptions"
    if handled.acted:
        yield item.weak(f"{where} changes {handled.what(target)}")
    else:
        yield item.sound(f"{where} changes nothing ({target.way.told(handled.event)})")


@_at_point
def _vectors(target: Target, judged: Point, item: Item) -> Iterator[Finding]:
    handled: list[str] = []
    refused: list[str] = []
    for vector in UNLIKELY:
        if bring_about(target, judged, Means.FORGED, vector) is None:
            continue
        (handled if goes_on(target, judged, vector) else refused).append(NAMES[vector])
    where = f"at {target.place(judged.rip)}, which cannot raise both,"
    if not handled and not refused:
        yield item.undecided(f"no exception could be forged {where[:-1]}")
    elif not refused:
        yield item.weak(f"{where} {', '.join(handled)} are all handled, and the enclave goes on", Means.FORGED)
    else:
        taken = f"; {', '.join(handled)} handled" if handled else ""
        yield item.sound(f"{where} {', '.join(refused)} are not handled{taken}", Means.FORGED)


@_at_point
def _again(target: Target, judged: Point, item: Item) -> Iterator[Finding]:
    control = accepted(target, judged)
    entry = bring_about(target, judged, control.means, control.vector) if control is not None else None
    if control is None or entry is None:
        yield item.undecided(
            f"the enclave handles no exception at {target.place(judged.rip)}: none can be handled twice"
        )
        return
    handle(target, entry)
    if isinstance(entry.event, EnclaveException):
        yield item.sound(f"the handler ends by an exception of its own: {target.way.told(entry.event)}", control.means)
        return
    second = handle(target, entry)
    where = f"a {control.name} at {target.place(judged.rip)}, handled already and entered for again without ERESUME,"
    if second.acted:
        yield item.weak(f"{where} is handled again: it changes {second.what(target)}", control.means)
    else:
        yield item.sound(f"{where} changes nothing ({target.way.told(second.event)})", control.means)


ITEMS = (
    Item("exception/invalid-exitinfo", "an interrupt is no exception: EXITINFO.VALID is looked at (SIGY)", _invalid),
    Item("exception/any-vector", "so is the vector: what nobody handles is not handled", _vectors),
    Item("exception/handled-again", "an exception is handled once", _again),
)
