"""ECREATE, EADD and EEXTEND: building an enclave."""

from __future__ import annotations

from typing import TYPE_CHECKING

from enclu.sgx import measurement, xsave
from enclu.sgx.epc import PAGE_SIZE, EPCPage, EPCRun, PageType
from enclu.sgx.exceptions import GeneralProtection, PageFault
from enclu.sgx.machine import MAX_ENCLAVE_SIZE_64
from enclu.sgx.secs import Secs
from enclu.sgx.structs import GPRSGX, SECINFO, SECS, TCS, TCS_AEXNOTIFY, TCS_DBGOPTIN, Attribute, SecinfoFlag

if TYPE_CHECKING:
    from enclu.sgx.machine import Machine

SECINFO_PT_SHIFT = 8
SECINFO_KNOWN = 0xFF3F


def secinfo_flags(secinfo: bytes) -> tuple[int, int]:
    """R|W|X and page type of a SECINFO.  Raises #GP for reserved bits."""
    flags = SECINFO.get(secinfo, "FLAGS")
    if flags & ~SECINFO_KNOWN or not SECINFO.reserved_ok(secinfo):
        raise GeneralProtection(f"reserved bits in SECINFO, FLAGS {flags:#x}")
    return flags & 7, flags >> SECINFO_PT_SHIFT & 0xFF


def ecreate(machine: Machine, page: EPCPage, secs_image: bytes, secinfo: bytes) -> Secs:
    """Make `page` the SECS of a new enclave.  Raises #GP or #PF as the SDM's pseudo-code does."""
    rwx, pt = secinfo_flags(secinfo)
    if pt != PageType.SECS or rwx:
        raise GeneralProtection(f"SECINFO is not of a SECS: page type {pt}, R|W|X {rwx:#x}")
    if page.valid:
        raise PageFault(0, 0, "the EPC page is in use")
    f = SECS.unpack(secs_image)
    size, base, attributes, xfrm = f["SIZE"], f["BASEADDR"], f["ATTRIBUTES"], f["XFRM"]
    if not SECS.reserved_ok(secs_image):
        raise GeneralProtection("reserved bytes in SECS are not 0")
    if f["CET_LEG_BITMAP_OFFSET"] or f["CET_ATTRIBUTES"]:
        raise GeneralProtection("SECS has CET fields, which are reserved on a machine without CET")
    if attributes & Attribute.INIT or attributes & ~machine.attributes:
        raise GeneralProtection(
            f"SECS.ATTRIBUTES {attributes:#x} not supported: the machine offers {int(machine.attributes):#x}"
        )
    if not attributes & Attribute.MODE64BIT:
        raise GeneralProtection(f"SECS.ATTRIBUTES {attributes:#x} without MODE64BIT: 32-bit enclaves are not supported")
    if xfrm & 3 != 3 or xfrm & ~machine.xfrm or not xsave.xsetbv_takes(xfrm):
        raise GeneralProtection(f"SECS.ATTRIBUTES.XFRM {xfrm:#x} not supported: the machine offers {machine.xfrm:#x}")
    if f["MISCSELECT"] & ~machine.miscselect:
        raise GeneralProtection(
            f"SECS.MISCSELECT {f['MISCSELECT']:#x} not supported: the machine offers {machine.miscselect:#x}"
        )
    if not attributes & Attribute.KSS and (any(f["CONFIGID"]) or f["CONFIGSVN"]):
        raise GeneralProtection("SECS.CONFIGID and CONFIGSVN need ATTRIBUTES.KSS")
    misc_size = 16 if f["MISCSELECT"] else 0
    needed = machine.layout.size_of(xfrm) + misc_size + GPRSGX.size
    if f["SSAFRAMESIZE"] * PAGE_SIZE < needed:
        raise GeneralProtection(
            f"SECS.SSAFRAMESIZE {f['SSAFRAMESIZE']} too small: XFRM {xfrm:#x} and MISCSELECT need {needed} bytes"
        )
    if size < 2 * PAGE_SIZE or size & (size - 1) or size > 1 << MAX_ENCLAVE_SIZE_64:
        raise GeneralProtection(f"SECS.SIZE {size:#x} is not a power of two from 2^13 to 2^{MAX_ENCLAVE_SIZE_64}")
    if base & (size - 1) or base >> 47:
        raise GeneralProtection(f"SECS.BASEADDR {base:#x} is not aligned to SECS.SIZE {size:#x}, or not canonical")
    secs = Secs(page, secs_image, next(machine.eids), machine.layout.pages_of(xfrm), machine.processors)
    secs.measurement.update(measurement.ecreate(secs.ssaframesize, size))
    page.valid, page.pt, page.rwx, page.secs, page.enclaveaddress = True, PageType.SECS, 0, secs, 0
    page.blocked = page.pending = page.modified = page.pr = False
    machine.enclaves[secs.eid] = secs
    return secs


def _check_tcs(contents: bytes | memoryview) -> None:
    """What EADD refuses in a TCS.  FSLIMIT and GSLIMIT matter to 32-bit enclaves only, CSSA and NSSA to EENTER."""
    f = TCS.unpack(contents)
    if not TCS.reserved_ok(contents) or f["FLAGS"] & ~(TCS_DBGOPTIN | TCS_AEXNOTIFY):
        raise GeneralProtection(f"reserved bits in TCS, FLAGS {f['FLAGS']:#x}")
    if f["OSSA"] & 0xFFF or f["OFSBASE"] & 0xFFF or f["OGSBASE"] & 0xFFF:
        raise GeneralProtection(
            f"TCS.OSSA {f['OSSA']:#x}, OFSBASE {f['OFSBASE']:#x} or OGSBASE {f['OGSBASE']:#x} is not page aligned"
        )


def check_secs(secs: Secs) -> None:
    """The SECS is in the EPC: leaves that name it fault while it is evicted.  Raises #PF."""
    if not secs.page.valid or secs.page.pt != PageType.SECS:
        raise PageFault(0, 0, "the SECS is not in the EPC")


def check_place(secs: Secs, linaddr: int) -> None:
    """An address at which a page can join the enclave.  Raises #GP."""
    if linaddr & 0xFFF or not secs.baseaddr <= linaddr < secs.baseaddr + secs.size:
        raise GeneralProtection(f"{linaddr:#x} is not a page of ELRANGE")


def eadd(secs: Secs, page: EPCPage, linaddr: int, secinfo: bytes, contents: bytes | memoryview) -> None:
    """Add a page; its contents go to `page.data`."""
    rwx, pt = secinfo_flags(secinfo)
    if page.valid:
        raise PageFault(linaddr, 0, "the EPC page is in use")
    check_secs(secs)
    if pt not in (PageType.REG, PageType.TCS):
        raise GeneralProtection(f"page type {pt} is neither PT_REG nor PT_TCS")
    if SECINFO.get(secinfo, "FLAGS") & (SecinfoFlag.PENDING | SecinfoFlag.MODIFIED | SecinfoFlag.PR):
        raise GeneralProtection(f"SECINFO.FLAGS {SECINFO.get(secinfo, 'FLAGS'):#x} of a pending or modified page")
    if pt == PageType.REG and rwx & 3 == SecinfoFlag.W:
        raise GeneralProtection(f"R|W|X {rwx:#x}: writable but not readable")
    check_place(secs, linaddr)
    if secs.initialised:
        raise GeneralProtection("the enclave is initialised already (EINIT)")
    page.data[:] = contents
    if pt == PageType.TCS:
        _check_tcs(page.data)
        rwx = 0
        TCS.put(page.data, "FLAGS", TCS.get(page.data, "FLAGS") & ~TCS_DBGOPTIN)
        for field in ("STATE", "CSSA", "AEP"):
            TCS.put(page.data, field, 0)
    secs.measurement.update(measurement.eadd(linaddr - secs.baseaddr, _measured_secinfo(secinfo, pt)))
    page.valid, page.pt, page.rwx, page.secs, page.enclaveaddress = True, PageType(pt), rwx, secs, linaddr
    page.blocked = page.pending = page.modified = page.pr = False
    secs.children += 1


def _measured_secinfo(secinfo: bytes, pt: int) -> bytes:
    """SECINFO as EADD measures it: a TCS's R, W and X are cleared first."""
    return SECINFO.pack(FLAGS=pt << SECINFO_PT_SHIFT) if pt == PageType.TCS else secinfo


def eextend(secs: Secs, page: EPCPage, offset: int) -> None:
    """Measure 256 bytes at `offset` of a page."""
    if offset & 0xFF or not 0 <= offset < PAGE_SIZE:
        raise GeneralProtection(f"offset {offset:#x} is not aligned to 256 bytes")
    if not page.valid or page.pt not in (PageType.REG, PageType.TCS):
        raise PageFault(page.enclaveaddress, 0, f"not a PT_REG or PT_TCS page: {page.described}")
    if page.secs is not secs or secs.initialised:
        raise GeneralProtection("a page of another enclave, or of one that is initialised already (EINIT)")
    at = page.enclaveaddress - secs.baseaddr + offset
    secs.measurement.update(measurement.eextend(at, page.data[offset : offset + 256]))


def eadd_run(
    secs: Secs, run: EPCRun, linaddr: int, secinfo: bytes, memory: memoryview, contents: memoryview, measure: bool
) -> None:  # fmt: skip
    """EADD for every page in turn, each followed by its 16 EEXTENDs if `measure`; much faster than one by one.

    `memory` is what the pages are bound to.  Whoever calls with PT_REG pages puts `contents` there himself, before or
    after, as is fastest.  On Fault, the pages before the one at fault may have been added: those that are `valid` have.
    """
    rwx, pt = secinfo_flags(secinfo)
    simple = pt == PageType.REG and not secs.initialised and rwx & 3 != SecinfoFlag.W
    if not simple or SECINFO.get(secinfo, "FLAGS") & 0x38 or run.in_use:
        for i, page in enumerate(run):
            position = i * PAGE_SIZE
            page.data = memory[position : position + PAGE_SIZE]
            eadd(secs, page, linaddr + position, secinfo, contents[position : position + PAGE_SIZE])
            for chunk in range(0, PAGE_SIZE if measure else 0, 256):
                eextend(secs, page, chunk)
        return
    check_secs(secs)
    check_place(secs, linaddr)
    check_place(secs, linaddr + (len(run) - 1) * PAGE_SIZE)
    if measure:
        secs.measurement.measure_pages(linaddr - secs.baseaddr, secinfo, contents)
    else:
        secs.measurement.add_pages(linaddr - secs.baseaddr, len(run), secinfo)
    run.add(secs, rwx, linaddr, memory)
    secs.children += len(run)
