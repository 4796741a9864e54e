"""Page faults on enclave addresses.  Kernel: arch/x86/mm/fault.c, arch/x86/kernel/cpu/sgx/encl.c (sgx_vma_fault)."""

from __future__ import annotations

import enum
import errno
from typing import TYPE_CHECKING

from enclu.base.abi import PROT_EXEC, PROT_READ, PROT_WRITE
from enclu.base.events import FaultResolved
from enclu.linux.encl import EnclPage
from enclu.linux.mm import TASK_SIZE
from enclu.sgx import encls
from enclu.sgx.epc import PageType
from enclu.sgx.exceptions import PFEC, Fault

if TYPE_CHECKING:
    from enclu.linux.mm import MM, VMA


class Resolution(enum.Enum):
    """What becomes of a page fault."""

    RESOLVED = enum.auto()
    SIGSEGV_MAPERR = enum.auto()
    SIGSEGV_ACCERR = enum.auto()
    SIGBUS = enum.auto()


def handle(mm: MM, fault: Fault) -> Resolution:
    """The page fault handler, with the exact error code at hand."""
    vma = mm.find_vma(fault.address)
    if vma is None:
        if fault.address >= TASK_SIZE:  # sanitize_error_code(): tell nobody what the kernel maps
            fault.error_code |= PFEC.P
        return Resolution.SIGSEGV_MAPERR
    code = fault.error_code
    need = PROT_WRITE if code & PFEC.W else PROT_EXEC if code & PFEC.I else PROT_READ
    if code & PFEC.SGX or not vma.prot & need:
        return Resolution.SIGSEGV_ACCERR
    if make_present(mm, vma, fault.address):
        return Resolution.RESOLVED
    return Resolution.SIGBUS


def handle_address(mm: MM, address: int) -> bool:
    """Resolve a fault of which only the address is known yet; False if nothing was missing there.

    False as well where the kernel cannot supply what is missing.
    """
    vma = mm.find_vma(address)
    if vma is None or not vma.prot:
        return False
    if mm.resident(address) is not None:
        try:
            shown = mm.show_around(address)
        except OSError:
            return False
        if shown:
            _resolved(mm, vma, address, "shown")
        return shown
    return make_present(mm, vma, address)


def make_present(mm: MM, vma: VMA, address: int) -> bool:
    """sgx_vma_fault(): load the page, or add a fresh one to an initialised enclave (EAUG).  False: SIGBUS."""
    encl = vma.encl
    if encl is None:
        return False
    page = encl.pages.get(address >> 12)
    try:
        if page is None:
            if not encl.initialized or not encl.base <= address < encl.base + encl.size:
                return False
            _augment(mm, vma, address & ~0xFFF)
            how = "augmented"
        else:
            if vma.prot & ~page.max_prot:
                return False
            how = "shown" if page.epc is not None else "loaded"
            encl.load(address)
        mm.show_around(address)
    except OSError:
        return False
    _resolved(mm, vma, address, how)
    return True


def _resolved(mm: MM, vma: VMA, address: int, how: str) -> None:
    secs = vma.encl.secs if vma.encl is not None else None
    mm.kernel.events.emit(FaultResolved, secs.eid if secs is not None else 0, address & ~0xFFF, how)


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
