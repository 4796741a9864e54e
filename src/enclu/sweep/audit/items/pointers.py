"""Pointers that the host passes: into the enclave, across its border, NULL, out of all bounds.

Weak is what follows one to the enclave's own memory, or to address 0: a page of the enclave that the call does not
touch otherwise is withdrawn, and its #PF tells.  A pointer that is refused, or never followed, is sound.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from enclu.base.abi import MAP_ANONYMOUS, MAP_FIXED_NOREPLACE, MAP_PRIVATE
from enclu.host.events import EnclaveException, Interrupted
from enclu.sgx.epc import PAGE_SIZE
from enclu.sweep.audit.checklist import Audit, Item
from enclu.sweep.audit.touching import PF, Touched, call, is_tcs, spare_page, touching
from enclu.sweep.audit.verdict import Verdict

if TYPE_CHECKING:
    from enclu.sweep.audit.target import Target
    from enclu.sweep.audit.verdict import Finding
    from enclu.sweep.audit.ways.way import Answer, Slot

HUGE = 0xFFFF_8000_0000_0000
READ_WRITE = 3


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
    page = spare_page(target, lambda: slot.give(slot.usual))
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
    for name, address, watched in _places(target, slot, page):
        pages = () if is_tcs(target, watched) else (watched,)
        known = own[watched] = own.get(watched) or _own(target, slot, pages, page)
        target.fresh()
        found = call(target, slot.give(address), pages=pages, known=known)
        told = _weakness(target, found, watched, null=not address)
        if told:
            weak.append(f"{name} ({target.address(address)}): {told}")
        else:
            refused.append(f"{name}: {_end(target, found, usual)}")
    if slot.overflow is not None:
        target.fresh()
        found = call(target, slot.overflow())
        told = _overran(target, found)
        (weak if told else refused).append(f"a length that overflows: {told or _end(target, found, usual)}")
    if weak:
        return item.weak("; ".join(weak), subject=slot.name)
    return item.sound("; ".join(refused), subject=slot.name)


def _own(target: Target, slot: Slot, pages: tuple[int, ...], spare: int) -> set[int]:
    """Instructions by which the call touches these pages without any pointer to them."""
    found: set[int] = set()
    for page in pages:
        if page != spare:
            found |= touching(target, lambda: slot.give(slot.usual), page)
    return found


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


def _places(target: Target, slot: Slot, page: int) -> Iterator[tuple[str, int, int]]:
    """What, where, and the page of the enclave that shows it."""
    yield "inside", page + 0x40, page
    if slot.size > 1:
        before = min(slot.size - 1, 8)
        if slot.size > 8 and before % 8:
            before = 8
        if _map_below(target):
            yield "across the lower border", target.base - before, target.base
        yield "across the upper border", target.end - before, target.end - PAGE_SIZE
    yield "NULL", 0, page
    yield "huge", HUGE, page
    yield "misaligned", slot.usual + 1, page


def _map_below(target: Target) -> bool:
    """Have something be mapped below ELRANGE; whether there is."""
    flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE
    try:
        target.process.syscall("mmap", target.base - PAGE_SIZE, PAGE_SIZE, READ_WRITE, flags, -1, 0)
    except FileExistsError:
        return True
    except OSError:
        return False
    return True


def _weakness(target: Target, found: Touched, watched: int, *, null: bool) -> str:
    """What is weak about the end of a call; empty if nothing is."""
    does = "writes" if found.writes else "reads"
    if found.page == watched:
        return f"{target.place(found.rip)} {does} there"
    event = found.faulted
    if null and event is not None and event.vector == PF and event.address < PAGE_SIZE:
        return (
            f"{target.place(found.rip)} {does} at address {event.address:#x}, where a hostile kernel maps what it likes"
        )
    return ""


def _overran(target: Target, found: Touched) -> str:
    """Memory of its own that the enclave has run out of."""
    if found.page is None:
        return ""
    return f"{target.place(found.rip)} runs out of the enclave's memory, to {target.place(found.page)}"


def _end(target: Target, found: Touched, usual: Answer | None) -> str:
    answer = found.answer(target)
    if answer is not None and answer == usual:
        return "as usual, without a touch"
    event = found.faulted
    if isinstance(event, EnclaveException):
        return f"{target.way.told(event)}, by {target.place(found.rip)}"
    return target.way.told(found.event)


ITEMS = (Item("pointer/parameters", "pointers of ECALLs do not lead into the enclave", _pointers),)
