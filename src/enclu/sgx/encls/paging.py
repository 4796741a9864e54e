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
from enclu.sgx.epc import PAGE_SIZE, EPCPage, PageType
from enclu.sgx.exceptions import GeneralProtection, PageFault
from enclu.sgx.structs import PCMD, SECINFO, ErrorCode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from enclu.sgx.machine import Machine
    from enclu.sgx.secs import Secs

Evicted = tuple[EPCPage, int, bytes | memoryview, bytes]
"""A page outside the EPC: version array and slot, ciphertext, PCMD."""
VA_SLOTS = 512
MAC_SIZE = PCMD.width("MAC")
FEW = 64
"""Combinations of type, permissions and states, as many as are remembered: those in use are fewer."""
_SLOT = struct.Struct("<Q")
_BOUND_TO = struct.Struct("<QQ")
BLOCKABLE = (PageType.REG, PageType.TCS, PageType.TRIM)
_SUCCESS, _SECS, _VA = ErrorCode.SUCCESS, PageType.SECS, PageType.VA
"""As `sgx.epc.PT_REG`: by these names for each page."""


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
        return ErrorCode.SGX_PG_IS_SECS if page.pt == _SECS else ErrorCode.SGX_NOTBLOCKABLE
    if page.blocked:
        return ErrorCode.SGX_BLKSTATE
    page.blocked = True
    assert page.secs is not None
    page.epoch = page.secs.epoch
    return _SUCCESS


def etrack(secs: Secs) -> int:
    """Begin a new tracking epoch."""
    check_secs(secs)
    if not secs.tracked:
        return ErrorCode.SGX_PREV_TRK_INCMPL
    secs.epoch += 1
    return _SUCCESS


def _flags(page: EPCPage) -> int:
    return page.rwx | page.pending << 3 | page.modified << 4 | page.pr << 5 | int(page.pt) << 8


@functools.lru_cache(FEW)
def _secinfo(flags: int) -> bytes:
    """PCMD.SECINFO."""
    return SECINFO.pack(FLAGS=flags)


@functools.lru_cache(FEW)
def _flags_in(secinfo: bytes) -> int:
    """Of a PCMD.SECINFO."""
    flags: int = SECINFO.get(secinfo, "FLAGS")
    return flags


@functools.lru_cache(FEW)
def _state(flags: int) -> tuple[PageType, int, bool, bool, bool]:
    """What `_flags` has made one number: PT, R|W|X, PENDING, MODIFIED and PR."""
    return PageType(flags >> 8 & 0xFF), flags & 7, bool(flags & 8), bool(flags & 16), bool(flags & 32)


@functools.lru_cache(FEW)
def _pcmd(secinfo: bytes, eid: int) -> bytes:
    """The part of a PCMD in front of the MAC."""
    return PCMD.pack(SECINFO=secinfo, ENCLAVEID=eid)[: PCMD.offset("MAC")]


def _check_slot(page: EPCPage, va: EPCPage, slot: int) -> None:
    if not 0 <= slot < VA_SLOTS or va is page:
        raise GeneralProtection(f"slot {slot} of a version array does not exist, or lies in the page itself")
    if not va.valid or va.pt != _VA:
        raise PageFault(0, 0, f"not a version array: {va.described}")


def _seal(machine: Machine, page: EPCPage, va: EPCPage, slot: int, eid: int) -> tuple[bytes, bytes]:
    """What EWB does once nothing is in its way: ciphertext with the MAC behind it, and PCMD."""
    version = next(machine.version)
    _SLOT.pack_into(va.data, slot * _SLOT.size, version)
    secinfo = _secinfo(_flags(page))
    header = secinfo + _BOUND_TO.pack(eid, page.enclaveaddress)
    sealed = machine.paging_cipher.encrypt(version.to_bytes(12, "little"), page.data, header)
    page.invalidate()
    return sealed, _pcmd(secinfo, eid) + sealed[-MAC_SIZE:]


def ewb(machine: Machine, page: EPCPage, va: EPCPage, slot: int) -> tuple[int, bytes, bytes]:
    """Encrypt a blocked, tracked page and free its EPC page: error code, ciphertext and PCMD."""
    _check_slot(page, va, slot)
    if not page.valid:
        raise PageFault(page.enclaveaddress, 0, "the EPC page is not valid")
    secs = page.secs
    eid = 0 if secs is None else secs.eid  # 0 for a version array: it belongs to no enclave
    if page.pt == _SECS:
        assert secs is not None
        if secs.children:
            return ErrorCode.SGX_CHILD_PRESENT, b"", b""
    elif page.pt != _VA:
        assert secs is not None
        if not page.blocked:
            return ErrorCode.SGX_PAGE_NOT_BLOCKED, b"", b""
        if page.epoch >= secs.epoch or not secs.tracked:
            return ErrorCode.SGX_NOT_TRACKED, b"", b""
    if _SLOT.unpack_from(va.data, slot * _SLOT.size)[0]:
        return ErrorCode.SGX_VA_SLOT_OCCUPIED, b"", b""
    if secs is not None and page.pt != _SECS:
        secs.children -= 1
    sealed, pcmd = _seal(machine, page, va, slot, eid)
    return _SUCCESS, sealed[:-MAC_SIZE], pcmd


def ewb_run(machine: Machine, pages: Sequence[EPCPage], va: EPCPage, slots: Sequence[int]) -> list[bytes]:
    """EWB for blocked pages of one enclave in turn, as far as nothing is in the way; their PCMDs.

    Much faster than one by one.  Each ciphertext takes the place of the contents.  What is wrong with the page behind
    the last one, EWB of that page alone tells.
    """
    pcmds: list[bytes] = []
    secs = pages[0].secs
    if secs is None or not secs.tracked or not va.valid or va.pt != _VA:
        return pcmds
    eid, epoch, versions = secs.eid, secs.epoch, va.data
    for page, slot in zip(pages, slots, strict=True):
        # Blocked and of an enclave: neither a SECS nor a version array.
        if not page.blocked or not page.valid or page.secs is not secs or page.epoch >= epoch:
            break
        if not 0 <= slot < VA_SLOTS or _SLOT.unpack_from(versions, slot * _SLOT.size)[0]:
            break
        sealed, pcmd = _seal(machine, page, va, slot, eid)
        page.data[:] = memoryview(sealed)[:-MAC_SIZE]
        pcmds.append(pcmd)
    secs.children -= len(pcmds)
    return pcmds


def _opened(machine: Machine, copy: Evicted, fields: tuple[bytes, int, bytes], linaddr: int, eid: int) -> bytes | None:
    """The contents of an evicted page; None if the MAC says that something is not what EWB saw.

    `fields` are the PCMD's.
    """
    va, slot, ciphertext, _ = copy
    secinfo, enclaveid, mac = fields
    (version,) = _SLOT.unpack_from(va.data, slot * _SLOT.size)
    header = secinfo + _BOUND_TO.pack(eid, linaddr)
    sealed = b"".join((ciphertext, mac))
    plain = crypto.opened(machine.paging_cipher, version.to_bytes(12, "little"), sealed, header)
    return plain if enclaveid == eid else None


def _unseal(
    machine: Machine, page: EPCPage, copy: Evicted, fields: tuple[bytes, int, bytes], linaddr: int, secs: Secs | None
) -> bool:  # fmt: skip
    """What ELDU does once nothing but the MAC can be in its way; False if the MAC is.  `fields` are the PCMD's."""
    plain = _opened(machine, copy, fields, linaddr, 0 if secs is None else secs.eid)
    if plain is None:
        return False
    va, slot, _, _ = copy
    secinfo = fields[0]
    page.data[:] = plain
    page.pt, page.rwx, page.pending, page.modified, page.pr = _state(_flags_in(secinfo))
    page.valid, page.blocked, page.secs, page.enclaveaddress = True, False, secs, linaddr
    _SLOT.pack_into(va.data, slot * _SLOT.size, 0)
    return True


def as_loaded(machine: Machine, copy: Evicted, linaddr: int, secs: Secs) -> EPCPage | None:
    """The page that ELDU would make of an evicted one, which stays evicted; None where ELDU would refuse it."""
    fields = PCMD.values(copy[3])
    plain = _opened(machine, copy, fields, linaddr, secs.eid)
    if plain is None:
        return None
    page = EPCPage()
    page.data = memoryview(bytearray(plain))
    page.pt, page.rwx, page.pending, page.modified, page.pr = _state(_flags_in(fields[0]))
    page.valid, page.secs, page.enclaveaddress = True, secs, linaddr
    return page


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
    fields = PCMD.values(pcmd)
    pt = _flags_in(fields[0]) >> 8 & 0xFF
    if (pt == _VA) != (secs is None):
        raise GeneralProtection("a version array has no SECS, and every other page has one")
    if secs is not None and pt != _SECS:
        check_secs(secs)
    if not _unseal(machine, page, (va, slot, ciphertext, pcmd), fields, linaddr, secs):
        return ErrorCode.SGX_MAC_COMPARE_FAIL
    if secs is not None:
        if pt == _SECS:
            secs.page = page
        else:
            secs.children += 1
    return _SUCCESS


def eldu_run(machine: Machine, pages: Sequence[EPCPage], copies: Sequence[Evicted], linaddr: int, secs: Secs) -> int:
    """ELDU for neighbours from `linaddr` on in turn, as far as nothing is in the way; how many have come back.

    What is wrong with the next one, ELDU of that page alone tells.
    """
    came = 0
    if not secs.page.valid or secs.page.pt != _SECS:
        return came
    for page, copy in zip(pages, copies, strict=True):
        va, slot, _, pcmd = copy
        if not va.valid or va.pt != _VA or not 0 <= slot < VA_SLOTS or page.valid:
            break
        fields = PCMD.values(pcmd)
        if _flags_in(fields[0]) >> 8 & 0xFF not in BLOCKABLE:  # but a SECS or a version array
            break
        if not _unseal(machine, page, copy, fields, linaddr + came * PAGE_SIZE, secs):
            break
        came += 1
    secs.children += came
    return came
