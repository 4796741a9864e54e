"""The enclave VMAs of one address space, and the translations made from them.

One invariant: a processor may touch a page as far as VMA and EPCM both allow, if the page is in the EPC, a valid
PT_REG and accepted; else not at all.  `MM._wanted` states it and `MM._apply` establishes it.  Kernel:
arch/x86/kernel/cpu/sgx/encl.c (sgx_encl_may_map, sgx_vma_mprotect), driver.c (sgx_mmap).
"""

from __future__ import annotations

import contextlib
import errno
from bisect import bisect_right
from typing import TYPE_CHECKING

from enclu.base.abi import (
    FMODE_READ,
    FMODE_WRITE,
    LEGACY_MAP_MASK,
    MAP_SHARED,
    MAP_SHARED_VALIDATE,
    MAP_TYPE,
    PROT_EXEC,
    PROT_READ,
    PROT_WRITE,
)
from enclu.base.protocol import Protocol
from enclu.linux.ahead import Ahead
from enclu.sgx.access import SGX_FAULT
from enclu.sgx.epc import PAGE_SIZE, EPCPage
from enclu.sgx.exceptions import PFEC, Fault, PageFault
from enclu.sgx.processor import Access, access_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from enclu.linux.encl import Encl
    from enclu.linux.encl_page import EnclPage
    from enclu.linux.kernel import Kernel
    from enclu.sgx.processor import PageTables, Processor, Signal

NEEDS = [0] * (Access.FETCH + 1)
"""PROT_* by kind of access, any of which does: what may be written may be read (protection_map[] in
arch/x86/mm/pgprot.c).  A list, not a dict: this is on the path of every EENTER, and hashing a member of an
enumeration is a Python call."""
NEEDS[Access.READ], NEEDS[Access.WRITE], NEEDS[Access.FETCH] = PROT_READ | PROT_WRITE, PROT_WRITE, PROT_EXEC
GRANTED = [prot | (PROT_READ if prot & PROT_WRITE else 0) for prot in range(8)]
"""What page tables grant, by PROT_* of the mapping."""
FAULT_AROUND, MOST_AROUND = 64, 512
"""Pages that are shown together at a fault, as fault_around_bytes says in mm/memory.c: an aligned block of so many, or
up to so many where faults come in order.  Fewer would make the host kernel split its mappings more often."""
TASK_SIZE = (1 << 47) - PAGE_SIZE


class Leave(Protocol):
    """Who may take it upon itself that addresses get a protection, before anybody can tell."""

    def __call__(self, start: int, end: int, prot: int) -> bool:
        """For [start, end); False if it does not."""


class VMA:
    """A mapping of an enclave: [start, end), PROT_* and the enclave; None in a forked child.

    `shown` holds, by page index, the protection that the page tables grant at present; absent means none.
    """

    __slots__ = ("ahead", "dontcopy", "encl", "end", "maywrite", "prot", "sealed", "shown", "start")

    def __init__(self, start: int, end: int, prot: int, encl: Encl | None) -> None:
        self.start = start
        self.end = end
        self.prot = prot
        self.encl = encl
        self.maywrite = encl is None or bool(encl.f_mode & FMODE_WRITE)
        """VM_MAYWRITE: the device was opened to be written."""
        self.sealed = False
        """VM_SEALED: mseal(2)."""
        self.dontcopy = False
        """VM_DONTCOPY: a forked child does not have it (MADV_DONTFORK)."""
        self.shown: dict[int, int] = {}
        self.ahead = Ahead()

    def part(self, start: int, end: int) -> VMA:
        """[start, end) of it, as a VMA of its own."""
        part = VMA(start, end, self.prot, self.encl)
        part.maywrite, part.sealed, part.dontcopy = self.maywrite, self.sealed, self.dontcopy
        part.shown = {i: p for i, p in self.shown.items() if start <= i << 12 < end}
        return part


def check_mmap(encl: Encl, length: int, prot: int, flags: int, offset: int) -> None:
    """What do_mmap() asks of the device, and of how it was opened, once an address is found.  Raises OSError."""
    if offset + length >= 1 << 64:  # file_mmap_ok()
        raise OSError(errno.EOVERFLOW, f"an offset of {offset:#x}")
    kind = flags & MAP_TYPE
    if kind not in (MAP_SHARED, MAP_SHARED_VALIDATE):
        raise OSError(errno.EINVAL, f"MAP_TYPE {kind:#x}")
    if kind == MAP_SHARED_VALIDATE and flags & ~LEGACY_MAP_MASK:
        raise OSError(errno.EOPNOTSUPP, f"MAP_SHARED_VALIDATE knows no flag {flags & ~LEGACY_MAP_MASK:#x}")
    if prot & PROT_WRITE and not encl.f_mode & FMODE_WRITE:
        raise OSError(errno.EACCES, "the device was not opened to be written")
    if not encl.f_mode & FMODE_READ:
        raise OSError(errno.EACCES, "the device was not opened to be read")


def may_map(encl: Encl, start: int, end: int, prot: int) -> None:
    """sgx_encl_may_map().  Raises OSError EACCES."""
    if encl.initialized and (start < encl.base or end > encl.base + encl.size):
        raise OSError(errno.EACCES, "mapping outside ELRANGE")
    if not prot:
        return
    index = encl.pages.forbidding(start >> 12, -(-end >> 12), prot)
    if index is not None:
        most = encl.pages[index].max_prot
        raise OSError(
            errno.EACCES, f"page {index << 12:#x} was added with {_rights(most)} and cannot be mapped {_rights(prot)}"
        )


def _rights(prot: int) -> str:
    """PROT_*, for people."""
    return "".join(letter if prot >> bit & 1 else "-" for bit, letter in enumerate("rwx"))


def _absent(vma: VMA, page: EnclPage | None) -> str:
    """Why the kernel has no translation, for people."""
    if vma.encl is None:
        return "a forked child has the mapping of its parent, and not the enclave"
    if page is None:
        return "the enclave has no page there"
    if page.epc is None:
        return "the page is not in the EPC"
    return f"the mapping is {_rights(vma.prot)}, but the page was added with {_rights(page.max_prot)}"


class MM:
    """struct mm_struct, as far as SGX is concerned.  Implements `sgx.processor.KernelSide`."""

    def __init__(self, kernel: Kernel, page_tables: PageTables) -> None:
        self.kernel = kernel
        self.page_tables = page_tables
        self.vdso = 0
        """Address of the vDSO image (mm->context.vdso)."""
        self.writable: set[int] | None = None
        """Once somebody asks (`note_writable`): pages, by index, that could be written to at some time since."""
        self.left: list[Callable[[], None]] = []
        """Changes of page tables that threads are about to make, though `VMA.shown` has them: see `settle`."""
        self.vmas: list[VMA] = []
        self._starts: list[int] = []

    def note_writable(self) -> None:
        """From now on `writable` tells."""
        if self.writable is None:
            shown = (item for vma in self.vmas for item in vma.shown.items())
            self.writable = {index for index, prot in shown if prot & PROT_WRITE}

    # VMAs.

    def find_vma(self, address: int) -> VMA | None:
        """The enclave VMA that holds the address."""
        at = bisect_right(self._starts, address) - 1
        if at >= 0 and address < self.vmas[at].end:
            return self.vmas[at]
        return None

    def overlaps(self, start: int, length: int) -> bool:
        return any(v.start < start + length and start < v.end for v in self.vmas)

    def sealed(self, start: int, end: int) -> bool:
        """An enclave VMA in the range is sealed: it is not to be unmapped, replaced, moved or protected otherwise."""
        return any(v.sealed and v.start < end and start < v.end for v in self.vmas)

    def segments(self, start: int, end: int) -> list[tuple[int, int, VMA | None]]:
        """[start, end) in order of addresses: parts of enclave VMAs, and (None) what lies between them."""
        out: list[tuple[int, int, VMA | None]] = []
        at = start
        for vma in self.vmas:
            low, high = max(vma.start, start), min(vma.end, end)
            if low >= high:
                continue
            if at < low:
                out.append((at, low, None))
            out.append((low, high, vma))
            at = high
        if at < end:
            out.append((at, end, None))
        return out

    def enclave_ranges(self) -> list[tuple[int, int]]:
        """(start, end) of every enclave VMA."""
        return [(v.start, v.end) for v in self.vmas]

    def _insert(self, vma: VMA) -> None:
        at = bisect_right(self._starts, vma.start)
        self.vmas.insert(at, vma)
        self._starts.insert(at, vma.start)

    def _carve(self, start: int, end: int) -> list[VMA]:
        """Take [start, end) out of the VMAs, splitting those that straddle its ends; the pieces taken out."""
        self.settle()
        for encl in {v.encl for v in self.vmas if v.start < end and start < v.end and v.encl is not None}:
            self.kernel.processors.revoke(encl.eid, ((start, end),))
        taken = []
        for vma in [v for v in self.vmas if v.start < end and start < v.end]:
            at = self.vmas.index(vma)
            del self.vmas[at], self._starts[at]
            for low, high in ((vma.start, start), (max(vma.start, start), min(vma.end, end)), (end, vma.end)):
                low, high = max(low, vma.start), min(high, vma.end)
                if low < high:
                    piece = vma.part(low, high)
                    if start <= low and high <= end:
                        taken.append(piece)
                    else:
                        self._insert(piece)
        return taken

    def mmap(self, encl: Encl, start: int, length: int, prot: int) -> None:
        """sgx_mmap(), sgx_encl_mm_add(): the device has been mapped, without access yet, for pages appear on fault."""
        self._carve(start, start + length)
        self._insert(VMA(start, start + length, prot & 7, encl))
        if encl.created and encl.mms - {self}:
            self.kernel.processors.shared(encl.eid)
        encl.mms.add(self)

    def munmap(self, start: int, length: int) -> None:
        """[start, start+length) has been unmapped."""
        for vma in self._carve(start, start + length):
            if vma.encl is not None and vma.encl.created:
                self.kernel.processors.shared(vma.encl.eid)
            self._drop(vma.encl)

    def _drop(self, encl: Encl | None) -> None:
        if encl is not None and not any(v.encl is encl for v in self.vmas):
            encl.mms.discard(self)

    def mprotect(self, start: int, end: int, prot: int) -> None:
        """sgx_vma_mprotect(), of a part of one enclave VMA.  Raises OSError EPERM or EACCES before anything changes."""
        vma = self.find_vma(start)
        assert vma is not None and end <= vma.end
        if vma.sealed:
            raise OSError(errno.EPERM, "sealed")
        if prot & PROT_WRITE and not vma.maywrite:  # do_mprotect_pkey()
            raise OSError(errno.EACCES, "the device was not opened to be written")
        if vma.encl is not None:
            may_map(vma.encl, start, end, prot & 7)
        for piece in self._carve(start, end):
            piece.prot = prot & 7
            self._insert(piece)
            self._apply_or_hide(piece, list(piece.shown))

    def seal(self, start: int, end: int) -> None:
        """mseal() of a range, as far as it is of enclaves (mseal_apply() in mm/mseal.c)."""
        for piece in self._carve(start, end):
            piece.sealed = True
            self._insert(piece)

    def dont_copy(self, start: int, end: int) -> None:
        """MADV_DONTFORK of a range, as far as it is of enclaves."""
        for piece in self._carve(start, end):
            piece.dontcopy = True
            self._insert(piece)

    def move(self, start: int, end: int, place: int) -> None:
        """[start, end), which is hidden, has been moved to `place` by mremap().

        sgx_vma_fault() looks for enclave pages by address, and finds none outside ELRANGE.  What has been moved to
        another address of ELRANGE shows nothing either: the memory behind it is another page's.
        """
        for piece in self._carve(start, end):
            low = place + piece.start - start
            encl = piece.encl
            inside = encl is not None and low < encl.base + encl.size and encl.base < low + piece.end - piece.start
            moved = VMA(low, low + piece.end - piece.start, piece.prot, None if inside else encl)
            moved.maywrite, moved.dontcopy = piece.maywrite, piece.dontcopy
            self._insert(moved)
            if inside:
                self._drop(encl)

    def fork(self, page_tables: PageTables) -> MM:
        """The child's MM: it knows the addresses, but no enclave is behind them, as where sgx_vma_open() fails."""
        child = MM(self.kernel, page_tables)
        child.vdso = self.vdso
        for vma in self.vmas:
            if not vma.dontcopy:
                inherited = VMA(vma.start, vma.end, vma.prot, None)
                inherited.maywrite, inherited.sealed = vma.maywrite, vma.sealed
                child._insert(inherited)
        return child

    def base_known(self, encl: Encl, fd: int) -> None:
        """ECREATE fixed ELRANGE: mappings made before get their place in the enclave's memory."""
        for vma in self.vmas:
            if vma.encl is encl:
                self.place(encl, vma.start, vma.end, fd)

    def place(self, encl: Encl, start: int, end: int, fd: int) -> None:
        """Give a mapping of a created enclave its place in the enclave's memory.

        It may reach beyond ELRANGE, for runtimes map first and align SECS.BASEADDR in it: only what is inside has one.
        """
        low, high = max(start, encl.base), min(end, encl.base + encl.size)
        if low < high:
            self.page_tables.remap(low, high, fd, low - encl.base)

    # What a processor asks.

    def invalidate(self, page: EPCPage) -> None:
        self.kernel.invalidate(page)

    def signal_of(self, fault: Fault, cpu: Processor) -> Signal:
        from enclu.linux.traps import signal_of  # where nothing goes wrong, nobody need wait for it

        return signal_of(fault, cpu)

    # Translations.

    def resident(self, address: int) -> EPCPage | None:
        """The EPC page mapped at an address, whatever its permissions."""
        vma = self.find_vma(address)
        if vma is None or vma.encl is None:
            return None
        return vma.encl.resident(address)

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
            raise PageFault(address, PFEC.U | access, _absent(vma, page))
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
        vma = self.find_vma(address)
        if vma is not None and self._allowed(vma, address >> 12) & NEEDS[access] and address >> 12 not in vma.shown:
            return PFEC.U | access  # all allow it, and the page tables have nothing: it cannot be shown
        return SGX_FAULT | access

    @staticmethod
    def _accessible(vma: VMA, index: int) -> EPCPage | None:
        """The page, if it is one that processors may touch as far as VMA and its R, W and X allow."""
        page = vma.encl.pages.get(index) if vma.encl is not None else None
        if page is None or page.epc is None or vma.prot & ~page.max_prot or not page.epc.accessible:
            return None
        return page.epc

    def _allowed(self, vma: VMA, index: int) -> int:
        """The invariant, were every page to be executed in any way."""
        epc = self._accessible(vma, index)
        return 0 if epc is None else GRANTED[vma.prot] & epc.rwx

    def _wanted(self, vma: VMA, index: int) -> int:
        """The invariant."""
        epc, encl = self._accessible(vma, index), vma.encl
        allowed = 0 if epc is None else GRANTED[vma.prot] & epc.rwx
        if allowed and epc is not None and encl is not None and encl.execution is not None:
            return encl.execution.granted(self.page_tables, index, epc, allowed)
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

    def settle(self) -> None:
        """The page tables are as `VMA.shown` has them: nobody has been left any change of them that is not made."""
        while self.left:
            self.left.pop()()

    def _apply(self, vma: VMA, indexes: list[int], leave: Leave | None = None) -> None:
        """Make the page tables agree with the invariant for these pages, in as few runs as possible.

        Raises OSError where the page tables cannot; what has been done until then is in `shown`.
        """
        self.settle()
        start = end = run_prot = 0
        wanted_of, shown = self._wanted, vma.shown.get
        try:
            for index in sorted(indexes):
                wanted = wanted_of(vma, index)
                if wanted == shown(index, 0):
                    continue
                if index != end or wanted != run_prot:
                    if start < end:
                        self._set(vma, start, end, run_prot, leave)
                    start, run_prot = index, wanted
                end = index + 1
            if start < end:
                self._set(vma, start, end, run_prot, leave)
        finally:
            if vma.encl is not None and vma.encl.execution is not None:
                vma.encl.execution.settle()

    def _set(self, vma: VMA, start: int, end: int, prot: int, leave: Leave | None) -> None:
        """Neighbouring pages, [start, end) by index, get one protection."""
        if leave is None or not leave(start << 12, end << 12, prot):
            self.page_tables.protect(start << 12, end << 12, prot)
        if self.writable is not None and prot & PROT_WRITE:
            self.writable.update(range(start, end))
        if prot:
            vma.shown.update(dict.fromkeys(range(start, end), prot))
        else:
            for index in range(start, end):
                vma.shown.pop(index, None)

    def _apply_or_hide(self, vma: VMA, indexes: list[int]) -> None:
        """`_apply` where it must not fail: pages that cannot get their protection get none, and come back by faults."""
        try:
            self._apply(vma, indexes)
        except OSError:
            self._hide_neighbourhood(vma)

    def hide(self, start: int, end: int) -> None:
        """No page of [start, end) is accessible any more, until it is needed anew."""
        for vma in list(self.vmas):
            gone = [i for i in vma.shown if start <= i << 12 < end]
            if gone:
                self._hide(vma, gone)

    def _hide(self, vma: VMA, gone: list[int]) -> None:
        """`gone` are all that are shown from the first of them to the last."""
        self.settle()
        try:
            self.page_tables.protect(*_range_of(gone), 0)
        except OSError:
            self._hide_neighbourhood(vma)
        else:
            for index in gone:
                del vma.shown[index]

    def _hide_neighbourhood(self, vma: VMA) -> None:
        """Make all enclave mappings without a gap around this one inaccessible, as one.

        That needs no further mapping of the host kernel's, of which there are no more (vm.max_map_count): it can always
        be done.
        """
        first = last = self.vmas.index(vma)
        while first > 0 and self.vmas[first - 1].end == self.vmas[first].start:
            first -= 1
        while last + 1 < len(self.vmas) and self.vmas[last].end == self.vmas[last + 1].start:
            last += 1
        self.page_tables.protect(self.vmas[first].start, self.vmas[last].end, 0)
        for near in self.vmas[first : last + 1]:
            near.shown.clear()

    def show(self, start: int, end: int) -> None:
        """Establish the invariant for every page of [start, end)."""
        for vma in self.vmas:
            low, high = max(vma.start, start), min(vma.end, end)
            if low < high:
                self._apply_or_hide(vma, list(range(low >> 12, high >> 12)))

    def touch(self, start: int, end: int) -> None:
        """Show what is not shown of [start, end), pages that have been translated, if the page tables can."""
        vma = self.find_vma(start)
        if vma is None or any(index not in vma.shown for index in range(start >> 12, end >> 12)):
            with contextlib.suppress(OSError):  # who looks there has a fault then, as of any page that cannot be shown
                self.show(start, end)

    def show_around(self, address: int) -> bool:
        """Show the page at `address` with its resident neighbours; False if that grants nothing new there.

        Raises OSError where the page tables cannot show it.
        """
        vma = self.find_vma(address)
        if vma is None:
            return False
        index = address >> 12
        before = vma.shown.get(index, 0)
        if self._wanted(vma, index) == before:
            return False
        count = vma.ahead.wanted(index, MOST_AROUND)
        low = index if count > FAULT_AROUND else index & -FAULT_AROUND
        high = min(vma.end >> 12, low + max(count, FAULT_AROUND))
        self._apply(vma, list(range(max(vma.start >> 12, low), high)))
        vma.ahead.came(high, high - low)
        return vma.shown.get(index, 0) & ~before != 0

    def show_loaded(self, vma: VMA, low: int, high: int, leave: Leave | None = None) -> None:
        """Show pages [low, high) of a mapping, which have just come.  Raises OSError as `show_around`."""
        self._apply(vma, list(range(low, high)), leave)

    def granted(self, address: int, access: Access) -> bool:
        """The page tables grant this access by now: a fault on it raced with the one that made the page present."""
        vma = self.find_vma(address)
        return vma is not None and bool(vma.shown.get(address >> 12, 0) & NEEDS[access])

    def zap(self, encl: Encl, ranges: Iterable[tuple[int, int]]) -> None:
        """Forget the translations to the enclave's pages in these ranges of addresses, which are about to change."""
        self.settle()
        found: list[tuple[VMA, list[int]]] = []
        for start, end in ranges:
            at = max(bisect_right(self._starts, start) - 1, 0)
            for vma in self.vmas[at : bisect_right(self._starts, end - 1)]:
                if vma.encl is encl and vma.end > start and (gone := _shown(vma, start, end)):
                    found.append((vma, gone))
        try:
            self.page_tables.protect_all([_range_of(gone) for _, gone in found], 0)
        except OSError:
            for vma, gone in found:
                if left := [index for index in gone if index in vma.shown]:
                    self._hide(vma, left)
        else:
            for vma, gone in found:
                for index in gone:
                    del vma.shown[index]


def _shown(vma: VMA, start: int, end: int) -> list[int]:
    """Pages of [start, end) that are."""
    low, high = max(vma.start, start) >> 12, min(vma.end, end) >> 12
    if high - low < len(vma.shown):
        return [index for index in range(low, high) if index in vma.shown]
    return [index for index in vma.shown if low <= index < high]


def _range_of(indexes: list[int]) -> tuple[int, int]:
    return min(indexes) << 12, max(indexes) + 1 << 12
