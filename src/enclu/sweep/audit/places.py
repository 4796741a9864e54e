"""Where a hostile host has a pointer lead: into the enclave, across its borders, to NULL, out of all bounds; and what
tells that the enclave follows it there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from enclu.base.abi import MAP_ANONYMOUS, MAP_FIXED_NOREPLACE, MAP_PRIVATE
from enclu.host.events import EnclaveException
from enclu.sgx.epc import PAGE_SIZE
from enclu.sweep.audit.touching import PF, Touched

if TYPE_CHECKING:
    from enclu.sweep.audit.target import Target
    from enclu.sweep.audit.ways.way import Answer

HUGE = 0xFFFF_8000_0000_0000
READ_WRITE = 3


@dataclass(frozen=True)
class Place:
    """An address that a host should not have followed."""

    name: str
    address: int
    watched: int
    """The page of the enclave that shows it."""
    within: bool = False
    """Something there is the enclave's."""


def places(target: Target, page: int, usual: int, before: Collection[int]) -> Iterator[Place]:
    """`page` is one of the enclave that a call does not touch by itself, `usual` a right address.

    `before` has how many bytes before the borders something begins that goes across them.
    """
    yield Place("inside", page + 0x40, page, within=True)
    if before and _map_below(target):
        for size in before:
            yield Place("across the lower border", target.base - size, target.base, within=True)
    for size in before:
        yield Place("across the upper border", target.end - size, target.end - PAGE_SIZE, within=True)
    yield Place("NULL", 0, page)
    yield Place("huge", HUGE, page)
    yield Place("misaligned", usual + 1, page)


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


def touched(target: Target, found: Touched, watched: int, known: Collection[int]) -> str:
    """What has touched the page other than the instructions that do so anyway; empty if nothing has."""
    if found.page != watched or found.rip in known:
        return ""
    if found.rip & -PAGE_SIZE == watched:
        return "it jumps there"
    return f"{target.place(found.rip)} {_does(found)} there"


def followed_null(target: Target, found: Touched) -> str:
    """What has followed it; empty if nothing has."""
    event = found.faulted
    if event is None or event.vector != PF or event.address >= PAGE_SIZE:
        return ""
    return (
        f"{target.place(found.rip)} {_does(found)} at address {event.address:#x}, "
        "where a hostile kernel maps what it likes"
    )


def overran(target: Target, found: Touched) -> str:
    """Memory of its own that the enclave has run out of; empty if it has not."""
    if found.page is None:
        return ""
    return f"{target.place(found.rip)} runs out of the enclave's memory, to {target.place(found.page)}"


def ended(target: Target, found: Touched, usual: Answer | None) -> str:
    """How a call has ended, in words."""
    answer = found.answer(target)
    if answer is not None and answer == usual:
        return "as usual, without a touch"
    event = found.faulted
    if isinstance(event, EnclaveException):
        return f"{target.way.told(event)}, by {target.place(found.rip)}"
    return target.way.told(found.event)


def _does(found: Touched) -> str:
    return "writes" if found.writes else "reads"
