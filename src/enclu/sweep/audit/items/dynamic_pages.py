"""Pages that an enclave manages as it runs (SGX2): what the kernel says of them counts for nothing until EACCEPT.

A host that is asked to restrict the rights of pages, to make a TCS of one or to trim it, says that it has, and has not.
EACCEPT finds that the EPCM is not as expected, and says so in RAX and RFLAGS.ZF alone (SDM 3D, EACCEPT).  An enclave
that does not look takes a page for read-only that can be written.  Pages that are added need no such trial: the
processor lets nobody touch a page that has not been accepted.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from enclu.host.conventions.sdk import emm
from enclu.host.errors import HostError
from enclu.sweep.audit.checklist import Audit, Item
from enclu.sweep.audit.touching import call
from enclu.sweep.audit.ways.sdk import SdkWay

if TYPE_CHECKING:
    from enclu.host.conventions.sdk.abi import EmmModify
    from enclu.host.enclave import Enclave
    from enclu.sweep.audit.target import Target
    from enclu.sweep.audit.verdict import Finding
    from enclu.sweep.audit.ways.way import Answer, Sample

CALLS = 32
WHAT = {
    emm.Change.RIGHTS: "restricted rights", emm.Change.TCS: "pages made TCSes", emm.Change.TRIM: "trimmed pages"
}  # fmt: skip
START = "its start and first call"


@dataclass
class _Host:
    """What is asked of it, and whether it lies."""

    lies: emm.Change | None = None
    """What it says it has done, and does not do."""
    asked: set[emm.Change] = field(default_factory=set)

    def modify(self, enclave: Enclave, request: EmmModify) -> int:
        change = emm.change(request)
        if change is not None:
            self.asked.add(change)
            if change is self.lies:
                return emm.SUCCESS
        return emm.modify(enclave, request)


@dataclass(frozen=True)
class _End:
    """Of a call."""

    answer: Answer | None
    """If it has left by EEXIT."""
    told: str


def _dynamic(audit: Audit, item: Item) -> Iterator[Finding]:
    image = audit.image
    added = sum(region.size for region in image.regions() if not region.added)
    run_time = getattr(image, "run_time", None)
    if not added or (run_time is not None and not run_time.edmm):
        yield item.not_applicable("the enclave takes no pages at run time")
    elif not isinstance(audit.target.way, SdkWay):
        yield item.undecided(
            f"{added >> 12} pages of addresses are for pages added at run time: how the enclave asks for them is not "
            "known of its protocol"
        )
    else:
        found = list(_trials(audit, item))
        yield from found
        if not found:
            yield item.undecided("neither its start nor a sample call asks for a change that EACCEPT would have to see")


def _trials(audit: Audit, item: Item) -> Iterator[Finding]:
    host = _Host()
    yield from _each(item, START, host, lambda: _started(audit, host))
    target = audit.answering(host.modify, warm=True)
    try:
        names = [sample.name for sample in itertools.islice(target.way.samples(), CALLS)]
        for number, name in enumerate(names):
            yield from _each(item, name, host, functools.partial(_again, target, host, number))
    finally:
        target.close()


def _each(item: Item, subject: str, host: _Host, end: Callable[[], _End]) -> Iterator[Finding]:
    """How it ends with a host that does what is asked, and with one that does all but one thing."""
    host.asked.clear()
    usual = end()
    for change in [change for change in WHAT if change in host.asked]:
        host.lies = change
        try:
            lied = end()
        finally:
            host.lies = None
        yield _judged(item, subject, change, usual, lied)


def _again(target: Target, host: _Host, number: int) -> _End:
    lies, host.lies = host.lies, None
    target.fresh()  # which may have to load the enclave anew
    sample = target.way.numbered(number)
    assert sample is not None
    host.lies = lies
    return _ended(target, sample)


def _started(audit: Audit, host: _Host) -> _End:
    """An enclave that is loaded anew, and has got one call."""
    try:
        target = audit.answering(host.modify, warm=False)
    except HostError as error:
        return _End(None, f"it does not start: {error}")
    try:
        return _ended(target, target.way.sample())
    finally:
        target.close()


def _ended(target: Target, sample: Sample) -> _End:
    found = call(target, sample)
    return _End(found.answer(target), target.way.told(found.event))


def _judged(item: Item, where: str, change: emm.Change, usual: _End, lied: _End) -> Finding:
    subject = f"{where}: {WHAT[change]}"
    if usual.answer is None:
        return item.undecided(f"it ends badly, also where the host does what it is asked: {usual.told}", subject)
    if lied.answer != usual.answer:
        return item.sound(f"told that this was done, where it was not: {lied.told}", subject=subject)
    as_ever = f"told that this was done, where it was not, it ends as ever: {lied.told}"
    if change is emm.Change.TRIM:
        return item.undecided(f"{as_ever}. A page that it has given up for good does no harm where it is", subject)
    return item.weak(as_ever, subject=subject)


ITEMS = (Item("memory/dynamic-pages", "of pages it manages, it believes EACCEPT and not the host", _dynamic),)
