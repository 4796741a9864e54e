"""EREMOVE, EAUG, EMODPR and EMODT: changing the pages of an enclave."""

from __future__ import annotations

from typing import TYPE_CHECKING

from enclu.sgx.encls.create import check_place, check_secs
from enclu.sgx.epc import EPCPage, EPCRun, PageType
from enclu.sgx.exceptions import GeneralProtection, PageFault
from enclu.sgx.structs import ErrorCode, SecinfoFlag

if TYPE_CHECKING:
    from enclu.sgx.secs import Secs


def eremove(page: EPCPage) -> int:
    """Take a page out of its enclave; a SECS only without children."""
    if not page.valid:
        return ErrorCode.SUCCESS
    secs = page.secs
    if page.pt == PageType.VA or secs is None:
        page.invalidate()
        return ErrorCode.SUCCESS
    if page.pt == PageType.SECS:
        if secs.children:
            return ErrorCode.SGX_CHILD_PRESENT
        page.invalidate()
        return ErrorCode.SUCCESS
    if secs.inside and (page.pt != PageType.TRIM or page.modified):
        return ErrorCode.SGX_ENCLAVE_ACT
    page.invalidate()
    secs.children -= 1
    return ErrorCode.SUCCESS


def eremove_untouched(run: EPCRun) -> int:
    """EREMOVE for each page of a run at whose entry nobody has looked since EADD; the error code of all of them."""
    secs = run.secs
    if secs is not None:
        if secs.inside:
            return ErrorCode.SGX_ENCLAVE_ACT
        secs.children -= run.untouched_count
        run.invalidate_untouched()
    return ErrorCode.SUCCESS


def eaug(secs: Secs, page: EPCPage, linaddr: int) -> None:
    """Add a zeroed, pending, readable and writable page to an initialised enclave."""
    if page.valid:
        raise PageFault(linaddr, 0, "the EPC page is in use")
    check_secs(secs)
    check_place(secs, linaddr)
    if not secs.initialised:
        raise GeneralProtection("the enclave is not initialised (EINIT)")
    page.data[:] = bytes(len(page.data))
    page.valid, page.pt, page.secs, page.enclaveaddress = True, PageType.REG, secs, linaddr
    page.rwx = SecinfoFlag.R | SecinfoFlag.W
    page.pending, page.blocked, page.modified, page.pr = True, False, False, False
    secs.children += 1


def _check_regular(page: EPCPage) -> Secs:
    if not page.valid or page.secs is None or page.pt not in (PageType.REG, PageType.TCS, PageType.TRIM):
        raise PageFault(page.enclaveaddress, 0, f"not a page of an enclave: {page.described}")
    if not page.secs.initialised:
        raise GeneralProtection("the enclave is not initialised (EINIT)")
    return page.secs


def emodpr(page: EPCPage, rwx: int) -> int:
    """Restrict a PT_REG page to the permissions in `rwx`; the enclave must EACCEPT."""
    secs = _check_regular(page)
    if rwx & 3 == SecinfoFlag.W:
        raise GeneralProtection(f"R|W|X {rwx:#x}: writable but not readable")
    if page.pending or page.modified:
        return ErrorCode.SGX_PAGE_NOT_MODIFIABLE
    if page.pt != PageType.REG:
        raise PageFault(page.enclaveaddress, 0, f"not a PT_REG page: {page.described}")
    page.pr = True
    page.rwx &= rwx
    page.epoch = secs.epoch
    return ErrorCode.SUCCESS


def emodt(page: EPCPage, pt: int) -> int:
    """Change a page to PT_TCS or PT_TRIM; the enclave must EACCEPT."""
    secs = _check_regular(page)
    if pt not in (PageType.TCS, PageType.TRIM):
        raise GeneralProtection(f"page type {pt} is neither PT_TCS nor PT_TRIM")
    if page.pending or page.modified:
        return ErrorCode.SGX_PAGE_NOT_MODIFIABLE
    if page.pt not in ((PageType.REG,) if pt == PageType.TCS else (PageType.REG, PageType.TCS)):
        raise PageFault(page.enclaveaddress, 0, f"the page cannot become one of type {pt}: {page.described}")
    page.modified = True
    page.pr = False
    page.pt = PageType(pt)
    page.rwx = 0
    page.epoch = secs.epoch
    return ErrorCode.SUCCESS
