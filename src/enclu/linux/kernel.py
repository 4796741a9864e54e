"""The kernel of one run: its enclaves, the EPC's management and the chosen delivery design."""

from __future__ import annotations

import errno
import functools
import os
from typing import TYPE_CHECKING

from enclu.base.events import EnclaveCreated, EnclaveRemoved, EpcLost
from enclu.sgx import encls
from enclu.sgx.structs import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Callable

    from enclu.base.listeners import Events
    from enclu.linux.delivery.base import Delivery
    from enclu.linux.encl import Encl
    from enclu.linux.encl_page import EnclPage, PageRun
    from enclu.linux.mm import MM
    from enclu.linux.reclaim import Reclaimer
    from enclu.sgx.epc import EPCPage, EPCRun
    from enclu.sgx.machine import Machine
    from enclu.sgx.processor import EnclaveMemory, Processors


class Kernel:
    """Holds what is global to the kernel side."""

    def __init__(self, machine: Machine, delivery: Delivery, events: Events, processors: Processors) -> None:
        self.machine = machine
        self.delivery = delivery
        self.events = events
        self.processors = processors
        self.loading: Callable[[Encl], None] = lambda encl: None
        """Called when an enclave is created and whenever pages have been added to it."""
        self.ahead = True
        """Evicted pages may come back before anybody has asked for them: not where somebody steps."""
        self._enclaves: dict[Encl, None] = {}
        self._by_eid: dict[int, Encl] = {}

    @functools.cached_property
    def reclaimer(self) -> Reclaimer:
        """ksgxd."""
        from enclu.linux.reclaim import Reclaimer  # for enclaves alone

        return Reclaimer(self)

    def enclaves(self) -> list[Encl]:
        return list(self._enclaves)

    def enclave(self, eid: int) -> Encl:
        """The one with this SECS.EID.  Raises KeyError."""
        return self._by_eid[eid]

    def use(self) -> None:
        """sgx_inc_usage_count(), before the device is opened: who is the first has CPUSVN updated.  Raises OSError.

        Errors are sgx_update_svn()'s.  A use ends when the enclave of the open is released.
        """
        if self._enclaves:
            return
        code = encls.eupdatesvn(self.machine)
        if code == ErrorCode.SGX_INSUFFICIENT_ENTROPY:
            raise OSError(errno.EAGAIN, "EUPDATESVN: SGX_INSUFFICIENT_ENTROPY; it may succeed later")
        if code not in (ErrorCode.SUCCESS, ErrorCode.SGX_NO_UPDATE):
            raise OSError(errno.EIO, f"EUPDATESVN: {code.name}")

    def open_enclave(self, memory: EnclaveMemory, flags: int = os.O_RDWR) -> Encl:
        """sgx_open(), which has been said to `use`; `flags` are those of open(2)."""
        from enclu.linux.encl import Encl  # for enclaves alone
        from enclu.sgx import measurement

        measurement.prepare()
        encl = Encl(self, memory, flags + 1 & os.O_ACCMODE)  # OPEN_FMODE()
        self._enclaves[encl] = None
        return encl

    def created(self, encl: Encl) -> None:
        """ECREATE has succeeded."""
        assert encl.secs is not None
        self._by_eid[encl.secs.eid] = encl
        encl.secs.page_at = encl.resident
        self.events.emit(EnclaveCreated, encl.secs.eid, encl.base, encl.size, encl.secs.attributes, encl.secs.xfrm)
        encl.execution = self.processors.execution(encl)
        self.loading(encl)

    def allocate(self) -> EPCPage:
        """sgx_alloc_epc_page() with reclaim.  Raises OSError ENOMEM when nothing more can be evicted."""
        page = self.machine.epc.allocate()
        if page is None:
            self.reclaimer.reclaim()
            page = self.machine.epc.allocate()
            if page is None:
                raise OSError(errno.ENOMEM, "the EPC is full and nothing in it can be evicted")
        return page

    def allocate_run(self, count: int) -> EPCRun:
        """`count` pages, or as many as are free; never reclaims."""
        return self.machine.epc.allocate_run(count)

    def free(self, page: EPCPage) -> None:
        self.machine.epc.release(page)

    def free_all(self, pages: list[EPCPage]) -> None:
        """`free` of each."""
        self.machine.epc.release_all(pages)

    def remove(self, page: EnclPage) -> None:
        """Take a page out of its enclave, from the EPC or from the backing store."""
        self.reclaimer.forget(page)
        if page.epc is not None:
            epc = page.epc
            code = encls.eremove(epc)
            if code == ErrorCode.SGX_ENCLAVE_ACT:
                self.processors.revoke(page.encl.eid)  # nobody may be in it
                self.processors.kick(page.encl.eid)
                code = encls.eremove(epc)
            if code:
                raise OSError(errno.EBUSY, f"EREMOVE: {ErrorCode(code).name}")
            page.epc = None
            self.free(epc)
        elif page.backing is not None:
            va, slot, _, _ = page.backing
            va.epc.data[slot * 8 : slot * 8 + 8] = bytes(8)
            va.free.append(slot)
            page.backing = None

    def _remove_untouched(self, run: PageRun) -> None:
        """The same of all pages of a run that nobody has asked for; no processor is in the enclave."""
        self.reclaimer.forget_run(run)
        code = encls.eremove_untouched(run.epc)
        assert not code, ErrorCode(code).name
        self.machine.epc.release_untouched(run.epc)

    def release(self, encl: Encl) -> None:
        """sgx_encl_release(): the last reference is gone, after sgx_release() of the last descriptor and mapping."""
        if encl not in self._enclaves:
            return
        del self._enclaves[encl]
        if encl.execution is not None:
            encl.execution.gone()
            encl.execution = None  # which refers to the enclave, too
        secs = encl.secs
        if secs is not None:
            for mode in secs.inside:
                mode.leave()
            for page in encl.pages.single():
                self.remove(page)
            for run in encl.pages.runs:
                self._remove_untouched(run)
            if encl.secs_page is not None:
                self.remove(encl.secs_page)
            self._by_eid.pop(secs.eid, None)
            self.machine.enclaves.pop(secs.eid, None)
            secs.abandon()
            self.events.emit(EnclaveRemoved, secs.eid)
        encl.pages.clear()
        encl.secs_page = None  # which refers to the enclave, as `page_at` did: no garbage in circles
        for va in encl.va_pages:
            encls.eremove(va.epc)
            self.free(va.epc)
        encl.va_pages.clear()
        encl.memory.close()

    def drop_epc(self) -> None:
        """What a suspend to memory or disk does to enclaves.  The kernel does not look after them on resume.

        Tasks are frozen first, so that those in an enclave leave it by an AEX for an interrupt and meet the loss at
        their next ERESUME.  Bookkeeping stays: the driver learns of the loss where its ENCLS leaves fault.
        """
        lost = [va.epc for encl in self._enclaves for va in encl.va_pages]
        for encl in self._enclaves:
            if encl.created:
                self.processors.revoke(encl.eid)
                self.processors.kick(encl.eid)
            pages = [page for page in (encl.secs_page, *encl.pages.values()) if page is not None]
            lost += [page.epc for page in pages if page.epc is not None]
        self.machine.lose_power(lost)
        self.events.emit(EpcLost, sum(encl.created for encl in self._enclaves))
        for encl in self._enclaves:
            if encl.created:
                encl.zap((encl.base, encl.base + encl.size))
                encl.memory.discard(0, encl.size)

    def mm_gone(self, mm: MM) -> None:
        """sgx_mmu_notifier_release(): an address space is no more (exit or exec)."""
        mm.vmas.clear()
        for encl in self._enclaves:
            encl.mms.discard(mm)

    def invalidate(self, page: EPCPage) -> None:
        """An ENCLU leaf changed the EPCM entry: let translations follow."""
        secs = page.secs
        encl = self._by_eid.get(secs.eid) if secs is not None else None
        if encl is not None:
            for mm in encl.mms:
                mm.show(page.enclaveaddress, page.enclaveaddress + 4096)
