"""A debugger's access to the memory of an enclave.  Kernel: arch/x86/kernel/cpu/sgx/encl.c (sgx_vma_access)."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import TYPE_CHECKING

from enclu.linux import uapi
from enclu.sgx import encls
from enclu.sgx.encls.debug import WORD
from enclu.sgx.epc import PAGE_SIZE, EPCPage, PageType
from enclu.sgx.exceptions import Fault
from enclu.sgx.structs import Attribute, ErrorCode

if TYPE_CHECKING:
    from enclu.linux.mm import MM
    from enclu.sgx.processor import UserMemory


def debug_access(mm: MM, user: UserMemory, arg: int) -> None:
    """ENCLU_SGX_IOC_DEBUG_ACCESS.  Raises OSError; `count` tells how far it got."""
    f = uapi.DEBUG_ACCESS.unpack(user.read(arg, uapi.DEBUG_ACCESS.size))
    if f["flags"] & ~uapi.ENCLU_SGX_DEBUG_WRITE:
        raise OSError(errno.EINVAL, f"unknown flags {f['flags']:#x}")
    done, failure = 0, None
    try:
        for page, address, size in _pieces(mm, f["address"], f["length"]):
            buffer = f["buffer"] + done
            if f["flags"] & uapi.ENCLU_SGX_DEBUG_WRITE:
                _put(mm, page, address, user.read(buffer, size))
            else:
                user.write(buffer, mm.kernel.processors.original(address, _words(page, address, size)))
            done += size
    except OSError as error:
        failure = error
    user.write(arg + uapi.DEBUG_ACCESS.offset("count"), done.to_bytes(8, "little"))
    if failure is not None:
        raise failure


def read(mm: MM, address: int, size: int) -> bytes:
    """Bytes of a debug enclave, as many as there are from the address on.  Raises OSError if there are none."""
    data = b""
    try:
        for page, at, length in _pieces(mm, address, size):
            data += mm.kernel.processors.original(at, _words(page, at, length))
    except OSError:
        if not data:
            raise
    return data


def write(mm: MM, address: int, data: bytes) -> None:
    """Write to a debug enclave.  Raises OSError; what is in front of the byte that cannot be written is written."""
    for page, at, size in _pieces(mm, address, len(data)):
        _put(mm, page, at, data[at - address : at - address + size])


def _pieces(mm: MM, address: int, length: int) -> Iterator[tuple[EPCPage, int, int]]:
    """Page, address and bytes of what can be accessed at once, one behind the other.  Raises OSError."""
    end = address + length
    while address < end:
        page = _page(mm, address)
        size = _at_once(page, address, end - address)
        yield page, address, size
        address += size


def _page(mm: MM, address: int) -> EPCPage:
    """sgx_encl_reserve_page(): of a debug enclave, in the EPC.  Raises OSError EFAULT or ENOMEM."""
    vma = mm.find_vma(address)
    encl = vma.encl if vma is not None else None
    if vma is None or encl is None or encl.secs is None or not encl.secs.attributes & Attribute.DEBUG:
        raise OSError(errno.EFAULT, f"no debug enclave at {address:#x}")
    page = encl.pages.get(address >> 12)
    if page is None or vma.prot & ~page.max_prot:
        raise OSError(errno.EFAULT, f"no page at {address:#x}, or its mapping allows more than it was added with")
    encl.load(address)
    assert page.epc is not None
    return page.epc


def _put(mm: MM, page: EPCPage, address: int, data: bytes) -> None:
    """Raises OSError EIO."""
    mm.kernel.processors.leaves_epc([page])  # of what the machine has put in an ENCLU's place, no part may stay
    _write(page, address, data)
    vma = mm.find_vma(address)
    if vma is not None and vma.encl is not None:
        mm.kernel.processors.revoke(vma.encl.eid, ((address, address + len(data)),))
        if vma.encl.execution is not None:
            vma.encl.execution.changed(address >> 12)


def _at_once(page: EPCPage, address: int, left: int) -> int:
    """Bytes from `address` on: to the end of the page; of a TCS, where not every word may be accessed, of the word."""
    unit = WORD if page.pt == PageType.TCS else PAGE_SIZE
    return min(unit - address % unit, left)


def _words(page: EPCPage, address: int, size: int) -> bytes:
    """sgx_encl_debug_read(): read bytes of a page by whole words.  Raises OSError EIO."""
    skipped = address % WORD
    offset = address % PAGE_SIZE - skipped
    whole = -(-(skipped + size) // WORD) * WORD
    try:
        code, data = encls.edbgrd(page, offset, whole)
    except Fault as fault:
        raise OSError(errno.EIO, f"EDBGRD: {fault}") from None
    if code:
        raise OSError(errno.EIO, f"EDBGRD: {ErrorCode(code).name}")
    return data[skipped : skipped + size]


def _write(page: EPCPage, address: int, data: bytes) -> None:
    """sgx_encl_debug_write(): what else is in the first and last word stays.  Raises OSError EIO."""
    before, after = address % WORD, -(address + len(data)) % WORD
    start = address - before
    image = _words(page, start, before) + data + _words(page, address + len(data), after)
    try:
        code = encls.edbgwr(page, start % PAGE_SIZE, image)
    except Fault as fault:
        raise OSError(errno.EIO, f"EDBGWR: {fault}") from None
    if code:
        raise OSError(errno.EIO, f"EDBGWR: {ErrorCode(code).name}")
