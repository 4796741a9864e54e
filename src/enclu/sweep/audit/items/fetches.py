"""Double fetches: what an enclave reads twice from untrusted memory, its host can change in between.

Arguments' pages are withdrawn, given back for one instruction at each #PF, and withdrawn again: so every access is
known.  A word that two instructions read is changed before the second one, once to a pointer into the enclave and once
to a large number.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from enclu.host.events import EnclaveException, Exit
from enclu.sgx.epc import PAGE_SIZE
from enclu.sgx.structs import EncluLeaf
from enclu.sweep.audit.checklist import Audit, Item
from enclu.sweep.audit.code import memory
from enclu.sweep.audit.touching import PF, WRITES, of_call, spare_page, withdrawn
from enclu.sweep.audit.ways.way import ROOM

if TYPE_CHECKING:
    from enclu.host.events import Event
    from enclu.sweep.audit.target import Target
    from enclu.sweep.audit.verdict import Finding
    from enclu.sweep.audit.ways.way import Sample

ACCESSES = 600
"""Of one call, that are looked at."""
CHANGES = 24
"""Of one call, reads before which a word is changed."""
CALLS = 32
LARGE = 0x7FFF_FFFF
WORD = 8


@dataclass(frozen=True)
class Access:
    """Of untrusted memory, by an instruction of the enclave."""

    number: int
    """Which access of the page it is."""
    address: int
    size: int
    rip: int
    writes: bool

    @property
    def words(self) -> range:
        """Addresses of the words that it is within."""
        return range(self.address & -WORD, self.address + self.size, WORD)


@dataclass(frozen=True)
class Twice:
    """A word that is read by an instruction, and then by another."""

    word: int
    first: Access
    second: Access


def _fetches(audit: Audit, item: Item) -> Iterator[Finding]:
    some = False
    for number in range(CALLS):
        target = audit.target
        sample = target.way.numbered(number)
        if sample is None:
            break
        page = _page(target, sample)
        if page is None:
            continue
        found = _call(target, item, number, sample.name, page)
        some |= found is not None
        if found is not None:
            yield found
    if not some:
        yield item.undecided("no sample call reads anything of its structure")


def _prepared(target: Target, number: int) -> Sample:
    target.fresh()
    sample = target.way.numbered(number)
    assert sample is not None
    return sample


def _page(target: Target, sample: Sample) -> int | None:
    """The page of the call's structure."""
    room = target.way.room
    found = [value & -PAGE_SIZE for value in sample.registers.values() if room <= value < room + ROOM * PAGE_SIZE]
    return found[0] if found else None


def _call(target: Target, item: Item, number: int, name: str, page: int) -> Finding | None:
    accesses, _ = _accesses(target, _prepared(target, number), page)
    if not accesses:
        return None
    twice = list(_twice(accesses))[:CHANGES]
    if not twice:
        what = f"no word of its structure is read by two instructions, in {len(accesses)} accesses"
        return item.sound(what + (", the first of more" if len(accesses) >= ACCESSES else ""), subject=name)
    spare = spare_page(target, of_call(target, lambda: _prepared(target, number)))
    harmless: list[str] = []
    for each in twice:
        weak = _changed(target, number, page, each, spare)
        told = f"{each.word - page:#x} is read at {target.place(each.first.rip)} and at {target.place(each.second.rip)}"
        if weak:
            return item.weak(f"{told}; changed in between, {weak}", subject=name)
        harmless.append(told)
    shown = "; ".join(harmless[:3]) + (f"; and {len(harmless) - 3} more" if len(harmless) > 3 else "")
    return item.sound(f"{shown}; changed in between, the end is as if it had been changed before",
                      subject=name)  # fmt: skip


def _accesses(
    target: Target, sample: Sample, page: int, change: tuple[int, int, int] | None = None
) -> tuple[list[Access], Event]:  # fmt: skip
    """Of a page; `change` is an access before which a word gets another value."""
    target.withdraw_outside(page)
    target.stepping.disarm(target.tcs)
    entry = target.enter(sample.registers)
    found: list[Access] = []
    while len(found) < ACCESSES:
        event = entry.event
        if not isinstance(event, EnclaveException) or event.leaf is not EncluLeaf.ERESUME or event.vector != PF:
            break
        if event.address & -PAGE_SIZE != page:
            break
        target.grant_outside(page)
        if change is not None and change[0] == len(found):
            target.way.memory.write(change[1], change[2].to_bytes(WORD, "little"))
        cssa = target.stepping.tcs(target.tcs)["CSSA"]
        frame = target.ssa(cssa - 1).gprsgx
        here = [(at, size) for at, size in memory(target, frame) if page - size < at < page + PAGE_SIZE]
        address, size = here[0] if here else (page, 0)
        found.append(Access(len(found), address, size, frame.rip, bool(event.error_code & WRITES)))
        if change is not None and change[0] < len(found):
            target.go_on(entry)
            break
        if not target.step(entry):
            break
        target.process.syscall("mprotect", page, PAGE_SIZE, 0)
        target.go_on(entry)
    target.grant_outside(page)
    return found, target.way.finish(entry)


def _twice(accesses: list[Access]) -> Iterator[Twice]:
    """Words that are read again, by another instruction than before, without a write of its own in between."""
    read: dict[int, tuple[Access, Access]] = {}
    for access in accesses:
        for word in access.words:
            if access.writes:
                read.pop(word, None)
                continue
            first, last = read.get(word, (access, access))
            if last.rip != access.rip:
                yield Twice(word, first, access)
            read[word] = first, access


def _changed(target: Target, number: int, page: int, twice: Twice, spare: int | None) -> str:
    """What comes of it that would not if the word had been so from the first, or had stayed; empty if nothing."""
    values = [LARGE] if spare is None else [spare + 0x40, LARGE]
    usual = _end(target, target.way.finish(target.enter(_prepared(target, number).registers)))
    for value in values:
        sample = _prepared(target, number)
        target.way.memory.write(twice.word, value.to_bytes(WORD, "little"))
        before = _end(target, target.way.finish(target.enter(sample.registers)))
        sample = _prepared(target, number)
        with withdrawn(target, (spare,) if spare is not None else ()):
            _, event = _accesses(target, sample, page, (twice.second.number, twice.word, value))
        end = _end(target, event)
        if isinstance(event, EnclaveException) and event.vector == PF and event.address & -PAGE_SIZE == spare:
            return f"to {target.address(value)}, the enclave touches that page of its own, {target.place(value)}"
        if end not in (usual, before):
            left = target.way.told(event)
            return f"to {target.address(value)}, {left}; unchanged {usual[0]}, changed before {before[0]}"
    return ""


def _end(target: Target, event: Event) -> tuple[str, bytes]:
    """How a call ends, and what it has put into untrusted memory."""
    if not isinstance(event, Exit):
        return target.way.told(event), b""
    answer = target.way.answer(event.registers)
    return str(answer), b"" if answer.refused else target.way.memory.read(target.way.room, ROOM << 12)


ITEMS = (Item("memory/double-fetch", "nothing is read twice from where the host can change it", _fetches),)
