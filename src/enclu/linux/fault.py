"""Page faults on enclave addresses.  Kernel: arch/x86/mm/fault.c, arch/x86/kernel/cpu/sgx/encl.c (sgx_vma_fault)."""

from __future__ import annotations

import errno
import functools
from typing import TYPE_CHECKING

from enclu.base.abi import PROT_EXEC, PROT_READ, PROT_WRITE
from enclu.base.events import FaultResolved
from enclu.linux.encl_page import EnclPage
from enclu.linux.mm import NEEDS, TASK_SIZE
from enclu.linux.traps import Resolution
from enclu.sgx import encls
from enclu.sgx.access import SGX_FAULT
from enclu.sgx.enclave_mode import CODE_EACH, CODE_OF_FRAME, CODE_SHIFTS, CODE_UNKNOWN
from enclu.sgx.epc import PageType
from enclu.sgx.exceptions import PFEC, Fault
from enclu.sgx.processor import access_of

if TYPE_CHECKING:
    from enclu.linux.encl import Encl
    from enclu.linux.mm import MM, VMA, Leave


def handle(mm: MM, fault: Fault) -> Resolution:
    """The page fault handler, with the exact error code at hand."""
    refused = verdict_of_vma(mm, fault)
    if refused is not None:
        return refused
    vma = mm.find_vma(fault.address)
    if vma is not None and make_present(mm, vma, fault.address):
        return Resolution.RESOLVED
    return Resolution.SIGBUS


def verdict_of_vma(mm: MM, fault: Fault) -> Resolution | None:
    """access_error(): what follows from the mapping alone, and from an EPCM that refused; None: the page decides."""
    vma = mm.find_vma(fault.address)
    if vma is None:
        if fault.address >= TASK_SIZE:  # sanitize_error_code(): tell nobody what the kernel maps
            fault.error_code |= PFEC.P
        return Resolution.SIGSEGV_MAPERR
    if fault.error_code & PFEC.SGX or not vma.prot & NEEDS[access_of(fault.error_code)]:
        return Resolution.SIGSEGV_ACCERR
    return None


def codes(mm: MM, address: int) -> int:
    """Error codes by the kind of access (`CODE_SHIFTS`), as `mm.hardware_code` and `verdict_of_vma` have them.

    0 where the page decides, which may be supplied.
    """
    vma = mm.find_vma(address)
    if vma is None:
        return CODE_EACH * (CODE_OF_FRAME | (PFEC.P if address >= TASK_SIZE else 0))
    page = vma.encl.pages.get(address >> 12) if vma.encl is not None else None
    if page is None or page.epc is None or vma.prot & ~page.max_prot:
        return 0
    allowed = mm.allowed(address)
    return 0 if allowed & ~vma.shown.get(address >> 12, 0) else _codes(vma.prot, allowed)


@functools.cache
def _codes(prot: int, allowed: int) -> int:
    """Of a page that has this protection by its VMA, which the EPCM reduces to what is allowed."""
    found = 0
    for access, shift in CODE_SHIFTS.items():
        if allowed & NEEDS[access]:
            code: int = CODE_UNKNOWN
        elif prot & NEEDS[access]:
            code = SGX_FAULT | access
        else:
            code = (PFEC.P if prot else 0) | PFEC.U | access
        found |= code << shift
    return found


def missing(mm: MM, address: int) -> bool:
    """Whether the fault may be one for a page that is to be shown, loaded or added; nobody sees anything of this."""
    vma = mm.find_vma(address)
    if vma is None or not vma.prot:
        return False
    encl, index = vma.encl, address >> 12
    if encl is None:
        return False
    if encl.resident(address) is not None:
        return bool(mm.wanted(address) & ~vma.shown.get(index, 0))
    page = encl.pages.get(index)
    if page is None:
        return encl.initialized and encl.base <= address < encl.base + encl.size
    return page.backing is not None and not vma.prot & ~page.max_prot  # else it was lost with the EPC


def supply(mm: MM, address: int, leave: Leave | None = None) -> bool:
    """Show, load or add what is `missing`; False where the kernel cannot."""
    vma = mm.find_vma(address)
    if vma is None or not vma.prot:
        return False
    if mm.resident(address) is None:
        return make_present(mm, vma, address, leave)
    try:
        shown = mm.show_around(address)
    except OSError:
        return False
    if shown:
        _resolved(mm, vma, address, "shown")
    return shown


def make_present(mm: MM, vma: VMA, address: int, leave: Leave | None = None) -> bool:
    """sgx_vma_fault(): load the page, or add a fresh one to an initialised enclave (EAUG).  False: SIGBUS."""
    encl = vma.encl
    if encl is None:
        return False
    page = encl.pages.get(address >> 12)
    try:
        if page is None:
            if not encl.initialized or not encl.base <= address < encl.base + encl.size:
                return False
            _augment(mm, vma, address & ~0xFFF)  # pending: there is nothing to show before the enclave's EACCEPT
            how = "augmented"
        elif vma.prot & ~page.max_prot:  # sgx_encl_load_page_in_vma()
            return False
        elif page.epc is not None:
            how = "shown"
            mm.show_around(address)
        else:
            how = "loaded"
            mm.show_loaded(vma, page.index, _load(mm, vma, encl, page), leave)
    except OSError:
        return False
    _resolved(mm, vma, address, how)
    return True


def _load(mm: MM, vma: VMA, encl: Encl, page: EnclPage) -> int:
    """Bring a page back, and where faults come in order, those behind it that were evicted, too; the end of them.

    Raises OSError where the page itself cannot come back.
    """
    reclaimer = mm.kernel.reclaimer
    count = vma.ahead.wanted(page.index, reclaimer.most_ahead if mm.kernel.ahead else 1)
    behind = reclaimer.reloadable(encl, page.index + 1, min(page.index + count, vma.end >> 12), vma.prot)
    reclaimer.make_room(1 + len(behind))
    reclaimer.reload(page)
    end = page.index + 1 + reclaimer.reload_run(behind)
    vma.ahead.came(end, end - page.index)
    return end


def _resolved(mm: MM, vma: VMA, address: int, how: str) -> None:
    mm.kernel.events.emit(FaultResolved, vma.encl.eid if vma.encl is not None else 0, address & ~0xFFF, how)


def _augment(mm: MM, vma: VMA, address: int) -> None:
    """sgx_encl_eaug_page()."""
    encl = vma.encl
    assert encl is not None and encl.secs is not None
    data = encl.data_of(address >> 12)
    encl.grow()
    try:
        epc = mm.kernel.allocate()
        try:
            mm.kernel.reclaimer.load_secs(encl)
        except OSError:
            mm.kernel.free(epc)
            raise
    except OSError:
        encl.shrink()
        raise
    epc.data = data
    try:
        encls.eaug(encl.secs, epc, address)
    except Fault as fault:  # the SECS was lost with the EPC
        mm.kernel.free(epc)
        encl.shrink()
        raise OSError(errno.EFAULT, f"EAUG: {fault}") from None
    page = EnclPage(encl, address >> 12, PROT_READ | PROT_WRITE | PROT_EXEC, PageType.REG, epc)
    encl.pages[page.index] = page
    mm.kernel.reclaimer.add(page)
