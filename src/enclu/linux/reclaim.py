"""Eviction and reload of EPC pages.  Kernel: arch/x86/kernel/cpu/sgx/main.c (sgx_reclaim_pages), encl.c (ELDU)."""

from __future__ import annotations

import contextlib
import errno
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter
from typing import TYPE_CHECKING

from enclu.base.events import PageEvicted, PageRefused, PageReloaded
from enclu.linux.encl_page import EnclPage, PageRun
from enclu.sgx import encls
from enclu.sgx.epc import PAGE_SIZE
from enclu.sgx.exceptions import Fault
from enclu.sgx.structs import ErrorCode

if TYPE_CHECKING:
    from enclu.linux.encl import Encl
    from enclu.linux.kernel import Kernel
    from enclu.sgx.encls.paging import Evicted

SGX_NR_TO_SCAN = 16
MOST_AHEAD = 128
"""Pages that are reloaded at one fault, at most."""
_BY_INDEX = attrgetter("index")


class Reclaimer:
    """ksgxd: evicts the pages that were loaded longest ago."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._active: OrderedDict[EnclPage | PageRun, None] = OrderedDict()
        self._count = 0
        """Pages in it."""
        self.young: Callable[[], Iterable[EnclPage]] = tuple
        """Those that have just been accessed, as far as somebody knows."""

    def add(self, page: EnclPage) -> None:
        """The page is in the EPC and may be evicted."""
        self._active[page] = None
        self._count += 1

    def add_run(self, run: PageRun) -> None:
        """The same of pages that have been added together."""
        self._active[run] = None
        self._count += len(run.epc)

    def forget(self, page: EnclPage) -> None:
        if page.run is not None or page in self._active:
            self._count -= 1
        page.run = None
        self._active.pop(page, None)

    def forget_run(self, run: PageRun) -> None:
        """Those of its pages that nobody has asked for are no more."""
        if self._active.pop(run, run) is None:
            self._count -= run.epc.untouched_count

    @property
    def plenty(self) -> bool:
        """There are so many pages that those which are `young` stay, whatever is loaded at one fault."""
        return max(self._count, self._kernel.machine.epc.free) >= 2 * MOST_AHEAD

    def _age(self) -> None:
        """sgx_reclaimer_age(): pages that have just been accessed go last."""
        for page in self.young():
            self.forget(page)
            self.add(page)

    def _oldest(self, count: int) -> list[EnclPage]:
        """Take up to `count` pages, those first that were loaded first."""
        taken: list[EnclPage] = []
        while self._active and len(taken) < count:
            first, _ = self._active.popitem(last=False)
            if isinstance(first, EnclPage):
                taken.append(first)
            elif some := first.oldest(count - len(taken)):
                taken += some
                self._active[first] = None
                self._active.move_to_end(first, last=False)
        self._count -= len(taken)
        return taken

    def reclaim(self, count: int = SGX_NR_TO_SCAN) -> None:
        """sgx_reclaim_pages(): evict a batch of pages.  First sgx_reclaimer_block(), then sgx_reclaimer_write()."""
        self._age()
        batches: dict[Encl, list[EnclPage]] = {}
        for page in self._oldest(count):
            epc = page.epc
            assert epc is not None
            encls.eblock(epc)
            batches.setdefault(page.encl, []).append(page)
        for encl, pages in batches.items():
            pages.sort(key=_BY_INDEX)  # neighbours are hidden as one
            encl.zap(*_ranges(pages))
        for encl in batches:
            if encl.secs is not None and encl.secs.page.valid:
                encl.track()
        for encl, pages in batches.items():
            self._bring_home(encl, pages)
            self._write_back_run(encl, pages)
        for encl in batches:
            secs, own = encl.secs, encl.secs_page
            if secs is not None and own is not None and encl.initialized and not secs.children and own.epc is not None:
                self._write_back(own)

    def _bring_home(self, encl: Encl, pages: list[EnclPage]) -> None:
        """What processors have done to pages that nobody uses any more is undone before they are written back."""
        epcs = [page.epc for page in pages if page.epc is not None]
        self._kernel.processors.leaves_epc(epcs)
        for page, epc in zip(pages, epcs, strict=True):
            if epc.lease is not None:
                memory = encl.data_of(page.index)
                memory[:] = epc.data
                epc.data = memory
                epc.end_lease()

    def _write_back_run(self, encl: Encl, pages: list[EnclPage]) -> None:
        """sgx_encl_ewb() of pages of one enclave, blocked and tracked."""
        kernel = self._kernel
        done = 0
        while done < len(pages):
            va, slots = encl.take_slots(len(pages) - done)
            batch = [page.epc for page in pages[done : done + len(slots)] if page.epc is not None]
            pcmds = encls.ewb_run(kernel.machine, batch, va.epc, slots)
            # What was a page's memory is its backing store now: it is there, and nobody can see it.
            for page, epc, slot, pcmd in zip(pages[done:], batch, slots, pcmds, strict=False):
                page.backing = (va, slot, epc.data, pcmd)
                page.epc = None
            kernel.free_all(batch[: len(pcmds)])
            if kernel.events.heard(PageEvicted):
                for page in pages[done : done + len(pcmds)]:
                    kernel.events.emit(PageEvicted, encl.eid, page.address)
            done += len(pcmds)
            if len(pcmds) < len(slots):
                va.free.extend(reversed(slots[len(pcmds) :]))
                self._write_back(pages[done])
                done += 1

    def _write_back(self, page: EnclPage) -> None:
        kernel, encl, epc = self._kernel, page.encl, page.epc
        assert epc is not None
        va, (slot,) = encl.take_slots(1)
        try:
            code, ciphertext, pcmd = encls.ewb(kernel.machine, epc, va.epc, slot)
        except Fault:  # lost with the EPC: nothing of it will come back
            va.free.append(slot)
        else:
            if code:
                raise AssertionError(f"EWB of a blocked and tracked page: {ErrorCode(code).name}")
            epc.data[:] = ciphertext
            page.backing = (va, slot, epc.data, pcmd)
        page.epc = None
        kernel.free(epc)
        if page is not encl.secs_page:
            kernel.events.emit(PageEvicted, encl.eid, page.address)

    @property
    def most_ahead(self) -> int:
        """Pages that may be reloaded at once: so few that none of them is evicted for the sake of the last."""
        return min(MOST_AHEAD, max(1, (self._kernel.machine.epc.free + self._count) // 4))

    def make_room(self, count: int) -> None:
        """Pages are about to be allocated: what must be evicted for them goes as one batch."""
        missing = count - self._kernel.machine.epc.free
        if missing > 0:
            self.reclaim(max(missing, SGX_NR_TO_SCAN))

    @staticmethod
    def reloadable(encl: Encl, index: int, end: int, prot: int) -> list[EnclPage]:
        """The evicted pages from `index` on, `end` at most, that may have PROT_* `prot`.

        They end where something that it takes to bring the next one back is not in the EPC.
        """
        found: list[EnclPage] = []
        own, get = encl.secs_page, encl.pages.get
        if own is None or own.epc is None or not own.epc.valid:
            return found
        while index < end:
            page = get(index)
            if page is None or page.epc is not None or page.backing is None or prot & ~page.max_prot:
                break
            if not page.backing[0].epc.valid:
                break
            found.append(page)
            index += 1
        return found

    def load_secs(self, encl: Encl) -> None:
        """sgx_encl_load_secs().  Whatever else is to be allocated comes before.  Raises OSError as `reload`."""
        if encl.secs_page is not None and encl.secs_page.epc is None:
            self.reload(encl.secs_page)

    def reload(self, page: EnclPage) -> None:
        """sgx_encl_eldu().  Raises OSError: ENOMEM, or EFAULT for a page that is lost or is not what was evicted."""
        kernel, encl = self._kernel, page.encl
        own = encl.secs_page
        secs_page = page is own
        data = memoryview(bytearray(PAGE_SIZE)) if secs_page else encl.data_of(page.index)
        epc = kernel.allocate()
        if not secs_page:
            # Only now: the allocation may have evicted the enclave's last children, and the SECS with them.
            try:
                self.load_secs(encl)
            except OSError:
                kernel.free(epc)
                raise
        assert encl.secs is not None
        if page.backing is None:
            kernel.free(epc)
            raise OSError(errno.EFAULT, f"{page.address:#x} was lost with the EPC")
        va, slot, ciphertext, pcmd = page.backing
        epc.data = data
        address = 0 if secs_page else page.address
        try:
            code = encls.eldu(kernel.machine, epc, va.epc, slot, ciphertext, pcmd, address, encl.secs)
            lost = None
        except Fault as fault:  # the version array, or the SECS, was lost with the EPC
            code, lost = ErrorCode.SGX_PG_INVLD, str(fault)
        if code:
            why = lost or ErrorCode(code).name
            kernel.free(epc)
            kernel.events.emit(PageRefused, encl.secs.eid, address, why)
            raise OSError(errno.EFAULT, f"ELDU of {page.address:#x}: {why}")
        va.free.append(slot)
        page.backing = None
        page.epc = epc
        if secs_page:
            encl.secs.page = epc
            return
        self.add(page)
        kernel.events.emit(PageReloaded, encl.secs.eid, page.address)

    def reload_run(self, pages: list[EnclPage]) -> int:
        """`reload` of `reloadable` neighbours, as far as they can come without an eviction; how many came."""
        if not pages:
            return 0
        kernel, encl, secs = self._kernel, pages[0].encl, pages[0].encl.secs
        assert secs is not None
        try:
            memory = encl.data_of_run(pages[0].index, min(len(pages), kernel.machine.epc.free))
        except OSError:
            return 0
        fresh = kernel.machine.epc.allocate_all(len(memory))
        copies: list[Evicted] = []
        for page, epc, data in zip(pages, fresh, memory, strict=False):
            assert page.backing is not None
            va, slot, ciphertext, pcmd = page.backing
            copies.append((va.epc, slot, ciphertext, pcmd))
            epc.data = data
        came = encls.eldu_run(kernel.machine, fresh, copies, pages[0].address, secs)
        loaded = pages[:came]
        for page, epc in zip(loaded, fresh, strict=False):
            assert page.backing is not None
            va, slot, _, _ = page.backing
            va.free.append(slot)
            page.backing = None
            page.epc = epc
        self._active.update(dict.fromkeys(loaded))
        self._count += came
        if kernel.events.heard(PageReloaded):
            for page in loaded:
                kernel.events.emit(PageReloaded, secs.eid, page.address)
        if came < len(fresh):
            kernel.free_all(fresh[came:])
            with contextlib.suppress(OSError):  # nobody has asked for it
                self.reload(pages[came])
        return came


def _ranges(pages: list[EnclPage]) -> Iterator[tuple[int, int]]:
    """Addresses [start, end) of neighbours, of pages in order."""
    start = end = pages[0].index
    for page in pages:
        index = page.index
        if index != end:
            yield start << 12, end << 12
            start = index
        end = index + 1
    yield start << 12, end << 12
