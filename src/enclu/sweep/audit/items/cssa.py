"""Entries at a CSSA that does not go with what the host asks for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from enclu.host.events import EnclaveException, Exit, Interrupted
from enclu.sgx.structs import EncluLeaf
from enclu.sweep.audit.checklist import Audit, Item
from enclu.sweep.audit.handling import bring_about
from enclu.sweep.audit.verdict import Means, Verdict

if TYPE_CHECKING:
    from enclu.host.events import Event
    from enclu.host.thread import Entry
    from enclu.sweep.audit.target import Target
    from enclu.sweep.audit.verdict import Finding
    from enclu.sweep.audit.ways.way import Answer

DEEPEST = 16
"""Frames of an SSA that are tried to be used up."""
INTO = 12
"""Instructions of the handler after which it is interrupted."""


def _answered(target: Target, event: Event) -> Answer | None:
    return target.way.answer(event.registers) if isinstance(event, Exit) else None


def _handler_at_0(audit: Audit, item: Item) -> Iterator[Finding]:
    target = audit.target
    if not target.way.handles_exceptions:
        yield item.not_applicable(f"enclaves of the convention {target.way.name} have no entry for exceptions")
        return
    found = _unused(item, target, "nothing interrupted")
    if found.verdict is Verdict.SOUND and _faulted_and_ended(audit):
        found = _unused(item, target, "nothing interrupted but a #PF in the frame, of a call that is over")
    yield found


def _faulted_and_ended(audit: Audit) -> bool:
    """A call that has had a #PF in compiled code, and has come to its end: its registers are in the frame still."""
    target = audit.target
    judged = audit.path(target).judged
    if judged is None:
        return False
    entry = bring_about(target, judged, Means.HOST)
    if entry is None:
        return False
    target.go_on(entry)
    return isinstance(target.way.finish(entry), Exit) and target.stepping.tcs(target.tcs)["CSSA"] == 0


def _unused(item: Item, target: Target, where: str) -> Finding:
    """The entry for exceptions at CSSA 0, with `where` telling what there is in the frame."""
    before = target.ssa()
    event = target.enter(target.way.handle()).event
    after = target.ssa()
    told = target.way.told(event)
    left = [n for n, v in vars(before.gprsgx).items() if n not in ("ursp", "urbp") and vars(after.gprsgx)[n] != v]
    if isinstance(event, EnclaveException) and event.leaf is EncluLeaf.ERESUME:
        return item.sound(f"the entry for exceptions at CSSA 0 does not come to its end: {told}")
    if left:
        return item.weak(f"at CSSA 0, with {where}, it changes {', '.join(left).upper()} of the frame: {told}")
    return item.sound(f"at CSSA 0, with {where}, the frame stays as it is: {told}")


def _ecall_at_1(audit: Audit, item: Item) -> Iterator[Finding]:
    """An ordinary ECALL in the midst of another: it counts as served if it answers as at CSSA 0, by the same code."""
    target = audit.target
    path = audit.path(target)
    judged = path.judged
    usual = path.answer
    if judged is None or usual is None:
        yield item.undecided("the sample call has no end that could be compared")
        return
    target.fresh()
    nested = target.way.nested()
    if nested is None:
        yield item.not_applicable("there is no second call to be made")
        return
    entry = target.run_to(judged.number, target.way.sample().registers)
    if not target.stopped(entry):
        yield item.undecided(f"it did not come to {target.place(judged.rip)} again")
        return
    nested = target.way.nested()
    assert nested is not None
    event = _reaching(target, entry, judged.rip, nested)
    reached = target.stopped(entry)
    if reached:
        event = target.go_on(entry)
    answer = _answered(target, event)
    what = f"{path.sample.name}, while another is interrupted at {target.place(judged.rip)},"
    if answer == usual and reached:
        yield item.weak(f"{what} is served at CSSA 1 as at CSSA 0: {answer}")
    else:
        yield item.sound(f"{what} is not served at CSSA 1: {target.way.told(event)}")


def _reaching(target: Target, entry: Entry, rip: int, registers: dict[str, int] | object) -> Event:
    target.stepping.arm(target.tcs, address=rip)
    assert isinstance(registers, dict)
    return entry.enter(**registers, timeout=2.0)


def _exhausted(audit: Audit, item: Item) -> Iterator[Finding]:
    """Interrupt the handler, and the handler of that, until there is no frame left; then go all the way back."""
    target = audit.target
    if not target.way.handles_exceptions:
        yield item.not_applicable(f"enclaves of the convention {target.way.name} have no entry for exceptions")
        return
    path = audit.path(target)
    usual = path.answer
    if path.judged is None or usual is None:
        yield item.undecided("the sample call has no end that could be compared")
        return
    target.fresh()
    entry = target.run_to(path.judged.number, target.way.sample().registers)
    depth = 1
    while target.stopped(entry) and depth < DEEPEST:
        target.stepping.arm(target.tcs, until=INTO)
        event = entry.enter(**target.way.handle(), timeout=2.0)
        if isinstance(event, EnclaveException) and event.leaf is EncluLeaf.EENTER:
            break
        depth += isinstance(event, Interrupted)
    refused = isinstance(entry.event, EnclaveException) and entry.event.leaf is EncluLeaf.EENTER
    if not refused:
        yield item.sound(f"the enclave ends it at CSSA {depth}: {target.way.told(entry.event)}")
        return
    target.stepping.disarm(target.tcs)
    nssa = target.stepping.tcs(target.tcs)["NSSA"]
    target.way.sample()
    for _ in range(2 * DEEPEST):
        event = entry.resume(2.0)
        if not isinstance(event, Exit) or target.stepping.tcs(target.tcs)["CSSA"] == 0:
            break
    if isinstance(event, EnclaveException) and event.leaf is EncluLeaf.ERESUME:
        yield item.sound(f"with all {nssa} frames in use EENTER is refused; resumed, {target.way.told(event)}")
        return
    answer = _answered(target, event)
    if answer == usual or answer is None or answer.refused:
        yield item.sound(f"with all {nssa} frames in use EENTER is refused; resumed, {target.way.told(event)}")
    else:
        yield item.weak(f"interrupted until all {nssa} frames were in use, {answer}, where else {usual}")


ITEMS = (
    Item("cssa/handler-at-0", "the entry for exceptions is of no use where nothing is interrupted", _handler_at_0),
    Item("cssa/ecall-at-1", "no ECALL is served in the midst of another one's instruction", _ecall_at_1),
    Item("cssa/exhausted", "a handler that is interrupted until no frame is left does no harm", _exhausted),
)
