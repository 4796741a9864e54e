"""What OCALLs answer is the host's: a pointer may lead into the enclave, a number may be out of all bounds.

Nobody knows what a result is.  Each is tried as a pointer and as a number; what others bring about as well is no doing
of the value at hand: a right pointer, a small number, a pointer to elsewhere in the enclave.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from enclu.host.errors import HostError
from enclu.sgx.epc import PAGE_SIZE
from enclu.sweep.audit.checklist import Audit, Item
from enclu.sweep.audit.places import Place, ended, followed_null, overran, places, touched
from enclu.sweep.audit.touching import (
    GP,
    MOST_KNOWN,
    PF,
    Touched,
    Trial,
    again,
    data_pages,
    is_tcs,
    spare_page,
    touching,
)

if TYPE_CHECKING:
    from enclu.sweep.audit.target import Target
    from enclu.sweep.audit.verdict import Finding
    from enclu.sweep.audit.ways.way import Answer

CALLS = 64
"""Sample calls that are made to see which OCALLs they make."""
OCALLS = 16
"""Of one call, that are looked at."""
LARGE = 0x10_0000
"""A number of bytes that is more than any buffer has, and less than would overflow."""
SMALL = 8
LOW = 3 * PAGE_SIZE
"""Where nothing is, as at NULL: what follows one result follows the other."""
BEFORE = 8, 1
"""Bytes before a border: of what is larger than a word, and aligned, and of whatever is larger than a byte."""


class _NotMadeError(HostError):
    """The call has not come to its OCALL again."""


@dataclass(frozen=True)
class _Met:
    """A result of an OCALL."""

    target: Target
    number: int
    """Of the sample call."""
    ocall: int
    """How many it has made before."""
    which: int

    def given(self, value: int | None) -> Trial:
        """The call to its end, with this for its result; with None it comes to nothing, as far as that is known."""

        def trial(*, pages: tuple[int, ...] = (), known: Collection[int] = ()) -> Touched:
            target = self.target
            answer = next(itertools.islice(_ocalls(target, self.number), self.ocall, None), None)
            results = list(target.way.results(answer)) if answer is not None else []
            if answer is None or self.which >= len(results):
                raise _NotMadeError("the call does not always come to it")
            back = target.way.back(answer) if value is None else None
            inputs = back if back is not None else results[self.which].give(value or 0)
            return again(target, inputs, pages=pages, known=known)

        return trial


def _results(audit: Audit, item: Item) -> Iterator[Finding]:
    target = audit.target
    met: dict[str, _Met] = {}
    others: set[str] = set()
    for number in range(CALLS):
        target.fresh()
        sample = target.way.numbered(number)
        if sample is None:
            break
        for ocall, answer in enumerate(itertools.islice(_ocalls(target, number), OCALLS)):
            results = list(target.way.results(answer))
            if not results:
                others.add(f"OCALL {answer.status} of {sample.name}")
            for which, result in enumerate(results):
                met.setdefault(f"{sample.name}: {result.name}", _Met(target, number, ocall, which))
    for subject, each in met.items():
        try:
            yield _tried(target, item, each, subject)
        except _NotMadeError as error:
            yield item.undecided(str(error), subject)
    if others:
        yield item.undecided("their results are not known, or are no numbers of eight bytes", ", ".join(sorted(others)))
    if not met and not others:
        yield item.undecided("no sample call makes an OCALL")


def _ocalls(target: Target, number: int) -> Iterator[Answer]:
    """Make a sample call anew, up to each of its OCALLs, with those before come to nothing."""
    target.fresh()
    sample = target.way.numbered(number)
    if sample is not None:
        yield from target.way.ocalls(target.enter(sample.registers))


def _tried(target: Target, item: Item, met: _Met, subject: str) -> Finding:
    right = target.way.elsewhere()
    controls = [met.given(None), met.given(right), met.given(SMALL)]
    page = spare_page(target, *controls[:2]) or spare_page(target, controls[0])
    if page is None:
        return item.undecided("the call touches every page of data that was tried by itself", subject)
    plain = [control() for control in controls]
    usual = plain[0].answer(target)
    weak: dict[str, str] = {}
    sound: dict[str, str] = {}
    number = Place("a mebibyte", LARGE, page)
    for place in (*places(target, page, right, BEFORE), number):
        found, told = _leads(target, met, place, controls)
        anyway = not told and place.within and found.page == place.watched
        if not told and not anyway:
            told = _strays(target, found, plain)
        if anyway:
            sound.setdefault(place.name, f"{place.name}: nothing can be told, as its page is touched anyway")
        elif told:
            weak.setdefault(place.name, f"{place.name} ({target.address(place.address)}): {told}")
        else:
            sound.setdefault(place.name, f"{place.name}: {ended(target, found, usual)}")
    if weak:
        return item.weak("; ".join(weak.values()), subject=subject)
    return item.sound("; ".join(sound.values()), subject=subject)


def _leads(target: Target, met: _Met, place: Place, controls: list[Trial]) -> tuple[Touched, str]:
    """What comes of a result, and whether it is followed; an address that is none of the enclave's shows in no page."""
    trial = met.given(place.address)
    if not place.within:
        found = trial()
        return found, followed_null(target, found) if not place.address and _moves(met, found) else ""
    if is_tcs(target, place.watched):
        found = trial()
        return found, touched(target, found, place.watched, ())
    other = next((page for page in reversed(data_pages(target)) if page != place.watched), target.base)
    known: set[int] = set()
    for control in (*controls, met.given(other + 0x40)):
        known |= touching(control, place.watched)
    found = trial(pages=(place.watched,), known=known)
    return found, touched(target, found, place.watched, known) if len(known) < MOST_KNOWN else ""


def _moves(met: _Met, found: Touched) -> bool:
    """Whether a fault at NULL is the result's: with another number, it is there, by the same instruction."""
    other = met.given(LOW)()
    event = other.faulted
    return event is not None and event.vector == PF and event.address & -PAGE_SIZE == LOW and other.rip == found.rip


def _strays(target: Target, found: Touched, plain: list[Touched]) -> str:
    """Whether a number has the enclave leave its own memory or code, where not every number does."""
    event = found.faulted
    if event is None or event.vector not in (PF, GP) or all(each.faulted and each.rip == found.rip for each in plain):
        return ""
    if not target.inside(found.rip):
        return f"it leads the enclave astray: {target.way.told(event)}, by {target.place(found.rip)}"
    return overran(target, found)


ITEMS = (Item("pointer/ocall-results", "results of OCALLs are looked at before they are used", _results),)
