"""What OCALLs answer is the host's: a pointer may lead into the enclave, a number may be out of all bounds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from enclu.host.events import EnclaveException, Exit
from enclu.sweep.audit.checklist import Audit, Item
from enclu.sweep.audit.touching import PF, again, call, spare_page

if TYPE_CHECKING:
    from enclu.sweep.audit.target import Target
    from enclu.sweep.audit.verdict import Finding
    from enclu.sweep.audit.ways.way import Answer, Result, Sample

CALLS = 64
"""Sample calls that are made to see which OCALLs they make."""
LARGE = 0x10_0000
"""A number of bytes that is more than any buffer has, and less than would overflow."""


def _results(audit: Audit, item: Item) -> Iterator[Finding]:
    target = audit.target
    met: set[str] = set()
    others: set[str] = set()
    for number in range(CALLS):
        target.fresh()
        sample = _sample(target, number)
        if sample is None:
            break
        answer = call(target, sample, finish=False).answer(target)
        if answer is None or answer.returned:
            continue
        results = list(target.way.results(answer))
        if not results:
            others.add(f"OCALL {answer.status} of {sample.name}")
        for which, result in enumerate(results):
            subject = f"{sample.name}: {result.name}"
            if subject not in met:
                met.add(subject)
                yield _tried(target, item, number, which, subject)
    if others:
        yield item.undecided("their results are not known, or are no numbers of eight bytes", ", ".join(sorted(others)))
    if not met and not others:
        yield item.undecided("no sample call makes an OCALL")


def _sample(target: Target, number: int) -> Sample | None:
    return next((s for i, s in enumerate(target.way.samples()) if i == number), None)


def _ocall(target: Target, number: int, which: int) -> Result | None:
    """Make the call anew, up to its OCALL."""
    target.fresh()
    sample = _sample(target, number)
    answer: Answer | None = call(target, sample, finish=False).answer(target) if sample is not None else None
    if answer is None or answer.returned:
        return None
    results = list(target.way.results(answer))
    return results[which] if which < len(results) else None


def _tried(target: Target, item: Item, number: int, which: int, subject: str) -> Finding:
    def prepared() -> Sample:
        sample = _sample(target, number)
        assert sample is not None
        return sample

    page = spare_page(target, prepared)
    result = _ocall(target, number, which)
    if page is None or result is None:
        return item.undecided("the call touches every page of data that was tried by itself", subject)
    weak: list[str] = []
    sound: list[str] = []
    found = again(target, result.give(page + 0x40), pages=(page,))
    if found.page == page:
        weak.append(f"a pointer into the enclave is followed: {target.place(found.rip)} "
                    f"{'writes' if found.writes else 'reads'} at {target.place(page + 0x40)}")  # fmt: skip
    else:
        sound.append(f"a pointer into the enclave: {target.way.told(found.event)}")
    result = _ocall(target, number, which)
    if result is not None:
        found = again(target, result.give(LARGE))
        if found.page is not None:
            weak.append(f"{LARGE:#x} is taken as a number of bytes: {target.place(found.rip)} runs out of "
                        f"the enclave's memory, to {target.place(found.page)}")  # fmt: skip
        elif _away(target, found.event):
            weak.append(
                f"{LARGE:#x} leads the enclave astray: {target.way.told(found.event)}, by {target.place(found.rip)}"
            )
        else:
            sound.append(f"{LARGE:#x}: {target.way.told(found.event)}")
    return item.weak("; ".join(weak), subject=subject) if weak else item.sound("; ".join(sound), subject=subject)


def _away(target: Target, event: object) -> bool:
    """A #PF where the enclave would execute something that is not its own."""
    if not isinstance(event, EnclaveException) or isinstance(event, Exit) or event.vector != PF:
        return False
    return not target.inside(target.ssa(target.stepping.tcs(target.tcs)["CSSA"] - 1).gprsgx.rip)


ITEMS = (Item("pointer/ocall-results", "results of OCALLs are looked at before they are used", _results),)
