"""An enclave as it is between two instructions, kept and brought back: pages, their EPCM entries, its mappings.

A thread that was interrupted is part of it, for the SSA and the TCS are pages.  What has changed since is found by
comparing those pages that could be written to; what is brought back is what has changed.
"""

from __future__ import annotations

import ctypes
import errno
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from enclu.base.events import Ioctl, PageEvicted, PageReloaded
from enclu.linux.encl_page import EnclPage
from enclu.sgx.epc import PAGE_SIZE, EPCPage, PageType
from enclu.sgx.processor import WINDOW
from enclu.sgx.structs import TCS, EncluLeaf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from enclu.base.listeners import Events
    from enclu.linux.encl import Encl
    from enclu.linux.mm import MM
    from enclu.run.stepping.sources import Stream

_WORDS = PAGE_SIZE // 8
_AT_ONCE = 64
"""Pages that are compared by one call."""
_memcmp = ctypes.CDLL(None).memcmp
_memcmp.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
_LEAVES = (EncluLeaf.EACCEPT, EncluLeaf.EMODPE, EncluLeaf.EACCEPTCOPY)
"""What enclaves change the EPCM by."""
Part = tuple[int, "NDArray[np.uint64]", "NDArray[np.uint64]"]
_STORES = (EncluLeaf.EREPORT, EncluLeaf.EGETKEY)
"""By which they have the processor write to their pages, whatever the page tables show of them."""


@dataclass(frozen=True)
class Entry:
    """A page and its EPCM entry."""

    max_prot: int
    type: PageType
    pt: PageType
    rwx: int
    blocked: bool
    pending: bool
    modified: bool
    pr: bool
    epoch: int

    @classmethod
    def of(cls, page: EnclPage) -> Entry:
        epc = page.epc
        assert epc is not None
        state = epc.blocked, epc.pending, epc.modified, epc.pr, epc.epoch
        return cls(page.max_prot, page.type, epc.pt, epc.rwx, *state)

    def give(self, page: EnclPage) -> None:
        """The page has this entry again."""
        epc = page.epc
        assert epc is not None
        page.max_prot, page.type = self.max_prot, self.type
        epc.pt, epc.rwx, epc.blocked, epc.pending = self.pt, self.rwx, self.blocked, self.pending
        epc.modified, epc.pr, epc.epoch = self.modified, self.pr, self.epoch


class Changes:
    """What changes EPCM entries and which pages there are, counted for all enclaves: whether to look at each."""

    def __init__(self, events: Events) -> None:
        self._count = 0
        self._leaves = events.leaves
        events.listen(self._happened, Ioctl, PageEvicted, PageReloaded)

    def _happened(self, event: object) -> None:
        self._count += 1

    def __call__(self, encl: Encl) -> tuple[int, ...]:
        """Equal to what it was if nothing has changed."""
        leaves = (self._leaves.counts[leaf] for leaf in _LEAVES)
        return (self._count, len(encl.pages), *leaves)

    def stores(self) -> tuple[int, ...]:
        """Equal to what it was if the processor has written to nothing but SSAs and TCSes."""
        return tuple(self._leaves.counts[leaf] for leaf in _STORES)


class Checkpoint:
    """Of one enclave, which nobody executes while something is done here.  Raises OSError."""

    def __init__(self, encl: Encl, changes: Changes) -> None:
        self._encl = encl
        self._changes = changes
        self.given: Counter[Stream] = Counter()
        """`Sources.given`."""
        self._take()

    def _take(self) -> None:
        encl = self._encl
        for page in list(encl.pages.values()):
            if page.epc is None:
                encl.kernel.reclaimer.reload(page)
        if any(page.epc is None for page in encl.pages.values()):
            raise OSError(errno.ENOMEM, "the enclave does not fit into the EPC: a checkpoint has all of its pages")
        self.entries = {page.index: Entry.of(page) for page in encl.pages.values()}
        self.runs = [(low, self._pages(low, high).copy()) for low, high in _runs(self.entries)]
        self.mappings = {mm: _mappings(mm, encl) for mm in encl.mms}
        for mm in encl.mms:
            mm.note_writable()
        self._processors = self._processors_own()
        self._known: tuple[set[int], list[Part]] = set(), []
        self._note()

    def _note(self) -> None:
        """Nothing but what is told from now on has changed since."""
        self._state, self._stores = self._changes(self._encl), self._changes.stores()

    def _processors_own(self) -> set[int]:
        """TCSes and the frames of their SSAs, to which the processor writes at AEXs and entries."""
        encl, secs, own = self._encl, self._encl.secs, set[int]()
        assert secs is not None
        for index in [index for index, entry in self.entries.items() if entry.pt == PageType.TCS]:
            tcs = TCS.unpack(encl.content(index, index + 1))
            first = secs.baseaddr + tcs["OSSA"] >> 12
            own |= {index, *range(first, first + min(tcs["NSSA"] * secs.ssaframesize, len(self.entries)))}
        return own

    def _written(self) -> set[int] | None:
        """Pages that may have changed; None: any."""
        if self._encl.mms != self.mappings.keys():  # somebody may have come, written and gone
            return None
        sets = [mm.writable for mm in self._encl.mms]
        if self._state != self._changes(self._encl) or self._stores != self._changes.stores() or None in sets:
            return None
        return self._processors.union(*(pages for pages in sets if pages is not None))

    def _pages(self, low: int, high: int) -> NDArray[np.uint64]:
        """Pages [low, high) by index, as they are now: those of the enclave, not a copy."""
        return np.frombuffer(self._encl.content(low, high), np.uint64).reshape(-1, _WORDS)

    def move(self) -> int:
        """Be of the enclave as it is now; how many pages have changed."""
        if self._state != self._changes(self._encl) or self._unmapped():
            self._take()
            return len(self.entries)
        count = self._each_changed(
            lambda now, then, changed: then.__setitem__(changed, now[changed]), among=self._written()
        )
        self._note()
        return count

    def restore(self) -> int:
        """Have the enclave be as it was then; how many pages had changed."""
        encl = self._encl
        for mm, mappings in self.mappings.items():
            if _extent(_mappings(mm, encl)) != _extent(mappings):
                raise OSError(errno.EFAULT, "the host has mapped or unmapped parts of the enclave since the checkpoint")
        changed, written = 0, self._written()
        if self._state != self._changes(encl):
            changed += self._restore_entries()
        executed: list[int] = []

        def back(now: NDArray[np.uint64], then: NDArray[np.uint64], which: NDArray[np.bool_]) -> None:
            now[which] = then[which]

        changed += self._each_changed(back, executed, written)
        if encl.execution is not None:
            for index in executed:
                encl.execution.changed(index)
        for mm, mappings in self.mappings.items():
            if _mappings(mm, encl) != mappings:
                _remap(mm, encl, mappings)
        self._note()
        return changed

    def patch(self, address: int, before: bytes, code: bytes) -> None:
        """The machine itself has put this in place of what was there before, which is no change of the enclave's.

        Unless the enclave had something else there then: that is what it gets back.
        """
        index, at = address >> 12, address & 0xFFF
        for low, then in self.runs:
            if low <= index < low + len(then):
                kept = then[index - low].view(np.uint8)[at : at + len(code)]
                if kept.tobytes() == before:
                    kept[:] = list(code)

    def _each_changed(
        self, do: Callable[[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.bool_]], object],
        executed: list[int] | None = None, among: set[int] | None = None,
    ) -> int:  # fmt: skip
        """Do something to neighbouring pages and their copies, with those that differ; how many do.

        `executed` gets those of them that may be executed; `among` are the only ones that are looked at, if given.
        """
        count = 0
        for first, now, before in self._parts(among):
            changed = _different(now, before)
            number = int(np.count_nonzero(changed))
            if number:
                count += number
                do(now, before, changed)
                if executed is not None:
                    where = (first + int(i) for i in np.flatnonzero(changed))
                    executed += [index for index in where if self.entries[index].rwx & 4]
        return count

    def _parts(self, among: set[int] | None) -> list[Part]:
        """Neighbouring pages by the first one's index, as they are now and as they were."""
        if among is None:
            return [(low, self._pages(low, low + len(then)), then) for low, then in self.runs]
        if among != self._known[0]:
            self._known = among, [
                (first, self._pages(first, last), then[first - low : last - low])
                for low, then in self.runs for first, last in _runs_in(among, low, low + len(then))
            ]  # fmt: skip
        return self._known[1]

    def _unmapped(self) -> bool:
        return any(_mappings(mm, self._encl) != then for mm, then in self.mappings.items())

    def _restore_entries(self) -> int:
        """Pages that are gone come back, those that have come go, and all have the entries that they had."""
        encl, changed = self._encl, 0
        kernel = encl.kernel
        for page in list(encl.pages.values()):
            if page.index not in self.entries:
                encl.zap((page.address, page.address + PAGE_SIZE))
                kernel.remove(page)
                del encl.pages[page.index]
                encl.shrink()
                encl.memory.discard(page.address - encl.base, PAGE_SIZE)
                changed += 1
        for index, entry in self.entries.items():
            found = encl.pages.get(index)
            if found is None:
                found = self._added(index, entry)
                changed += 1
            elif found.epc is None:
                kernel.reclaimer.reload(found)
            if Entry.of(found) != entry:
                encl.zap((index << 12, index + 1 << 12))
                entry.give(found)
                changed += 1
        return changed

    def _added(self, index: int, entry: Entry) -> EnclPage:
        """A page that has been removed since."""
        encl = self._encl
        encl.grow()
        try:
            epc: EPCPage = encl.kernel.allocate()
        except OSError:
            encl.shrink()
            raise
        assert encl.secs is not None
        epc.valid, epc.secs, epc.enclaveaddress = True, encl.secs, index << 12
        epc.data = encl.data_of(index)
        encl.secs.children += 1
        page = EnclPage(encl, index, entry.max_prot, entry.type, epc)
        encl.pages[index] = page
        encl.kernel.reclaimer.add(page)
        return page


def _runs_in(indexes: set[int], low: int, high: int) -> list[tuple[int, int]]:
    """Neighbours among those in [low, high)."""
    return _runs(index for index in indexes if low <= index < high)


def _different(now: NDArray[np.uint64], then: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which pages are not the same; memcmp(3) passes over those of which none is."""
    different = np.zeros(len(now), np.bool_)
    size, now_at, then_at = now.nbytes, now.ctypes.data, then.ctypes.data
    for first in range(0, len(now), _AT_ONCE):
        at = first * PAGE_SIZE
        if _memcmp(now_at + at, then_at + at, min(_AT_ONCE * PAGE_SIZE, size - at)):
            few = slice(first, first + _AT_ONCE)
            different[few] = (now[few] != then[few]).any(axis=1)
    return different


def _runs(indexes: Iterable[int]) -> list[tuple[int, int]]:
    """Neighbouring pages, [low, high), none across a window of the memory."""
    runs: list[tuple[int, int]] = []
    for index in sorted(indexes):
        if runs and runs[-1][1] == index and (index << 12) % WINDOW:
            runs[-1] = runs[-1][0], index + 1
        else:
            runs.append((index, index + 1))
    return runs


def _mappings(mm: MM, encl: Encl) -> list[tuple[int, int, int]]:
    """Those of the enclave, neighbours with the same rights as one."""
    found: list[tuple[int, int, int]] = []
    for vma in mm.vmas:
        if vma.encl is encl:
            if found and found[-1][1:] == (vma.start, vma.prot):
                found[-1] = found[-1][0], vma.end, vma.prot
            else:
                found.append((vma.start, vma.end, vma.prot))
    return found


def _remap(mm: MM, encl: Encl, wanted: list[tuple[int, int, int]]) -> None:
    """Have mappings, which are all there, have the rights that they had."""
    for start, end, prot in wanted:
        for vma in [vma for vma in mm.vmas if vma.encl is encl and vma.start < end and start < vma.end]:
            if vma.prot != prot:
                mm.mprotect(max(start, vma.start), min(end, vma.end), prot)


def _extent(mappings: list[tuple[int, int, int]]) -> list[tuple[int, int]]:
    extent: list[tuple[int, int]] = []
    for start, end, _ in mappings:
        if extent and extent[-1][1] == start:
            extent[-1] = extent[-1][0], end
        else:
            extent.append((start, end))
    return extent
