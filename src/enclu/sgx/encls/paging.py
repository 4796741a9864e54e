"""EPA, EBLOCK, ETRACK, EWB and ELDU: moving pages out of the EPC and back.  SDM 3D section 36.5.

Evicted pages are encrypted and authenticated with their version, type, permissions, address and enclave, so that
neither a changed nor an old copy is taken back.
"""

from __future__ import annotations

import functools
import struct
from typing import TYPE_CHECKING

from enclu.sgx import crypto
from enclu.sgx.encls.create import check_secs
from enclu.sgx.epc import EPCPage, PageType
from enclu.sgx.exceptions import GeneralProtection, PageFault
from enclu.sgx.structs import PCMD, SECINFO, ErrorCode

if TYPE_CHECKING:
    from enclu.sgx.machine import Machine
    from enclu.sgx.secs import Secs

VA_SLOTS = 512
_SLOT = struct.Struct("<Q")
_BOUND_TO = struct.Struct("<QQ")
BLOCKABLE = (PageType.REG, PageType.TCS, PageType.TRIM)


def epa(page: EPCPage) -> None:
    """Make an EPC page a version array of 512 empty slots.  `page.data` holds the versions.  Raises #PF."""
    if page.valid:
        raise PageFault(0, 0, "the EPC page is in use")
    page.data = memoryview(bytearray(4096))
    page.valid, page.pt, page.secs, page.rwx, page.enclaveaddress = True, PageType.VA, None, 0, 0
    page.blocked = page.pending = page.modified = page.pr = False


def eblock(page: EPCPage) -> int:
    """Mark a page as blocked: no new translations to it."""
    if not page.valid:
        return ErrorCode.SGX_PG_INVLD
    if page.pt not in BLOCKABLE:
        return ErrorCode.SGX_PG_IS_SECS if page.pt == PageType.SECS else ErrorCode.SGX_NOTBLOCKABLE
    if page.blocked:
        return ErrorCode.SGX_BLKSTATE
    page.blocked = True
    assert page.secs is not None
    page.epoch = page.secs.epoch
    return ErrorCode.SUCCESS


def etrack(secs: Secs) -> int:
    """Begin a new tracking epoch."""
    check_secs(secs)
    if not secs.tracked:
        return ErrorCode.SGX_PREV_TRK_INCMPL
    secs.epoch += 1
    return ErrorCode.SUCCESS


def _flags(page: EPCPage) -> int:
    return page.rwx | page.pending << 3 | page.modified << 4 | page.pr << 5 | int(page.pt) << 8


@functools.cache
def _secinfo(flags: int) -> bytes:
    """PCMD.SECINFO.  There are few."""
    return SECINFO.pack(FLAGS=flags)


def _header(pcmd_secinfo: bytes, eid: int, linaddr: int) -> bytes:
    return pcmd_secinfo + _BOUND_TO.pack(eid, linaddr)


def _check_slot(page: EPCPage, va: EPCPage, slot: int) -> None:
    if not 0 <= slot < VA_SLOTS or va is page:
        raise GeneralProtection(f"slot {slot} of a version array does not exist, or lies in the page itself")
    if not va.valid or va.pt != PageType.VA:
        raise PageFault(0, 0, f"not a version array: {va.described}")


def ewb(machine: Machine, page: EPCPage, va: EPCPage, slot: int) -> tuple[int, bytes, bytes]:
    """Encrypt a blocked, tracked page and free its EPC page: error code, ciphertext and PCMD."""
    _check_slot(page, va, slot)
    if not page.valid:
        raise PageFault(page.enclaveaddress, 0, "the EPC page is not valid")
    secs = page.secs
    eid = 0 if secs is None else secs.eid  # 0 for a version array: it belongs to no enclave
    if page.pt == PageType.SECS:
        assert secs is not None
        if secs.children:
            return ErrorCode.SGX_CHILD_PRESENT, b"", b""
    elif page.pt != PageType.VA:
        assert secs is not None
        if not page.blocked:
            return ErrorCode.SGX_PAGE_NOT_BLOCKED, b"", b""
        if page.epoch >= secs.epoch or not secs.tracked:
            return ErrorCode.SGX_NOT_TRACKED, b"", b""
    if _SLOT.unpack_from(va.data, slot * _SLOT.size)[0]:
        return ErrorCode.SGX_VA_SLOT_OCCUPIED, b"", b""
    version = next(machine.version)
    _SLOT.pack_into(va.data, slot * _SLOT.size, version)
    secinfo = _secinfo(_flags(page))
    header = _header(secinfo, eid, page.enclaveaddress)
    sealed = machine.paging_cipher.encrypt(version.to_bytes(12, "little"), page.data, header)
    pcmd = PCMD.pack(SECINFO=secinfo, ENCLAVEID=eid, MAC=sealed[-16:])
    page.invalidate()
    if secs is not None and page.pt != PageType.SECS:
        secs.children -= 1
    return ErrorCode.SUCCESS, sealed[:-16], pcmd


def eldu(
    machine: Machine, page: EPCPage, va: EPCPage, slot: int, ciphertext: bytes | memoryview, pcmd: bytes, linaddr: int,
    secs: Secs | None,
) -> int:  # fmt: skip
    """Take an evicted page back, unblocked, and empty its version slot.  `secs`: None for a version array.

    Raises #GP or #PF; SGX_MAC_COMPARE_FAIL if content, metadata, version, address or enclave is not what EWB saw.
    """
    _check_slot(page, va, slot)
    if page.valid:
        raise PageFault(linaddr, 0, "the EPC page is in use")
    f = PCMD.unpack(pcmd)
    flags = SECINFO.get(f["SECINFO"], "FLAGS")
    pt = flags >> 8 & 0xFF
    if (pt == PageType.VA) != (secs is None):
        raise GeneralProtection("a version array has no SECS, and every other page has one")
    if secs is not None and pt != PageType.SECS:
        check_secs(secs)
    eid = 0 if secs is None else secs.eid
    (version,) = _SLOT.unpack_from(va.data, slot * _SLOT.size)
    header = _header(f["SECINFO"], eid, linaddr)
    sealed = b"".join((ciphertext, f["MAC"]))
    plain = crypto.opened(machine.paging_cipher, version.to_bytes(12, "little"), sealed, header)
    if plain is None or f["ENCLAVEID"] != eid:
        return ErrorCode.SGX_MAC_COMPARE_FAIL
    page.data[:] = plain
    page.valid, page.pt, page.secs, page.enclaveaddress = True, PageType(pt), secs, linaddr
    page.rwx, page.blocked = flags & 7, False
    page.pending, page.modified, page.pr = bool(flags & 8), bool(flags & 16), bool(flags & 32)
    _SLOT.pack_into(va.data, slot * _SLOT.size, 0)
    if secs is not None:
        if pt == PageType.SECS:
            secs.page = page
        else:
            secs.children += 1
    return ErrorCode.SUCCESS
