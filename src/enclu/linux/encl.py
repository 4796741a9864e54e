"""An enclave as the kernel sees it.  Kernel: arch/x86/kernel/cpu/sgx/encl.h, encl.c."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from enclu.linux.encl_page import VA_SLOT_COUNT, EnclPage, EnclPages, VAPage
from enclu.sgx import encls
from enclu.sgx.epc import PAGE_SIZE, EPCPage
from enclu.sgx.processor import WINDOW
from enclu.sgx.structs import Attribute, ErrorCode

if TYPE_CHECKING:
    from collections.abc import Callable

    from enclu.linux.kernel import Kernel
    from enclu.linux.mm import MM
    from enclu.sgx.processor import EnclaveMemory, Execution
    from enclu.sgx.secs import Secs

UNPRIVILEGED = Attribute.DEBUG | Attribute.MODE64BIT | Attribute.KSS | Attribute.AEXNOTIFY
"""SGX_ATTR_UNPRIV_MASK: attributes that need no /dev/sgx_provision."""


class Encl:
    """struct sgx_encl.  Implements `sgx.processor.ShownEnclave`."""

    def __init__(self, kernel: Kernel, memory: EnclaveMemory, f_mode: int) -> None:
        self.kernel = kernel
        self.memory = memory
        self.f_mode = f_mode
        """FMODE_*, of the one open file that an enclave has."""
        self.base = 0
        self.size = 0
        self.created = False
        self.initialized = False
        self.busy = False
        """SGX_ENCL_IOCTL: an ioctl is under way."""
        self.attributes_mask = int(UNPRIVILEGED)
        self.secs: Secs | None = None
        self.secs_page: EnclPage | None = None
        self._pages = EnclPages()
        self.ahead: Callable[[], None] | None = None
        """Has added what is still to be added (`linux.add_pages.add_ready`), before anybody looks."""
        self.page_count = 0
        self.va_pages: list[VAPage] = []
        self.mms: set[MM] = set()
        self.execution: Execution | None = None

    @property
    def pages(self) -> EnclPages:
        self.settle()
        return self._pages

    def settle(self) -> None:
        """Every page has been added that the program has been told is."""
        if self.ahead is not None:
            ahead, self.ahead = self.ahead, None
            ahead()

    @property
    def eid(self) -> int:
        """SECS.EID, 0 before ECREATE."""
        return self.secs.eid if self.secs is not None else 0

    @property
    def xfrm(self) -> int:
        """SECS.ATTRIBUTES.XFRM of a created enclave."""
        assert self.secs is not None
        return self.secs.xfrm

    def epc_page(self, index: int) -> EPCPage | None:
        page = self.pages.get(index)
        return page.epc if page is not None else None

    def resident(self, address: int) -> EPCPage | None:
        """The page at a linear address, if it is in the EPC."""
        return self.epc_page(address >> 12)

    def content(self, low: int, high: int) -> memoryview:
        return self.memory.view((low << 12) - self.base, (high - low) * PAGE_SIZE)

    def show(self, index: int) -> None:
        for mm in list(self.mms):
            mm.show(index << 12, index + 1 << 12)

    def is_shown(self, index: int) -> bool:
        return any(mm.shown(index << 12) for mm in self.mms)

    def grow(self, count: int = 1) -> None:
        """sgx_encl_grow(): account for `count` more pages, each with a version slot.  Raises OSError ENOMEM."""
        while self.page_count + count > len(self.va_pages) * VA_SLOT_COUNT:
            epc = self.kernel.allocate()
            encls.epa(epc)
            self.va_pages.append(VAPage(epc))
        self.page_count += count

    def take_slots(self, most: int) -> tuple[VAPage, list[int]]:
        """Version slots for pages that are evicted, one at least: `most`, or as many as one version array has."""
        for va in reversed(self.va_pages):
            if va.free:
                return va, va.take(most)
        raise AssertionError("sgx_encl_grow() gives every page a version slot")

    def shrink(self) -> None:
        """sgx_encl_shrink(): one page fewer, and a version array fewer if an unused one is left over."""
        self.page_count -= 1
        if self.page_count <= (len(self.va_pages) - 1) * VA_SLOT_COUNT:
            for va in self.va_pages:
                if len(va.free) == VA_SLOT_COUNT:
                    self.va_pages.remove(va)
                    encls.eremove(va.epc)
                    self.kernel.free(va.epc)
                    return

    def data_of(self, index: int) -> memoryview:
        """The memory of a page.  Raises OSError."""
        return self.memory.view((index << 12) - self.base, PAGE_SIZE)

    def data_of_run(self, index: int, count: int) -> list[memoryview]:
        """The memory of each of `count` pages, or of fewer: those in one window.  Raises OSError."""
        offset = (index << 12) - self.base
        size = min(count * PAGE_SIZE, WINDOW - offset % WINDOW)
        whole = self.memory.view(offset, size)
        return [whole[at : at + PAGE_SIZE] for at in range(0, size, PAGE_SIZE)]

    def load(self, address: int) -> EnclPage:
        """sgx_encl_load_page(): the page, brought back into the EPC if need be.  Raises OSError EFAULT."""
        page = self.pages.get(address >> 12)
        if page is None:
            raise OSError(errno.EFAULT, f"no enclave page at {address:#x}")
        if page.epc is None:
            self.kernel.reclaimer.reload(page)
        return page

    def track(self) -> None:
        """sgx_enclave_etrack(): every thread that may hold an old translation leaves the enclave."""
        secs, processors = self.secs, self.kernel.processors
        assert secs is not None
        if encls.etrack(secs) == ErrorCode.SGX_PREV_TRK_INCMPL:
            processors.kick(secs.eid)
            encls.etrack(secs)
        processors.begin_epoch(secs.eid, secs.epoch)
        if secs.late:
            processors.kick(secs.eid)

    def zap(self, *ranges: tuple[int, int]) -> None:
        """sgx_zap_enclave_ptes(): no mm keeps a translation to pages of these ranges of addresses."""
        self.kernel.processors.revoke(self.eid, ranges)
        for mm in self.mms:
            mm.zap(self, ranges)
