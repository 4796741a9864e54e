"""The ioctls that change the pages of an initialised enclave.  Kernel: arch/x86/kernel/cpu/sgx/ioctl.c."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from enclu.base.abi import PROT_READ, PROT_WRITE
from enclu.base.events import PageRemoved
from enclu.linux import uapi
from enclu.sgx import encls
from enclu.sgx.epc import PAGE_SIZE, PageType
from enclu.sgx.exceptions import Fault, Vector
from enclu.sgx.structs import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Callable

    from enclu.linux.encl import Encl
    from enclu.linux.encl_page import EnclPage
    from enclu.sgx.layout import Structure
    from enclu.sgx.processor import UserMemory


def _range(encl: Encl, f: dict[str, int]) -> None:
    """sgx_validate_offset_length().  Raises OSError EINVAL."""
    if f["offset"] & 0xFFF or not f["length"] or f["length"] & 0xFFF or f["offset"] + f["length"] > encl.size:
        raise OSError(
            errno.EINVAL, f"offset {f['offset']:#x} and length {f['length']:#x} must name pages of the enclave"
        )


def _arguments(encl: Encl, user: UserMemory, layout: Structure, arg: int) -> dict[str, int]:
    """Once sgx_ioc_sgx2_ready() finds nothing amiss.  Raises OSError."""
    if not encl.initialized:
        raise OSError(errno.EINVAL, "the enclave is not initialised (SGX_IOC_ENCLAVE_INIT)")
    f: dict[str, int] = layout.unpack(user.read(arg, layout.size))
    _range(encl, f)
    return f


def _load(encl: Encl, address: int) -> EnclPage:
    """sgx_encl_load_page(), whose every failure is EFAULT here.  The kernel's EAGAIN, for a page that is about to be
    evicted or an EPC that is full, cannot happen: an eviction is over before anything else begins."""
    try:
        return encl.load(address)
    except OSError as error:
        raise OSError(errno.EFAULT, str(error.strerror)) from None


def _each(
    encl: Encl, user: UserMemory, layout: Structure, arg: int, f: dict[str, int],
    change: Callable[[EnclPage, dict[str, int]], None],
) -> None:  # fmt: skip
    """Apply `change` page by page; count, and result if there is one, go back to the program in any case.

    The loop of sgx_enclave_restrict_permissions(), sgx_enclave_modify_types() and sgx_encl_remove_pages().
    """
    failure = None
    done = 0
    try:
        while done < f["length"]:
            change(_load(encl, encl.base + f["offset"] + done), f)
            done += PAGE_SIZE
    except OSError as error:
        failure = error
    f["count"] = done
    user.write(arg, layout.pack(**f))
    if failure is not None:
        raise failure


def _leaf(f: dict[str, int], call: Callable[[], int]) -> None:
    """Run EMODPR or EMODT; EFAULT and the result code where it does not succeed."""
    try:
        code = call()
    except Fault as fault:
        raise OSError(errno.EFAULT, str(fault)) from None
    if code:
        f["result"] = code
        raise OSError(errno.EFAULT, f"EMODPR or EMODT: {ErrorCode(code).name}")


def restrict_permissions(encl: Encl, user: UserMemory, arg: int) -> None:
    """SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS: sgx_ioc_enclave_restrict_permissions()."""
    layout = uapi.ENCLAVE_RESTRICT_PERMISSIONS
    f = _arguments(encl, user, layout, arg)
    permissions = f["permissions"]
    if permissions & ~7 or (permissions & PROT_WRITE and not permissions & PROT_READ):
        raise OSError(errno.EINVAL, f"permissions {permissions:#x}: neither R, W and X nor writable but not readable")
    if f["result"] or f["count"]:
        raise OSError(errno.EINVAL, f"result {f['result']:#x} and count {f['count']:#x} must be 0")

    def change(page: EnclPage, f: dict[str, int]) -> None:
        epc = page.epc
        assert epc is not None
        if page.type != PageType.REG:
            raise OSError(errno.EINVAL, f"the page at {page.address:#x} is not a regular one, but PT_{page.type.name}")
        encl.kernel.processors.revoke(encl.eid, ((page.address, page.address + PAGE_SIZE),))
        _leaf(f, lambda: encls.emodpr(epc, permissions))
        encl.track()
        for mm in encl.mms:
            mm.show(page.address, page.address + PAGE_SIZE)

    _each(encl, user, layout, arg, f, change)


def modify_types(encl: Encl, user: UserMemory, arg: int) -> None:
    """SGX_IOC_ENCLAVE_MODIFY_TYPES: sgx_ioc_enclave_modify_types()."""
    layout = uapi.ENCLAVE_MODIFY_TYPES
    f = _arguments(encl, user, layout, arg)
    wanted = f["page_type"]
    if wanted & ~0xFF or f["result"] or f["count"]:
        raise OSError(
            errno.EINVAL,
            f"page_type {wanted:#x}, result {f['result']:#x} or count {f['count']:#x}: the latter must be 0",
        )
    if wanted not in (PageType.TCS, PageType.TRIM):
        user.write(arg, layout.pack(**f))  # sgx_enclave_modify_types() looks, so that the argument is written back
        raise OSError(errno.EINVAL, f"page_type {wanted}: pages change to PT_TCS or PT_TRIM only")

    def change(page: EnclPage, f: dict[str, int]) -> None:
        epc = page.epc
        assert epc is not None
        if not (page.type == PageType.REG or (page.type == PageType.TCS and wanted == PageType.TRIM)):
            raise OSError(
                errno.EINVAL, f"the page at {page.address:#x}, PT_{page.type.name}, cannot change to type {wanted}"
            )
        if page.type == PageType.REG and wanted == PageType.TCS and page.max_prot & 3 != 3:
            raise OSError(errno.EPERM, f"a TCS needs a page that may be read and written, not {page.address:#x}")
        encl.zap((page.address, page.address + PAGE_SIZE))
        _leaf(f, lambda: encls.emodt(epc, wanted))
        encl.track()
        if page.type == PageType.REG and wanted == PageType.TCS:
            page.max_prot &= PROT_READ | PROT_WRITE
        page.type = PageType(wanted)

    _each(encl, user, layout, arg, f, change)


def remove_pages(encl: Encl, user: UserMemory, arg: int) -> None:
    """SGX_IOC_ENCLAVE_REMOVE_PAGES, sgx_ioc_enclave_remove_pages(): for trimmed pages that the enclave has accepted."""
    layout = uapi.ENCLAVE_REMOVE_PAGES
    f = _arguments(encl, user, layout, arg)
    if f["count"]:
        raise OSError(errno.EINVAL, f"count {f['count']:#x} must be 0")

    def change(page: EnclPage, f: dict[str, int]) -> None:
        epc = page.epc
        assert epc is not None
        if page.type != PageType.TRIM or not _accepted(page):
            raise OSError(
                errno.EPERM, f"the page at {page.address:#x} is not trimmed, or not accepted by the enclave (EACCEPT)"
            )
        encl.zap((page.address, page.address + PAGE_SIZE))
        encl.kernel.remove(page)
        del encl.pages[page.index]
        encl.memory.discard(page.address - encl.base, PAGE_SIZE)
        encl.shrink()
        if encl.kernel.events.heard(PageRemoved):
            encl.kernel.events.emit(PageRemoved, encl.eid, page.address)

    _each(encl, user, layout, arg, f, change)


def _accepted(page: EnclPage) -> bool:
    """EMODPR on a trimmed page tells: it is refused before the enclave's EACCEPT and faults after."""
    assert page.epc is not None
    try:
        encls.emodpr(page.epc, 7)
    except Fault as fault:
        return fault.vector == Vector.PF
    return False
