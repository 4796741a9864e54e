"""Whether an enclave follows a pointer of the host's into itself: pages of it are withdrawn, and whoever touches them
is known by a #PF.

That a page is touched anyway, without any pointer to it, is found out first.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from enclu.host.errors import HostError
from enclu.host.events import EnclaveException, Event, Exit
from enclu.sgx.epc import PAGE_SIZE, PageType
from enclu.sgx.structs import EncluLeaf

if TYPE_CHECKING:
    from enclu.sweep.audit.target import Target
    from enclu.sweep.audit.ways.way import Answer, Inputs, Sample

PF, GP, UD = 14, 13, 6
WRITES = 2
"""Of a #PF's error code."""
MOST_KNOWN, MOST_TOUCHES = 24, 400
"""Instructions by which a call may touch a page of itself, and how often."""
CANDIDATES = 24
"""Pages that are tried until one is found that a call does not touch by itself."""


@dataclass(frozen=True)
class Touched:
    """A call's end, or the first touch of what was withdrawn."""

    event: Event
    page: int | None
    """The page of the enclave that was touched."""
    rip: int = 0
    """By which instruction."""

    @property
    def writes(self) -> bool:
        return isinstance(self.event, EnclaveException) and bool(self.event.error_code & WRITES)

    @property
    def faulted(self) -> EnclaveException | None:
        """An exception within the enclave, of whatever kind."""
        event = self.event
        return event if isinstance(event, EnclaveException) and event.leaf is EncluLeaf.ERESUME else None

    def answer(self, target: Target) -> Answer | None:
        return target.way.answer(self.event.registers) if isinstance(self.event, Exit) else None


def call(
    target: Target, sample: Sample, *, pages: tuple[int, ...] = (), finish: bool = True,
    known: Collection[int] = (),
) -> Touched:  # fmt: skip
    """Make a call from the fresh state, with these pages of the enclave withdrawn.

    Instructions at `known` addresses may touch them.
    """
    return _until_left(target, lambda: _enter(target, sample, finish=finish), pages, known)


class Trial(Protocol):
    """A call from the fresh state, with these pages of the enclave withdrawn, as `call` has them."""

    def __call__(self, *, pages: tuple[int, ...] = (), known: Collection[int] = ()) -> Touched: ...


def of_call(target: Target, prepare: Callable[[], Sample]) -> Trial:
    """A call to its end."""

    def trial(*, pages: tuple[int, ...] = (), known: Collection[int] = ()) -> Touched:
        target.fresh()
        return call(target, prepare(), pages=pages, known=known)

    return trial


def touching(trial: Trial, page: int) -> set[int]:
    """The instructions by which a call touches a page of itself; no more than `MOST_KNOWN`."""
    found: set[int] = set()
    for _ in range(MOST_KNOWN):
        touched = trial(pages=(page,), known=found)
        if touched.page != page or touched.rip in found:
            break
        found.add(touched.rip)
    return found


def again(
    target: Target, inputs: Inputs, *, pages: tuple[int, ...] = (), known: Collection[int] = ()
) -> Touched:  # fmt: skip
    """Go on with a call that has left for an OCALL, to its end."""
    entry = target.entry

    def enter() -> Event:
        entry.enter(**inputs, timeout=2.0)
        return target.way.finish(entry)

    return _until_left(target, enter, pages, known)


def _enter(target: Target, sample: Sample, *, finish: bool) -> Event:
    entry = target.enter(sample.registers)
    return target.way.finish(entry) if finish else entry.event


def _until_left(
    target: Target, enter: Callable[[], Event], pages: tuple[int, ...], known: Collection[int] = ()
) -> Touched:  # fmt: skip
    with withdrawn(target, pages):
        found = _touched(target, enter())
        for _ in range(MOST_TOUCHES):
            if found.page not in pages or found.page is None or found.rip not in known:
                break
            found = _touched(target, _let(target, found.page))
    return found


def _touched(target: Target, event: Event) -> Touched:
    if not isinstance(event, EnclaveException) or event.leaf is not EncluLeaf.ERESUME:
        return Touched(event, None)
    rip = target.ssa(target.stepping.tcs(target.tcs)["CSSA"] - 1).gprsgx.rip
    page = event.address & -PAGE_SIZE if event.vector == PF and target.inside(event.address) else None
    return Touched(event, page, rip)


def _let(target: Target, page: int) -> Event:
    """Let the instruction touch the page, and go on with it withdrawn again."""
    entry = target.entry
    target.stepping.grant(page)
    if target.step(entry):
        target.stepping.withdraw(page)
        target.go_on(entry)
    else:
        target.stepping.withdraw(page)
    return target.way.finish(entry)


@contextlib.contextmanager
def withdrawn(target: Target, pages: tuple[int, ...]) -> Iterator[None]:
    """Pages of the enclave, for the length of a `with`."""
    taken: list[int] = []
    try:
        for page in pages:
            with contextlib.suppress(OSError, HostError):
                target.stepping.withdraw(page)
                taken.append(page)
        yield
    finally:
        if target.process.alive:
            for page in taken:
                target.stepping.grant(page)


def spare_page(target: Target, *trials: Trial) -> int | None:
    """A page of data that these do not touch by themselves; None if every one that was tried is touched."""
    pages = data_pages(target)
    step = max(1, len(pages) // CANDIDATES)
    for page in pages[::-step][:CANDIDATES]:
        if all(trial(pages=(page,)).page != page for trial in trials):
            return page
    return None


def data_pages(target: Target) -> list[int]:
    """Pages that can be read and written, in the order of their addresses."""
    return sorted(
        target.base + address
        for region in target.enclave.image.regions()
        if region.added and region.page_type == PageType.REG and region.flags & 7 == 3
        for address in range(region.offset, region.offset + region.size, PAGE_SIZE)
    )


def is_tcs(target: Target, address: int) -> bool:
    """Whether it is in the page of a TCS, which no instruction may touch anyway."""
    return address & -PAGE_SIZE in {target.base + offset for offset in target.enclave.image.tcs}
