"""Eviction and reload of EPC pages.  Kernel: arch/x86/kernel/cpu/sgx/main.c (sgx_reclaim_pages), encl.c (ELDU)."""

from __future__ import annotations

import errno
from collections import OrderedDict
from collections.abc import Iterator
from typing import TYPE_CHECKING

from enclu.base.events import PageEvicted, PageRefused, PageReloaded
from enclu.linux.encl import Encl
from enclu.linux.encl_page import EnclPage, PageRun, VAPage
from enclu.sgx import encls
from enclu.sgx.epc import PAGE_SIZE
from enclu.sgx.exceptions import Fault
from enclu.sgx.structs import ErrorCode

if TYPE_CHECKING:
    from enclu.linux.kernel import Kernel

SGX_NR_TO_SCAN = 16
MOST_AHEAD = 64
"""Pages that are reloaded at one fault, at most."""


class Reclaimer:
    """ksgxd: evicts the pages that were loaded longest ago."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._active: OrderedDict[EnclPage | PageRun, None] = OrderedDict()
        self._count = 0
        """Pages in it."""

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
        """Evict a batch of pages, as ksgxd and sgx_reclaim_direct do."""
        batch = self._oldest(count)
        batch.sort(key=lambda page: (page.encl.eid, page.index))  # neighbours are hidden and discarded as one
        for page in batch:
            epc = page.epc
            assert epc is not None
            encls.eblock(epc)
        for first, size in _runs(batch):
            first.encl.zap(first.address, first.address + size)
        for encl in {page.encl for page in batch}:
            if encl.secs is not None and encl.secs.page.valid:
                encl.track()
        for page in batch:
            self._write_back(page)
        for encl in {page.encl for page in batch}:
            secs, own = encl.secs, encl.secs_page
            if secs is not None and own is not None and encl.initialized and not secs.children and own.epc is not None:
                self._write_back(own)

    def _slot(self, encl: Encl) -> tuple[VAPage, int]:
        for va in reversed(encl.va_pages):
            if va.free:
                return va, va.free.pop()
        raise AssertionError("sgx_encl_grow() gives every page a version slot")

    def _write_back(self, page: EnclPage) -> None:
        kernel, encl, epc = self._kernel, page.encl, page.epc
        assert epc is not None
        va, slot = self._slot(encl)
        try:
            code, ciphertext, pcmd = encls.ewb(kernel.machine, epc, va.epc, slot)
        except Fault:  # lost with the EPC: nothing of it will come back
            va.free.append(slot)
        else:
            if code:
                raise AssertionError(f"EWB of a blocked and tracked page: {ErrorCode(code).name}")
            # What was the page's memory is its backing store now: it is there, and nobody can see it.
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
    def reloadable(page: EnclPage) -> bool:
        """The page was evicted, and all that it takes to bring it back is in the EPC."""
        own = page.encl.secs_page
        if page.epc is not None or page.backing is None or own is None or own.epc is None:
            return False
        return own.epc.valid and page.backing[0].epc.valid

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


def _runs(pages: list[EnclPage]) -> Iterator[tuple[EnclPage, int]]:
    """Neighbours as one: the first of each run, and how many bytes it has."""
    i = 0
    while i < len(pages):
        first, n = pages[i], 1
        while i + n < len(pages) and (pages[i + n].encl, pages[i + n].index) == (first.encl, first.index + n):
            n += 1
        yield first, n * PAGE_SIZE
        i += n
