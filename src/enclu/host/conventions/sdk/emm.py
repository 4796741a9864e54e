"""The enclave's memory management outside (EDMM, SDK since 2.17): what it asks of the kernel.

SDK: enclave_alloc and enclave_modify of psw/enclave_common/sgx_enclave_common.cpp.  Kernel: SGX2 in
arch/x86/kernel/cpu/sgx/ioctl.c.
"""

from __future__ import annotations

import enum
import errno
from typing import TYPE_CHECKING

from enclu.base.abi import MAP_FIXED, MAP_SHARED
from enclu.host.conventions.sdk.abi import EmmAlloc, EmmModify
from enclu.linux import uapi
from enclu.sgx.epc import PAGE_SIZE, PageType

if TYPE_CHECKING:
    from enclu.host.enclave import Enclave
    from enclu.sgx.layout import Structure

SUCCESS, OUT_OF_MEMORY, INVALID_PARAMETER, INVALID_ADDRESS, NOT_AUTHORIZED = 0, 0xA, 0x9, 0xD, 0x6
UNEXPECTED = 0x1001
_OF_ERRNO = {
    errno.ENOMEM: OUT_OF_MEMORY, errno.EINVAL: INVALID_PARAMETER, errno.EEXIST: INVALID_ADDRESS,
    errno.EACCES: NOT_AUTHORIZED,
}  # fmt: skip
"""enclave_error_t of errno."""
NONE, READ, WRITE, RIGHTS = 0, 1, 2, 7
TYPE = 0xFF00
TCS, REG, TRIM = PageType.TCS << 8, PageType.REG << 8, PageType.TRIM << 8


class Change(enum.Enum):
    """Of pages, in a way that the enclave has to accept."""

    RIGHTS = enum.auto()
    """Restricted (EMODPR): EACCEPT wants to find PR and the new ones."""
    TCS = enum.auto()
    """Made a TCS of (EMODT)."""
    TRIM = enum.auto()
    """Trimmed (EMODT), to be removed when that is accepted."""


def change(request: EmmModify) -> Change | None:
    """What EACCEPT is to confirm when the host has done what is asked; None if there is nothing."""
    before, after = request.flags_from & TYPE, request.flags_to & TYPE
    rights_before, rights_after = request.flags_from & RIGHTS, request.flags_to & RIGHTS
    if before != after and after in (TRIM, TCS):
        return Change.TRIM if after == TRIM else Change.TCS
    return Change.RIGHTS if after == REG and rights_before & ~rights_after else None


def alloc(enclave: Enclave, request: EmmAlloc) -> int:
    """Addresses for EAUG; an enclave_error_t.  Pages come when they are touched, whatever the flags hint at."""
    if not _within(enclave, request.addr, request.size):
        return INVALID_ADDRESS
    flags = MAP_SHARED | MAP_FIXED
    try:
        enclave.process.thread().syscall("mmap", request.addr, request.size, READ | WRITE, flags, enclave.fd, 0)
    except OSError as error:
        return _OF_ERRNO.get(error.errno or 0, UNEXPECTED)
    return SUCCESS


def modify(enclave: Enclave, request: EmmModify) -> int:
    """Change pages' type or rights, or tell of EACCEPTed trimming; an enclave_error_t."""
    if not _within(enclave, request.addr, request.size):
        return INVALID_ADDRESS
    if request.size % PAGE_SIZE:
        return INVALID_PARAMETER
    try:
        return _modify(enclave, request)
    except OSError as error:
        return _OF_ERRNO.get(error.errno or 0, UNEXPECTED)


def _modify(enclave: Enclave, request: EmmModify) -> int:
    before, after = request.flags_from & TYPE, request.flags_to & TYPE
    rights_before, rights_after = request.flags_from & RIGHTS, request.flags_to & RIGHTS
    if (rights_before != rights_after and before != after) or (before == TRIM and after != TRIM):
        return INVALID_PARAMETER
    if after == TRIM:
        if before != TRIM:
            _type(enclave, request, PageType.TRIM)
            return SUCCESS
        _ioctl(enclave, request, uapi.SGX_IOC_ENCLAVE_REMOVE_PAGES, uapi.ENCLAVE_REMOVE_PAGES)
        if rights_after == NONE:
            _protect(enclave, request, NONE)
        return SUCCESS
    if after == TCS:
        if before != REG or rights_before != rights_after:
            return INVALID_PARAMETER
        _type(enclave, request, PageType.TCS)
        return SUCCESS
    if after != before:
        return INVALID_PARAMETER
    if rights_before == rights_after:
        if rights_after == NONE:
            _protect(enclave, request, NONE)
        return SUCCESS
    if after != REG:
        return INVALID_PARAMETER
    restrict = uapi.SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS, uapi.ENCLAVE_RESTRICT_PERMISSIONS
    _ioctl(enclave, request, *restrict, permissions=rights_after)
    if rights_after != NONE:  # the enclave's EACCEPT needs to read
        _protect(enclave, request, rights_after)
    return SUCCESS


def _within(enclave: Enclave, address: int, size: int) -> bool:
    return size > 0 and enclave.base <= address and address + size <= enclave.base + enclave.size


def _type(enclave: Enclave, request: EmmModify, page_type: PageType) -> None:
    _ioctl(enclave, request, uapi.SGX_IOC_ENCLAVE_MODIFY_TYPES, uapi.ENCLAVE_MODIFY_TYPES, page_type=page_type)


def _protect(enclave: Enclave, request: EmmModify, rights: int) -> None:
    enclave.process.thread().syscall("mprotect", request.addr, request.size, rights)


def _ioctl(enclave: Enclave, request: EmmModify, command: int, structure: Structure, **fields: int) -> None:
    """One of the SGX2 ioctls, again from where it stopped.  Raises OSError if it cannot go on."""
    process = enclave.process
    thread = process.thread()
    offset, left = request.addr - enclave.base, request.size
    while left:
        with process.memory.own(structure.pack(offset=offset, length=left, **fields)) as address:
            try:
                thread.syscall("ioctl", enclave.fd, command, address)
                done = left
            except OSError as error:
                done = structure.unpack(process.memory.read(address, structure.size))["count"]
                if not done and error.errno not in (errno.EBUSY, errno.EAGAIN):
                    raise
        offset, left = offset + done, left - done
