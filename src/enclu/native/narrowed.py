"""Enclaves whose XFRM is less than XCR0: where in their code something may stand that depends on XCR0.

Hardware has XCR0 = XFRM in an enclave; here it stays the host's, so each such instruction (`sgx.xcr0`) must stop the
thread, for `xcr0_stops` to do what it does with XFRM.  No byte of the enclave is changed for that: where an executable
page has bytes that look like one, at any offset, a debug register watches each place at which the instruction could
begin.  Whether it is one is for the processor to say, by reaching it.

There are few debug registers.  So a page with such places is executable only while all of them are watched; when the
processor fetches from one that is not, it takes the place of the page that was there longest.  Decoding from an
instruction that was reached (`reach`) only says which places lie inside another instruction: those are the ones that
go without where registers are short.  Of a page that needs more than there are, instructions are executed one by one,
while nobody else is in the enclave (`Alone`).

What is writable may change at any time: a page that is writable and executable is shown as either, never as both.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from enclu.base import console
from enclu.base.abi import PROT_EXEC, PROT_WRITE
from enclu.base.protocol import Protocol
from enclu.native import debug_registers
from enclu.sgx import xcr0
from enclu.sgx.epc import EPCPage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from enclu.native.thread import Thread
    from enclu.sgx.processor import PageTables, ShownEnclave

_CHUNK = 512
"""Pages that are looked through at once."""
_BOTH = PROT_WRITE | PROT_EXEC


class Others(Protocol):
    """Whoever knows all threads, and can stop them."""

    def in_all(self, eid: int, action: Callable[[Thread], object], but: Thread) -> None:
        """Do something to every other thread that executes in the enclave, while it is stopped."""

    def over(self, eid: int) -> None:
        """The enclave is no more."""

    @property
    def debug_registers(self) -> int:
        """How many of them no debugger has in use."""

    def none_in(self, eid: int, but: Thread) -> AbstractContextManager[None]:
        """No other thread executes in the enclave meanwhile."""


class NarrowedEnclave:
    """One of them.  Implements `sgx.processor.Execution`."""

    def __init__(self, others: Others, enclave: ShownEnclave) -> None:
        self._others = others
        self._enclave = enclave
        self.xfrm = enclave.xfrm
        self._eid = enclave.eid
        self._known: set[int] = set()
        """Pages, by index, whose bytes have been looked through and cannot have changed since."""
        self._starts: dict[int, frozenset[int]] = {}
        """Of the known pages that have any: where an instruction may begin that has its opcode there."""
        self._inside: set[int] = set()
        """Those that lie inside an instruction that control flow reaches."""
        self._decoded: set[int] = set()
        """Where decoding began."""
        self._watched: list[int] = []
        """Pages with such places that may be executed, the one that came last in front."""
        self.breakpoints: tuple[int, ...] = ()
        """What the debug registers of all threads in the enclave have."""
        self._executed: set[int] = set()
        """Of the pages that are writable and executable, those that are executed now."""
        self._stale: set[int] = set()
        """Pages to be shown again."""
        self._alone: tuple[PageTables, range] | None = None
        """Pages of which one instruction is executed by itself, and where."""
        self._race = (0, 0, 0)
        self._capacity = debug_registers.COUNT

    # Execution.

    def granted(self, tables: PageTables, index: int, page: EPCPage, prot: int) -> int:
        """How much of PROT_* `prot`, as VMA and EPCM allow it, this memory map may have of the page at present."""
        if self._alone is not None and self._alone[0] is tables and index in self._alone[1]:
            return prot
        if page.rwx & PROT_WRITE:
            if page.rwx & _BOTH != _BOTH or index not in self._executed:
                self._executed.discard(index)
                self._forget(index)
                return prot & ~PROT_EXEC
            prot &= ~PROT_WRITE
        if prot & PROT_EXEC and self._places(index) and index not in self._watched:
            prot &= ~PROT_EXEC
        return prot

    def changed(self, index: int) -> None:
        """Somebody has written to the page."""
        self._forget(index)
        self._show_again(index)

    def look_again(self, index: int) -> None:
        """Something was taken for an instruction of ours because bytes of the next page were not there."""
        self._forget(index)
        self._show(index)

    def settle(self) -> None:
        """Show the pages again whose neighbours' bytes may have changed."""
        while self._stale:
            self._show_again(self._stale.pop())

    def gone(self) -> None:
        """The enclave is no more."""
        self._others.over(self._eid)

    # What is found in the pages.

    def _forget(self, index: int) -> None:
        """The page's bytes may change, and with them what is found at the ends of its neighbours."""
        for known in (index - 1, index, index + 1):
            if known in self._known:
                self._known.remove(known)
                if known != index:
                    self._stale.add(known)
                if self._starts.pop(known, None):
                    self._inside = {start for start in self._inside if start >> 12 != known}
                    self._decoded.clear()
                    if known in self._watched:
                        self._watched.remove(known)

    def _places(self, index: int) -> frozenset[int]:
        if index not in self._known:
            self._look_through(index)
        return self._starts.get(index, frozenset())

    def _settled(self, index: int) -> bool:
        """The page is in the EPC, and its bytes stay what they are while nobody calls `changed`."""
        page = self._enclave.epc_page(index)
        return page is not None and (not page.rwx & PROT_WRITE or index in self._executed)

    def _look_through(self, index: int) -> None:
        """Find the places of a page, and of those around it that are not known either."""
        chunk = index // _CHUNK * _CHUNK
        low, high = index, index + 1
        while low > chunk and low - 1 not in self._known and self._settled(low - 1):
            low -= 1
        while high < chunk + _CHUNK and high not in self._known and self._settled(high):
            high += 1
        before = bytes(self._enclave.content(low - 1, low)[-xcr0.LONGEST :]) if self._settled(low - 1) else b""
        after = bytes(self._enclave.content(high, high + 1)[: xcr0.LONGEST]) if self._settled(high) else b""
        code = before + bytes(self._enclave.content(low, high)) + after
        base = (low << 12) - len(before)
        end = len(code) - len(after)
        opcodes = [match.start() for match in xcr0.PATTERN.finditer(code, len(before)) if match.start() < end]
        if not after:  # what follows is not here, or not for good: it may be anything
            opcodes += [end - len(tail) for tail in xcr0.TAILS if code.endswith(tail)]
        found: dict[int, set[int]] = {}
        for at in opcodes:
            starts = found.setdefault((base + at) >> 12, set())
            starts.update(base + start for start in xcr0.starts(code, at))
            if base in starts and not before:  # the like in front
                starts.update(range(base + at - xcr0.LONGEST + 3, base))
        self._starts.update((i, frozenset(starts)) for i, starts in found.items())
        self._known.update(range(low, high))

    # What is watched.

    def watch(self, thread: Thread, index: int, rip: int) -> bool:
        """Make the page executable, whose instruction at `rip` the thread is about to execute.

        False if there are not enough debug registers for it, and for the page of `rip` if that is another.
        """
        wanted = [i for i in dict.fromkeys((index, rip >> 12)) if self._places(i)]
        pages = [*wanted, *(i for i in self._watched if i not in wanted)]
        kept = self._fitting(pages)
        if len(kept) < len(pages) and rip not in self._decoded:
            self._decode(rip)
            kept = self._fitting(pages)
        if len(kept) < len(wanted):
            return False
        dropped = [i for i in self._watched if i not in kept]
        self._watched = [i for i in self._watched if i in kept]
        self._show(*dropped)
        self.breakpoints = self._registers(kept)
        if not self._arm(thread):
            return False
        self._others.in_all(self._eid, self._arm, but=thread)
        if self.breakpoints == self._registers(kept):
            self._watched = kept  # else another thread's turn came meanwhile
        self._show(index, *wanted)
        return True

    def _needed(self, index: int) -> list[int]:
        return sorted(self._places(index) - self._inside)

    def _fitting(self, pages: list[int]) -> list[int]:
        """As many of these pages, the first of them first, as there are debug registers for."""
        kept, room = [], min(self._capacity, self._others.debug_registers)
        for index in pages:
            room -= len(self._needed(index))
            if room < 0:
                break
            kept.append(index)
        return kept

    def _registers(self, pages: list[int]) -> tuple[int, ...]:
        """What to watch of these pages: what is needed, and of the rest what there is room for."""
        needed = [start for index in pages for start in self._needed(index)]
        others = [start for index in pages for start in sorted(self._places(index) & self._inside)]
        return tuple((needed + others)[: min(self._capacity, self._others.debug_registers)])

    def _arm(self, thread: Thread) -> bool:
        """Load its debug registers.  False if the host has none to give: then nothing is watched any more."""
        try:
            debug_registers.load(thread, self.breakpoints)
        except ProcessLookupError:
            raise
        except OSError as error:
            console.say(f"the host gives no debug registers ({error.strerror}): enclaves whose XFRM is less than XCR0 "
                        "will be slow")  # fmt: skip
            self._capacity, self.breakpoints = 0, ()
            watched, self._watched = self._watched, []
            self._show(*watched)
            return False
        return True

    def entered(self, thread: Thread) -> None:
        """The thread is about to execute its first instruction after a leaf."""
        self._arm(thread)

    def _decode(self, rip: int) -> None:
        """Find out which places lie inside instructions that are reached from this one."""
        from enclu.native.reach import reached

        low, high = rip >> 12, (rip >> 12) + 1
        low -= self._settled(low - 1)
        high += self._settled(high)
        instructions = reached(bytes(self._enclave.content(low, high)), low << 12, rip)
        places = frozenset[int]().union(*(self._places(i) for i in range(low, high)))
        within = {at for start, size in instructions.items() for at in range(start + 1, start + size)}
        self._inside = (self._inside | places & within) - instructions.keys()
        self._decoded.add(rip)

    def raced(self, tid: int, rip: int, address: int) -> bool:
        """A fault looks as if the page had been made executable since: true once, as a second one is none of that."""
        before, self._race = self._race, (tid, rip, address)
        return before != self._race

    # Writing and executing in turn.

    def execute(self, index: int) -> None:
        """A page that is writable and executable is to be executed from now on."""
        self._executed.add(index)
        self._forget(index)
        self._show(index)

    def write(self, index: int) -> None:
        """It is to be written."""
        self._executed.discard(index)
        self._show(index)

    def executed(self, index: int) -> bool:
        return index in self._executed

    def to_be_executed(self, index: int) -> bool:
        """It is not executed now and may be, and written, by the EPCM: what one mapping allows does not matter."""
        page = self._enclave.epc_page(index)
        return page is not None and page.rwx & _BOTH == _BOTH and index not in self._executed

    @contextlib.contextmanager
    def alone(self, thread: Thread, pages: range) -> Iterator[None]:
        """The pages as VMA and EPCM allow them, while no other thread of the enclave runs."""
        with self._others.none_in(self._eid, but=thread):
            self._alone = thread.space, pages
            try:
                self._show(*pages)
                yield
            finally:
                self._alone = None
                for index in pages:
                    self._forget(index)
                self._show(*pages)

    def _show_again(self, index: int) -> None:
        """A page that nobody is shown is looked through when it is: until then nothing is to be seen of this."""
        if self._enclave.is_shown(index):
            self._show(index)

    def _show(self, *indexes: int) -> None:
        for index in indexes:
            self._enclave.show(index)
