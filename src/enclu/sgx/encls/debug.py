"""EDBGRD and EDBGWR: the memory of debug enclaves, for debuggers."""

from __future__ import annotations

from enclu.sgx.epc import EPCPage, PageType
from enclu.sgx.exceptions import GeneralProtection, PageFault
from enclu.sgx.structs import TCS, Attribute, ErrorCode

WORD = 8
"""Bytes that a leaf moves in 64-bit mode."""
TCS_LIMIT = TCS.offset("GSLIMIT") + 4
"""SGX_TCS_LIMIT: the architectural size of a TCS."""
_STATE, _FLAGS = TCS.offset("STATE"), TCS.offset("FLAGS")
_BUSY = (1).to_bytes(WORD, "little")
"""What is to be seen of STATE, in which the machine keeps who it is that uses the TCS."""


def _check(page: EPCPage, offset: int, types: tuple[PageType, ...]) -> int:
    """What both leaves ask of a word's place; an error code."""
    if offset & (WORD - 1):
        raise GeneralProtection(f"offset {offset:#x} is not aligned to 8 bytes")
    if not page.valid or page.pt not in types:
        raise PageFault(page.enclaveaddress + offset, 0, f"no page of a type that can be debugged: {page.described}")
    if page.pending or page.modified:
        return ErrorCode.SGX_PAGE_NOT_DEBUGGABLE
    return ErrorCode.SUCCESS


def _check_enclave(page: EPCPage) -> None:
    if page.secs is None or not page.secs.attributes & Attribute.DEBUG:
        raise GeneralProtection("a page of a production enclave (ATTRIBUTES.DEBUG is 0)")


def edbgrd(page: EPCPage, offset: int, size: int = WORD) -> tuple[int, bytes]:
    """Read the word at `offset`, or as many as are `size` bytes: error code and data.

    EPCM permissions do not matter, nor whether the page is blocked.  Of a slot of a version array it says whether it
    is in use, by ones.
    """
    code = _check(page, offset, (PageType.REG, PageType.TCS, PageType.VA))
    if code:
        return code, b""
    if page.pt == PageType.TCS and offset + size > TCS_LIMIT:
        raise GeneralProtection(f"offset {offset:#x} and {size} bytes are beyond the end of a TCS")
    data = bytes(page.data[offset : offset + size])
    if page.pt == PageType.VA:
        return code, b"".join(_slot(data[i : i + WORD]) for i in range(0, size, WORD))
    _check_enclave(page)
    if page.pt == PageType.TCS and offset == _STATE and any(data[:WORD]):
        data = _BUSY + data[WORD:]
    return code, data


def _slot(version: bytes) -> bytes:
    return b"\xff" * WORD if int.from_bytes(version, "little") & ~7 else bytes(WORD)


def edbgwr(page: EPCPage, offset: int, data: bytes) -> int:
    """Write the word `data`, or several, at `offset`; of a TCS only FLAGS.  An error code."""
    code = _check(page, offset, (PageType.REG, PageType.TCS))
    if code:
        return code
    if page.pt == PageType.TCS and (offset, len(data)) != (_FLAGS, WORD):
        raise GeneralProtection(f"offset {offset:#x} of a TCS is not FLAGS")
    _check_enclave(page)
    page.data[offset : offset + len(data)] = data
    return code
