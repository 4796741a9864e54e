"""Enclave accesses to linear memory: the EPCM check behind the page-table walk.  SDM 3D section 35.5, 37.3."""

from __future__ import annotations

from typing import TYPE_CHECKING

from enclu.sgx.epc import EPCPage, PageType
from enclu.sgx.exceptions import PFEC, GeneralProtection, PageFault
from enclu.sgx.processor import Access

if TYPE_CHECKING:
    from enclu.sgx.processor import Processor

_NEEDS = {Access.READ: 1, Access.WRITE: 2, Access.FETCH: 4}
SGX_FAULT = PFEC.P | PFEC.U | PFEC.SGX


def epcm_allows(page: EPCPage, address: int, eid: int, access: Access) -> bool:
    """The EPCM lets code of enclave `eid` touch the page at this address."""
    return (
        page.accessible and page.secs is not None and page.secs.eid == eid
        and page.enclaveaddress == address & ~0xFFF and bool(page.rwx & _NEEDS[access])
    )  # fmt: skip


def epcm_fault(address: int, access: Access, why: str) -> PageFault:
    """#PF with the SGX bit."""
    return PageFault(address, SGX_FAULT | access, why)


def operand(cpu: Processor, address: int, size: int, align: int, access: Access) -> tuple[EPCPage, int]:
    """An operand of an ENCLU leaf that must lie in the running enclave: its page, and the offset in it.

    Raises #GP for alignment and ELRANGE, #PF for the page.
    """
    base, length = cpu.mode.elrange
    if address & (align - 1):
        raise GeneralProtection(f"operand {address:#x} is not aligned to {align} bytes")
    if not base <= address <= base + length - size:
        raise GeneralProtection(f"operand {address:#x} is not in ELRANGE")
    page = cpu.translate(address, access)
    if page is None:
        raise epcm_fault(address, access, f"operand {address:#x} is not in an EPC page")
    if not epcm_allows(page, address, cpu.mode.eid, access):
        raise epcm_fault(
            address, access, f"the EPCM does not allow the access to operand {address:#x}: {page.described}"
        )
    return page, address & 0xFFF


def read_operand(cpu: Processor, address: int, size: int, align: int) -> bytes:
    """Read an operand in the running enclave."""
    page, offset = operand(cpu, address, size, align, Access.READ)
    return bytes(page.data[offset : offset + size])


def target_page(cpu: Processor, address: int, access: Access = Access.READ) -> EPCPage:
    """The page that EACCEPT and its relatives act upon: of this enclave, whatever its EPCM permissions.

    `access` is what page tables are asked for.
    """
    base, length = cpu.mode.elrange
    if address & 0xFFF or not base <= address < base + length:
        raise GeneralProtection(f"{address:#x} is not a page of ELRANGE")
    page = cpu.translate(address, access)
    if page is None or not page.valid or page.blocked:
        raise epcm_fault(address, access, f"no valid EPC page at {address:#x}")
    secs = page.secs
    if secs is None or secs.eid != cpu.mode.eid or page.enclaveaddress != address:
        raise epcm_fault(address, access, f"the EPC page at {address:#x} is of another enclave or address")
    if page.pt not in (PageType.REG, PageType.TCS, PageType.TRIM):
        raise epcm_fault(
            address, access, f"the page at {address:#x} is of no type that can be accepted: {page.described}"
        )
    return page
