"""The enclave VMAs of one address space, and the translations made from them.

One invariant: a processor may touch a page as far as VMA and EPCM both allow, if the page is in the EPC, a valid
PT_REG and accepted; else not at all.  `MM._wanted` states it and `MM._apply` establishes it.  Kernel:
arch/x86/kernel/cpu/sgx/encl.c (sgx_encl_may_map, sgx_vma_mprotect), driver.c (sgx_mmap).
"""

from __future__ import annotations

import errno
from bisect import bisect_right
from typing import TYPE_CHECKING

from enclu.base.abi import MAP_PRIVATE, MAP_TYPE, PROT_EXEC, PROT_READ, PROT_WRITE
from enclu.sgx.epc import PAGE_SIZE, EPCPage, PageType
from enclu.sgx.exceptions import PFEC, PageFault
from enclu.sgx.processor import Access

if TYPE_CHECKING:
    from collections.abc import Iterable

    from enclu.linux.encl import Encl
    from enclu.linux.interfaces import PageTables
    from enclu.linux.kernel import Kernel

NEEDS = [0] * (Access.FETCH + 1)
"""PROT_* by kind of access.  A list, not a dict: this is on the path of every EENTER, and hashing a member of an
enumeration is a Python call."""
NEEDS[Access.READ], NEEDS[Access.WRITE], NEEDS[Access.FETCH] = PROT_READ, PROT_WRITE, PROT_EXEC
FAULT_AROUND = 256
"""Pages on either side of a fault that are shown with it."""
TASK_SIZE = (1 << 47) - PAGE_SIZE


def access_of(code: int) -> Access:
    """The kind of access that a page-fault error code tells."""
    return Access.WRITE if code & PFEC.W else Access.FETCH if code & PFEC.I else Access.READ


class VMA:
    """A mapping of an enclave: [start, end), PROT_* and the enclave; None in a forked child.

    `shown` holds, by page index, the protection that the page tables grant at present; absent means none.
    """

    __slots__ = ("encl", "end", "prot", "shown", "start")

    def __init__(self, start: int, end: int, prot: int, encl: Encl | None) -> None:
        self.start = start
        self.end = end
        self.prot = prot
        self.encl = encl
        self.shown: dict[int, int] = {}


def may_map(encl: Encl, start: int, end: int, prot: int) -> None:
    """sgx_encl_may_map().  Raises OSError EACCES."""
    if encl.initialized and (start < encl.base or end > encl.base + encl.size):
        raise OSError(errno.EACCES, "mapping outside ELRANGE")
    if not prot:
        return
    first, last = start >> 12, (end - 1) >> 12
    pages = encl.pages
    indexes: Iterable[int] = range(first, last + 1)
    if last - first > len(pages):
        indexes = (i for i in pages if first <= i <= last)
    for index in indexes:
        page = pages.get(index)
        if page is not None and prot & ~page.max_prot:
            raise OSError(errno.EACCES, f"page {index << 12:#x} was not added with these permissions")


class MM:
    """struct mm_struct, as far as SGX is concerned."""

    def __init__(self, kernel: Kernel, page_tables: PageTables) -> None:
        self.kernel = kernel
        self.page_tables = page_tables
        self.vdso = 0
        """Address of the vDSO image (mm->context.vdso)."""
        self.vmas: list[VMA] = []
        self._starts: list[int] = []

    # VMAs.

    def find_vma(self, address: int) -> VMA | None:
        """The enclave VMA that holds the address."""
        at = bisect_right(self._starts, address) - 1
        if at >= 0 and address < self.vmas[at].end:
            return self.vmas[at]
        return None

    def overlaps(self, start: int, length: int) -> bool:
        return any(v.start < start + length and start < v.end for v in self.vmas)

    def enclave_ranges(self) -> list[tuple[int, int]]:
        """(start, end) of every enclave VMA."""
        return [(v.start, v.end) for v in self.vmas]

    def _insert(self, vma: VMA) -> None:
        at = bisect_right(self._starts, vma.start)
        self.vmas.insert(at, vma)
        self._starts.insert(at, vma.start)

    def _carve(self, start: int, end: int) -> list[VMA]:
        """Take [start, end) out of the VMAs, splitting those that straddle its ends; the pieces taken out."""
        taken = []
        for vma in [v for v in self.vmas if v.start < end and start < v.end]:
            at = self.vmas.index(vma)
            del self.vmas[at], self._starts[at]
            for low, high in ((vma.start, start), (max(vma.start, start), min(vma.end, end)), (end, vma.end)):
                low, high = max(low, vma.start), min(high, vma.end)
                if low < high:
                    piece = VMA(low, high, vma.prot, vma.encl)
                    piece.shown = {i: p for i, p in vma.shown.items() if low <= i << 12 < high}
                    if start <= low and high <= end:
                        taken.append(piece)
                    else:
                        self._insert(piece)
        return taken

    def check_mmap(self, encl: Encl, start: int, length: int, prot: int, flags: int) -> None:
        """What the kernel checks before it maps the device at a known address.  Raises OSError."""
        if flags & MAP_TYPE == MAP_PRIVATE or start & 0xFFF or length <= 0:
            raise OSError(errno.EINVAL, "the device is mapped shared, by whole pages")
        if start + length > TASK_SIZE:
            raise OSError(errno.ENOMEM, "beyond the end of user memory")
        may_map(encl, start, start + length, prot & 7)

    def mmap(self, encl: Encl, start: int, length: int, prot: int) -> None:
        """The device has been mapped, without access yet: pages appear on fault."""
        self._carve(start, start + length)
        self._insert(VMA(start, start + length, prot & 7, encl))
        encl.mms.add(self)

    def munmap(self, start: int, length: int) -> None:
        """[start, start+length) has been unmapped."""
        for vma in self._carve(start, start + length):
            self._drop(vma.encl)

    def _drop(self, encl: Encl | None) -> None:
        if encl is not None and not any(v.encl is encl for v in self.vmas):
            encl.mms.discard(self)

    def mprotect(self, start: int, length: int, prot: int) -> list[tuple[int, int]]:
        """mprotect() of a range with enclave VMAs; the subranges outside them, which are the caller's business.

        Raises OSError EACCES or EINVAL before anything has changed.
        """
        end = start + length
        if start & 0xFFF or prot & ~0x0F:
            raise OSError(errno.EINVAL, "mprotect")
        prot &= 7
        for vma in self.vmas:
            if vma.start < end and start < vma.end and vma.encl is not None:
                may_map(vma.encl, max(vma.start, start), min(vma.end, end), prot)
        outside, at = [], start
        for piece in sorted(self._carve(start, end), key=lambda v: v.start):
            if piece.start > at:
                outside.append((at, piece.start))
            at = piece.end
            piece.prot = prot
            self._insert(piece)
            self._apply(piece, list(piece.shown))
        if at < end:
            outside.append((at, end))
        return outside

    def fork(self, page_tables: PageTables) -> MM:
        """The child's MM: it knows the addresses, but no enclave is behind them."""
        child = MM(self.kernel, page_tables)
        child.vdso = self.vdso
        for vma in self.vmas:
            child._insert(VMA(vma.start, vma.end, vma.prot, None))
        return child

    def base_known(self, encl: Encl) -> None:
        """ECREATE fixed ELRANGE: mappings made before get their place in the enclave's memory."""
        for vma in self.vmas:
            if vma.encl is encl:
                self.place(encl, vma.start, vma.end)

    def place(self, encl: Encl, start: int, end: int) -> None:
        """Give a mapping of a created enclave its place in the enclave's memory.

        It may reach beyond ELRANGE, for runtimes map first and align SECS.BASEADDR in it: only what is inside has one.
        """
        low, high = max(start, encl.base), min(end, encl.base + encl.size)
        if low < high:
            self.page_tables.remap(low, high, encl)

    # Translations.

    def resident(self, address: int) -> EPCPage | None:
        """The EPC page mapped at an address, whatever its permissions."""
        vma = self.find_vma(address)
        if vma is None or vma.encl is None:
            return None
        page = vma.encl.pages.get(address >> 12)
        return page.epc if page is not None else None

    def translate(self, address: int, access: Access) -> EPCPage | None:
        """Walk the page tables: the EPC page, None for memory that is no enclave's.

        Raises PageFault without the SGX bit where the VMA forbids the access or the page is not in the EPC.
        """
        vma = self.find_vma(address)
        if vma is None:
            return None
        encl = vma.encl
        page = encl.pages.get(address >> 12) if encl is not None else None
        epc = page.epc if page is not None else None
        if epc is None or page is None or vma.prot & ~page.max_prot:  # as sgx_vma_fault() would find it
            raise PageFault(address, PFEC.U | access, "page not present")
        if not vma.prot & NEEDS[access]:
            present = PFEC.P if vma.prot else 0  # PROT_NONE: no translation at all
            raise PageFault(address, present | PFEC.U | access, "the VMA forbids it")
        return epc

    def hardware_code(self, address: int, code: int) -> int:
        """The error code that SGX hardware pushes where the page tables made from VMA and EPCM refused with `code`.

        SDM 3A section 4.7.  Of ordinary memory, `code` is right as it is.
        """
        access = access_of(code)
        try:
            epc = self.translate(address, access)
        except PageFault as fault:
            return fault.error_code
        if epc is None:
            return code
        return int(PFEC.P | PFEC.U | PFEC.SGX) | access

    @staticmethod
    def _allowed(vma: VMA, index: int) -> int:
        """The invariant, were every page to be executed in any way."""
        if vma.encl is None:
            return 0
        page = vma.encl.pages.get(index)
        if page is None or page.epc is None or vma.prot & ~page.max_prot:
            return 0
        epc = page.epc
        if not epc.valid or epc.pt is not PageType.REG or epc.blocked or epc.pending or epc.modified:
            return 0
        return vma.prot & epc.rwx

    def _wanted(self, vma: VMA, index: int) -> int:
        """The invariant."""
        allowed = self._allowed(vma, index)
        encl = vma.encl
        if allowed and encl is not None and encl.execution is not None:
            page = encl.pages[index].epc
            assert page is not None
            return encl.execution.granted(self, index, page, allowed)
        return allowed

    def allowed(self, address: int) -> int:
        """PROT_* that VMA and EPCM allow the page at an address."""
        vma = self.find_vma(address)
        return 0 if vma is None else self._allowed(vma, address >> 12)

    def wanted(self, address: int) -> int:
        """PROT_* that the page tables grant there once they agree with the invariant."""
        vma = self.find_vma(address)
        return 0 if vma is None else self._wanted(vma, address >> 12)

    def shown(self, address: int) -> int:
        """PROT_* that they grant there at present."""
        vma = self.find_vma(address)
        return 0 if vma is None else vma.shown.get(address >> 12, 0)

    def _apply(self, vma: VMA, indexes: list[int]) -> None:
        """Make the page tables agree with the invariant for these pages, in as few runs as possible."""
        shown = vma.shown
        run_start = run_end = -1
        run_prot = 0
        for index in sorted(indexes):
            wanted = self._wanted(vma, index)
            if wanted == shown.get(index, 0):
                continue
            if wanted:
                shown[index] = wanted
            else:
                del shown[index]
            if index == run_end and wanted == run_prot:
                run_end += 1
                continue
            if run_start >= 0:
                self.page_tables.protect(run_start << 12, run_end << 12, run_prot)
            run_start, run_end, run_prot = index, index + 1, wanted
        if run_start >= 0:
            self.page_tables.protect(run_start << 12, run_end << 12, run_prot)
        if vma.encl is not None and vma.encl.execution is not None:
            vma.encl.execution.settle()

    def show(self, start: int, end: int) -> None:
        """Establish the invariant for every page of [start, end)."""
        for vma in self.vmas:
            low, high = max(vma.start, start), min(vma.end, end)
            if low < high:
                self._apply(vma, list(range(low >> 12, high >> 12)))

    def show_around(self, address: int) -> bool:
        """Show the page at `address` with its resident neighbours; False if that grants nothing new there."""
        vma = self.find_vma(address)
        if vma is None:
            return False
        index = address >> 12
        before = vma.shown.get(index, 0)
        if self._wanted(vma, index) == before:
            return False
        low = max(vma.start >> 12, index - FAULT_AROUND)
        high = min(vma.end >> 12, index + FAULT_AROUND)
        self._apply(vma, list(range(low, high)))
        return vma.shown.get(index, 0) & ~before != 0

    def granted(self, address: int, access: Access) -> bool:
        """The page tables grant this access by now: a fault on it raced with the one that made the page present."""
        vma = self.find_vma(address)
        return vma is not None and bool(vma.shown.get(address >> 12, 0) & NEEDS[access])

    def zap(self, encl: Encl, start: int, end: int) -> None:
        """Forget the translations to the enclave's pages in [start, end), which are about to change."""
        for vma in self.vmas:
            if vma.encl is not encl or vma.start >= end or start >= vma.end:
                continue
            low, high = max(vma.start, start) >> 12, min(vma.end, end) >> 12
            gone = [i for i in (range(low, high) if high - low < len(vma.shown) else list(vma.shown)) if i in vma.shown
                    and low <= i < high]  # fmt: skip
            if gone:
                for index in gone:
                    del vma.shown[index]
                self.page_tables.protect(min(gone) << 12, (max(gone) + 1) << 12, 0)
