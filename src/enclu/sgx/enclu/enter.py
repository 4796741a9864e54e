"""EENTER and ERESUME: entering an enclave.  SDM 3D EENTER, ERESUME."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from enclu.sgx.access import epcm_fault
from enclu.sgx.epc import PAGE_SIZE, EPCPage, PageType
from enclu.sgx.exceptions import Fault, GeneralProtection, Vector
from enclu.sgx.processor import RFLAGS_TF, Access
from enclu.sgx.structs import GPR_NAMES, GPRSGX, TCS, TCS_AEXNOTIFY, TCS_DBGOPTIN, Attribute
from enclu.sgx.xsave import AMX, in_use

if TYPE_CHECKING:
    from collections.abc import Sequence

    from enclu.sgx.processor import Processor
    from enclu.sgx.secs import Secs

_TCS = struct.Struct("<QQQIIQQQQ")
assert [TCS.offset(n) for n in ("STATE", "FLAGS", "OSSA", "CSSA", "NSSA", "OENTRY", "AEP", "OFSBASE", "OGSBASE")] == [
    0, 8, 16, 24, 28, 32, 40, 48, 56
]  # fmt: skip
_STATE = struct.Struct("<Q")
_CSSA_AT = struct.Struct("<I")
_USER_STACK = struct.Struct("<QQ")
_GPRS = struct.Struct("<16Q")
CSSA, AEP, URSP, RFLAGS = (TCS.offset("CSSA"), TCS.offset("AEP"), GPRSGX.offset("URSP"), GPRSGX.offset("RFLAGS"))
AEXNOTIFY_AT = 4096 - GPRSGX.size + GPRSGX.offset("AEXNOTIFY")
"""In the last page of an SSA frame."""
RFLAGS_RESTORED = 0x254CD5
"""CF, PF, AF, ZF, SF, DF, OF, NT, RF, AC and ID: what ERESUME takes from the SSA.  TF is not among them."""
_LOW_END, _HIGH_START = 1 << 47, (1 << 64) - (1 << 47)
"""Addresses from the first up to the second are not canonical."""
_WRAP = (1 << 64) - 1
"""Linear addresses wrap; offsets in a TCS are any 64-bit numbers."""


def tcs_page(cpu: Processor, address: int) -> EPCPage:
    """The TCS that RBX names; also checks the AEP, in the SDM's order.  Raises #GP or #PF."""
    if address & 0xFFF or _LOW_END <= address < _HIGH_START:
        raise GeneralProtection(f"RBX {address:#x} is not page aligned, or not canonical")
    page = cpu.translate(address, Access.READ)
    if page is None:
        raise epcm_fault(address, Access.READ, "RBX is not the address of an EPC page")
    aep = cpu.regs.rcx
    if _LOW_END <= aep < _HIGH_START:
        raise GeneralProtection(f"AEP {aep:#x} is not canonical")
    if (
        not page.valid or page.pt != PageType.TCS or page.blocked or page.pending or page.modified
        or page.enclaveaddress != address
    ):  # fmt: skip
        raise epcm_fault(address, Access.READ, f"RBX {address:#x} is not the address of a TCS: {page.described}")
    return page


def _ssa_page(cpu: Processor, secs: Secs, address: int) -> EPCPage:
    if _LOW_END <= address < _HIGH_START:
        raise GeneralProtection(f"SSA page {address:#x} is not canonical")
    page = cpu.translate(address, Access.WRITE)
    if page is None:
        raise epcm_fault(address, Access.WRITE, f"SSA page {address & ~0xFFF:#x} is not in the EPC")
    if (
        page.pt != PageType.REG or page.rwx & 3 != 3 or not page.valid or page.blocked or page.pending
        or page.modified or page.enclaveaddress != address & ~0xFFF or page.secs is None or page.secs.eid != secs.eid
    ):  # fmt: skip
        raise epcm_fault(
            address,
            Access.WRITE,
            f"SSA page {address & ~0xFFF:#x} is not a readable and writable PT_REG page: {page.described}",
        )
    return page


def ssa_pages(cpu: Processor, secs: Secs, address: int) -> tuple[tuple[EPCPage, ...], EPCPage]:
    """Check an SSA frame; the pages that the XSAVE region touches, and the last, which holds GPRSGX.

    The pages between are padding that the processor never touches: the SDM does not check them.  A fault at
    the last page is one at GPRSGX.  Raises #PF.
    """
    first = _ssa_page(cpu, secs, address)
    if secs.ssaframesize == 1:
        return (first,), first
    more = [_ssa_page(cpu, secs, address + i * PAGE_SIZE) for i in range(1, secs.xsave_pages)]
    return (first, *more), _ssa_page(cpu, secs, address + secs.ssaframesize * PAGE_SIZE - GPRSGX.size)


def check_tcs(cpu: Processor, secs: Secs, flags: int, bases: int) -> None:
    """What EENTER and ERESUME ask of the TCS and its enclave; `bases` is OSSA | OFSBASE | OGSBASE.

    Raises #GP, or #NM where the operating system has yet to enable a component of XFRM.
    """
    if bases & 0xFFF:
        raise GeneralProtection("TCS.OSSA, OFSBASE or OGSBASE is not page aligned")
    if flags & ~(TCS_DBGOPTIN | TCS_AEXNOTIFY):
        raise GeneralProtection(f"reserved bits in TCS.FLAGS {flags:#x}")
    if not secs.initialised:
        raise GeneralProtection("the enclave is not initialised (EINIT)")
    if secs.xfrm & ~cpu.xcr0:
        raise GeneralProtection(f"SECS.ATTRIBUTES.XFRM {secs.xfrm:#x} is not a subset of XCR0 {cpu.xcr0:#x}")
    if not flags & TCS_DBGOPTIN and (flags & TCS_AEXNOTIFY != 0) != (secs.attributes & Attribute.AEXNOTIFY != 0):
        raise GeneralProtection(f"TCS.FLAGS {flags:#x} and SECS.ATTRIBUTES {secs.attributes:#x} differ in AEXNOTIFY")
    if secs.xfrm & AMX and secs.xfrm & cpu.xfd:
        raise Fault(Vector.NM, why="the process may not use AMX, which is in SECS.ATTRIBUTES.XFRM")


def eenter(cpu: Processor) -> None:
    """Enter at TCS.OENTRY.  RBX: TCS, RCX: AEP; out: RAX = CSSA, RCX = return address."""
    page = tcs_page(cpu, cpu.regs.rbx)
    fields = _TCS.unpack_from(page.data)
    _, flags, ossa, _, _, _, _, ofsbase, ogsbase = fields
    secs = page.secs
    assert secs is not None
    check_tcs(cpu, secs, flags, ossa | ofsbase | ogsbase)
    _enter(cpu, page, secs, *fields)


def _enter(
    cpu: Processor, page: EPCPage, secs: Secs, state: int, flags: int, ossa: int, cssa: int, nssa: int, oentry: int,
    _aep: int, ofsbase: int, ogsbase: int,
) -> None:  # fmt: skip
    """Begin anew, with the SSA frame that is free: EENTER, and ERESUME of a thread that is to be notified."""
    regs, data = cpu.regs, page.data
    tcs_la, aep = regs.rbx, regs.rcx
    if cssa >= nssa:
        raise GeneralProtection(f"no SSA frame left: TCS.CSSA is {cssa}, NSSA {nssa}")
    base = secs.baseaddr
    fs_base, gs_base = (base + ofsbase) & _WRAP, (base + ogsbase) & _WRAP
    if _LOW_END <= fs_base < _HIGH_START or _LOW_END <= gs_base < _HIGH_START:
        raise GeneralProtection(
            f"TCS.OFSBASE or OGSBASE leads to a base that is not canonical: {fs_base:#x}, {gs_base:#x}"
        )
    frame_size = secs.ssaframesize * 4096
    frame = (base + ossa + cssa * frame_size) & _WRAP
    _, last = ssa_pages(cpu, secs, frame)
    gprsgx = frame + frame_size - 184
    target = (base + oentry) & _WRAP
    if _LOW_END <= target < _HIGH_START:
        raise GeneralProtection(f"the entry point {target:#x} is not canonical")
    if state:
        raise GeneralProtection("the TCS is busy: another logical processor is in it")
    # No fault from here on.
    cpu.touch(frame, frame + frame_size)
    if cpu.xcr0 & ~secs.xfrm:
        cpu.narrow(secs.xfrm)
    _STATE.pack_into(data, 0, cpu.mode.owner)
    _STATE.pack_into(data, AEP, aep)
    _USER_STACK.pack_into(last.data, 4096 - 184 + URSP, regs.rsp, regs.rbp)
    rflags = regs.rflags
    tf = rflags >> 8 & 1
    if not flags & TCS_DBGOPTIN and tf:
        regs.rflags = rflags & ~RFLAGS_TF
    cpu.mode.enter(
        tcs_la, secs.eid, base, secs.size, regs.fs_base, regs.gs_base, gprsgx, tf, flags & TCS_DBGOPTIN, secs.epoch,
        page.lease.address if page.lease is not None else 0,
    )  # fmt: skip
    regs.fs_base = fs_base
    regs.gs_base = gs_base
    regs.rax = cssa
    regs.rcx = regs.rip + 3
    regs.rip = target


def eresume(cpu: Processor) -> bool:
    """Go on where the last AEX interrupted.  RBX: TCS, RCX: AEP.  URSP and URBP stay those of the EENTER.

    AEX-Notify: if TCS and interrupted frame both have AEXNOTIFY, it is an entry instead, with the next frame, and what
    was interrupted stays in its own: RAX = CSSA, as after EENTER.  Whether that is so.
    """
    regs = cpu.regs
    tcs_la, aep = regs.rbx, regs.rcx
    page = tcs_page(cpu, tcs_la)
    data = page.data
    fields = _TCS.unpack_from(data)
    state, flags, ossa, cssa, _nssa, _, _, ofsbase, ogsbase = fields
    secs = page.secs
    assert secs is not None
    check_tcs(cpu, secs, flags, ossa | ofsbase | ogsbase)
    if cssa == 0:
        raise GeneralProtection("no SSA frame to resume from: TCS.CSSA = 0")
    base = secs.baseaddr
    frame_size = secs.ssaframesize * 4096
    frame = (base + ossa + (cssa - 1) * frame_size) & _WRAP
    region, last = ssa_pages(cpu, secs, frame)
    if flags & TCS_AEXNOTIFY and last.data[AEXNOTIFY_AT] & 1:
        _enter(cpu, page, secs, *fields)
        return True
    check_frame(secs, region, last)
    if state:
        raise GeneralProtection("the TCS is busy: another logical processor is in it")
    # No fault from here on.
    cpu.touch(frame, frame + frame_size)
    image, layout = cpu.xsave(), cpu.machine.layout
    if cpu.xcr0 & ~secs.xfrm:
        cpu.aside = layout.put_aside(image, secs.xfrm)
    _STATE.pack_into(data, 0, cpu.mode.owner)
    _STATE.pack_into(data, AEP, aep)
    _CSSA_AT.pack_into(data, CSSA, cssa - 1)
    tf = regs.rflags >> 8 & 1
    gprsgx = frame + frame_size - 184
    cpu.mode.enter(
        tcs_la, secs.eid, base, secs.size, regs.fs_base, regs.gs_base, gprsgx, tf, flags & TCS_DBGOPTIN, secs.epoch,
        page.lease.address if page.lease is not None else 0,
    )  # fmt: skip
    load_frame(cpu, secs, image, region)
    load_registers(cpu, last)
    return False


def check_frame(secs: Secs, region: Sequence[EPCPage], last: EPCPage) -> None:
    """What ERESUME asks of what an SSA frame holds.  Raises #GP."""
    at = 4096 - GPRSGX.size
    for where in (GPRSGX.get(last.data, name, at) for name in ("RIP", "FSBASE", "GSBASE")):
        if _LOW_END <= where < _HIGH_START:
            raise GeneralProtection(f"RIP, FSBASE or GSBASE saved in the SSA is not canonical: {where:#x}")
    area = region[0].data  # where the legacy region and the header are
    if in_use(area) & ~secs.xfrm or any(area[520:536]):
        raise GeneralProtection(f"the XSAVE header in the SSA is not within XFRM {secs.xfrm:#x}")
    if int.from_bytes(area[24:28], "little") & ~0xFFFF:
        raise GeneralProtection("reserved bits in MXCSR saved in the SSA")


def load_frame(cpu: Processor, secs: Secs, image: bytearray, region: Sequence[EPCPage]) -> None:
    """Extended state, within XFRM, from an SSA frame; `image` is what the processor has."""
    cpu.machine.layout.restore(image, secs.xfrm, [page.data for page in region])
    cpu.xrstor(image)


def load_registers(cpu: Processor, last: EPCPage) -> None:
    """The registers that GPRSGX has."""
    regs, saved, at = cpu.regs, last.data, 4096 - GPRSGX.size
    for name, value in zip(GPR_NAMES, _GPRS.unpack_from(saved, at), strict=True):
        setattr(regs, name, value)
    rflags = GPRSGX.get(saved, "RFLAGS", at) & RFLAGS_RESTORED | regs.rflags & ~RFLAGS_RESTORED
    regs.rflags = rflags if cpu.mode.dbgoptin else rflags & ~RFLAGS_TF
    regs.rip = GPRSGX.get(saved, "RIP", at)
    regs.fs_base, regs.gs_base = GPRSGX.get(saved, "FSBASE", at), GPRSGX.get(saved, "GSBASE", at)
