"""Calls when none are to be served: before the enclave has been initialised, within OCALLs that allow none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from enclu.host.events import Exit
from enclu.sweep.audit.checklist import Audit, Item
from enclu.sweep.audit.touching import call
from enclu.sweep.audit.ways.sdk import SdkWay
from enclu.sweep.audit.ways.way import Sample

if TYPE_CHECKING:
    from enclu.sweep.audit.target import Target
    from enclu.sweep.audit.verdict import Finding
    from enclu.sweep.audit.ways.way import Answer

CALLS = 32
EXECUTABLE = 4
ALL = (1 << 64) - 1


def _before(audit: Audit, item: Item) -> Iterator[Finding]:
    """A call that succeeds later must not before."""
    target = audit.target
    if not target.way.initializes:
        yield item.not_applicable(f"enclaves of the convention {target.way.name} know no call that initialises them")
        return
    usual = _succeeding(target)
    early = audit.uninitialized()
    try:
        if usual is None:
            refused = call(early, early.way.sample())
            same = refused.answer(early) == _usual(audit.target)
            if same:
                yield item.undecided("no sample call succeeds even later; one that is refused is refused alike before")
            else:
                yield item.sound(
                    f"a call that nobody serves is refused otherwise than later: {early.way.told(refused.event)}"
                )
            return
        number, expected = usual
        sample = early.way.numbered(number)
        assert sample is not None
        found = call(early, sample)
        if found.answer(early) == expected:
            yield item.weak(f"{sample.name} is served before the enclave is initialised: {early.way.told(found.event)}")
        else:
            yield item.sound(f"{sample.name} before the enclave is initialised: {early.way.told(found.event)}")
    finally:
        early.close()


def _usual(target: Target) -> Answer | None:
    return call(target, target.way.sample()).answer(target)


def _succeeding(target: Target) -> tuple[int, Answer] | None:
    """The number of a sample call that succeeds, and its answer."""
    for number in range(CALLS):
        target.fresh()
        sample = target.way.numbered(number)
        if sample is None:
            return None
        answer = call(target, sample, finish=False).answer(target)
        if answer is not None and answer.returned and not answer.refused:
            return number, answer
    return None


def _private(audit: Audit, item: Item) -> Iterator[Finding]:
    """ECALLs that are not public are for OCALLs that allow them."""
    target = audit.target
    way = target.way
    if not isinstance(way, SdkWay):
        yield item.not_applicable(f"enclaves of the convention {way.name} have no ECALLs that are private")
        return
    if way.interface is None:
        yield item.undecided("no EDL file says which ECALLs may be made when (--edl)")
        return
    private = [(n, ecall) for n, ecall in enumerate(way.interface.ecalls) if not ecall.public]
    if not private:
        yield item.not_applicable("every ECALL is public")
        return
    for number, ecall in private:
        target.fresh()
        found = call(target, way.private(number))
        answer = found.answer(target)
        if isinstance(found.event, Exit) and answer is not None and answer.returned and answer.refused:
            yield item.sound(
                f"it is refused where no OCALL is under way: {way.told(found.event)}", subject=f"{ecall.name}()"
            )
        else:
            yield item.weak(f"it is not refused where no OCALL is under way: {way.told(found.event)}",
                            subject=f"{ecall.name}()")  # fmt: skip


def _during_ocalls(audit: Audit, item: Item) -> Iterator[Finding]:
    """ECALLs made while an OCALL is under way that does not allow them."""
    target = audit.target
    if not isinstance(target.way, SdkWay):
        yield item.not_applicable(f"OCALLs of the convention {target.way.name} do not say which ECALLs they allow")
        return
    if target.way.interface is None:
        yield item.undecided("no EDL file says which OCALL allows which ECALL (--edl)")
        return
    met: set[int] = set()
    for number in range(CALLS):
        ocall = _ocall(target, number)
        if ocall is None or ocall in met or not 0 <= ocall < len(target.way.interface.ocalls):
            continue
        met.add(ocall)
        yield _nested(target, item, number, ocall)
    if not met:
        yield item.undecided("no sample call makes an OCALL")


def _ocall(target: Target, number: int) -> int | None:
    """The number of the OCALL that a sample call stands at, made from the fresh state; None if it makes none."""
    target.fresh()
    sample = target.way.numbered(number)
    answer = call(target, sample, finish=False).answer(target) if sample is not None else None
    return answer.status if answer is not None and not answer.returned else None


def _nested(target: Target, item: Item, number: int, ocall: int) -> Finding:
    way = target.way
    assert isinstance(way, SdkWay) and way.interface is not None
    name = f"{way.interface.ocalls[ocall].name}()"
    served: list[str] = []
    refused = 0
    for which in range(len(way.during(ocall))):
        if _ocall(target, number) != ocall:
            continue
        ecall, inputs = way.during(ocall)[which]
        event = target.entry.enter(**inputs, timeout=2.0)
        if isinstance(event, Exit) and way.answer(event.registers).returned and _refused(target, event):
            refused += 1
        else:
            served.append(f"{ecall}(): {way.told(event)}")
    if served:
        return item.weak(f"not refused, though it does not allow them: {'; '.join(served[:3])}", subject=name)
    return item.sound(f"{refused} ECALLs that it does not allow are refused", subject=name)


def _unexpected_return(audit: Audit, item: Item) -> Iterator[Finding]:
    """The way back from an OCALL that nobody has made."""
    target = audit.target
    inputs = target.way.stray_return()
    if inputs is None:
        yield item.not_applicable(f"enclaves of the convention {target.way.name} know no such entry")
        return
    found = call(target, Sample("a return from an OCALL", inputs), finish=False)
    event = found.event
    if found.faulted is not None and not _code(audit, found.rip):
        yield item.weak(
            f"a return from an OCALL that is not under way has the enclave go on at {target.address(found.rip)}, which "
            f"is none of its code: {target.way.told(event)}"
        )
    elif isinstance(event, Exit) and target.way.answer(event.registers).returned and not _refused(target, event):
        yield item.undecided(f"it left as if nothing were wrong: {target.way.told(event)}")
    else:
        yield item.sound(f"a return from an OCALL that is not under way: {target.way.told(event)}")


def _code(audit: Audit, address: int) -> bool:
    """Whether it is of a page that the image has executable."""
    at = address - audit.target.base
    return any(r.flags & EXECUTABLE and r.offset <= at < r.offset + r.size for r in audit.image.regions())


def _refused(target: Target, event: Exit) -> bool:
    return target.way.answer(event.registers).refused


def _parallel(audit: Audit, item: Item) -> Iterator[Finding]:
    yield item.not_applicable(
        "a TCS that a thread is in is refused by the processor: EENTER of it is #GP (SDM 3D, EENTER), for every enclave"
    )


ITEMS = (
    Item("call/before-initialisation", "no ECALL is served before the enclave is initialised", _before),
    Item("call/private", "no private ECALL is served at any other time", _private),
    Item("call/during-ocalls", "nor any ECALL in an OCALL that does not allow it", _during_ocalls),
    Item("call/stray-return", "nobody returns from an OCALL that was not made", _unexpected_return),
    Item("call/parallel", "two threads cannot be on one TCS", _parallel),
)
