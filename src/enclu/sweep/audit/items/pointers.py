"""Pointers that the host passes: into the enclave, across its border, NULL, out of all bounds.

Weak is what follows one to the enclave's own memory, or to address 0: a page of the enclave that the call does not
touch otherwise is withdrawn, and its #PF tells.  A pointer that is refused, or never followed, is sound.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from enclu.host.events import Interrupted
from enclu.sgx.epc import PAGE_SIZE
from enclu.sweep.audit.checklist import Audit, Item
from enclu.sweep.audit.places import ended, followed_null, overran, places, touched
from enclu.sweep.audit.touching import PF, Touched, call, is_tcs, of_call, spare_page, touching
from enclu.sweep.audit.verdict import Verdict

if TYPE_CHECKING:
    from enclu.sweep.audit.target import Target
    from enclu.sweep.audit.verdict import Finding
    from enclu.sweep.audit.ways.way import Slot


def _pointers(audit: Audit, item: Item) -> Iterator[Finding]:
    target = audit.target
    some = False
    for slot in target.way.slots():
        for found in _slots(audit, item, slot):
            some = True
            yield found
    for subject, why in audit.target.way.undecided():
        some = True
        yield item.undecided(why, subject)
    if not some:
        yield item.not_applicable("the enclave's calls have no pointers")


def _slots(audit: Audit, item: Item, slot: Slot) -> Iterator[Finding]:
    """What is said of a slot, and of those in what it leads to."""
    found = _slot(audit.target, item, slot)
    if found is None:
        return
    yield found
    if slot.then is not None and found.verdict is not Verdict.UNDECIDED:
        for more in slot.then():
            yield from _slots(audit, item, more)


def _slot(target: Target, item: Item, slot: Slot) -> Finding | None:
    """None for what is no pointer, as it was only tried as one."""
    page = spare_page(target, of_call(target, lambda: slot.give(slot.usual)))
    if page is None:
        return item.undecided("the call touches every page of data that was tried by itself", slot.name)
    target.fresh()
    first = call(target, slot.give(slot.usual))
    usual = first.answer(target)
    if isinstance(first.event, Interrupted):
        return item.undecided(f"the call does not come back: {target.way.told(first.event)}", slot.name)
    if not slot.certain and not _followed_outside(target, slot):
        inside = _tried(target, slot, page + 0x40, page)
        if inside.page != page:
            return None
    own: dict[int, set[int]] = {}
    weak: list[str] = []
    refused: list[str] = []
    for place in places(target, page, slot.usual, _before(slot)):
        pages = () if is_tcs(target, place.watched) else (place.watched,)
        known = own[place.watched] = own.get(place.watched) or _own(target, slot, pages, page)
        target.fresh()
        found = call(target, slot.give(place.address), pages=pages, known=known)
        told = touched(target, found, place.watched, known)
        if not told and not place.address:
            told = followed_null(target, found)
        if told:
            weak.append(f"{place.name} ({target.address(place.address)}): {told}")
        else:
            refused.append(f"{place.name}: {ended(target, found, usual)}")
    if slot.overflow is not None:
        target.fresh()
        found = call(target, slot.overflow())
        told = overran(target, found)
        (weak if told else refused).append(f"a length that overflows: {told or ended(target, found, usual)}")
    if weak:
        return item.weak("; ".join(weak), subject=slot.name)
    return item.sound("; ".join(refused), subject=slot.name)


def _own(target: Target, slot: Slot, pages: tuple[int, ...], spare: int) -> set[int]:
    """Instructions by which the call touches these pages without any pointer to them."""
    found: set[int] = set()
    for page in pages:
        if page != spare:
            found |= touching(of_call(target, lambda: slot.give(slot.usual)), page)
    return found


def _before(slot: Slot) -> tuple[int, ...]:
    """How many bytes of it come before a border that it goes across, if it has more than one."""
    if slot.size <= 1:
        return ()
    return (8,) if slot.size > 8 else (slot.size - 1,)


def _tried(target: Target, slot: Slot, address: int, page: int) -> Touched:
    target.fresh()
    return call(target, slot.give(address), pages=(page,))


def _followed_outside(target: Target, slot: Slot) -> bool:
    """Whether the enclave follows the pointer where it leads to untrusted memory."""
    target.fresh()
    sample = slot.give(slot.usual)
    page = slot.usual & -PAGE_SIZE
    if any(value & -PAGE_SIZE == page for name, value in sample.registers.items() if value != slot.usual):
        return False
    target.withdraw_outside(page)
    found = call(target, sample)
    event = found.faulted
    return event is not None and event.vector == PF and event.address & -PAGE_SIZE == page


ITEMS = (Item("pointer/parameters", "pointers of ECALLs do not lead into the enclave", _pointers),)
