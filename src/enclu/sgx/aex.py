"""Asynchronous enclave exit.  SDM 3D chapter 37 (section 37.4 in the flow's order; tables of EXITINFO and EXINFO)."""

from __future__ import annotations

import struct
from operator import attrgetter
from typing import TYPE_CHECKING

from enclu.sgx.exceptions import Fault, Vector
from enclu.sgx.leave import active_secs, free_tcs
from enclu.sgx.processor import RFLAGS_RF, RFLAGS_TF
from enclu.sgx.structs import (
    EXITINFO_HARDWARE,
    EXITINFO_SOFTWARE,
    EXITINFO_VALID,
    GPR_NAMES,
    GPRSGX,
    MISC_EXINFO,
    TCS,
    EncluLeaf,
)

if TYPE_CHECKING:
    from enclu.sgx.processor import Processor

REPORTED = frozenset((Vector.DE, Vector.DB, Vector.BP, Vector.BR, Vector.UD, Vector.MF, Vector.AC, Vector.XM))
"""Vectors for which EXITINFO is always valid."""
REPORTED_WITH_EXINFO = frozenset((Vector.PF, Vector.GP))
"""Vectors for which EXITINFO is valid only if MISCSELECT.EXINFO is set."""
_REGISTERS = struct.Struct("<18Q")
"""The first fields of GPRSGX: the general-purpose registers, RFLAGS and RIP."""
_TWO = struct.Struct("<QQ")
_gprs = attrgetter(*GPR_NAMES)
_GPRSGX_AT = 4096 - GPRSGX.size
_FSBASE_AT = _GPRSGX_AT + GPRSGX.offset("FSBASE")
_EXINFO_AT = _GPRSGX_AT - 16
_CSSA = TCS.offset("CSSA")
_AEP = TCS.offset("AEP")
RFLAGS_CLEARED = 0x8D5 | RFLAGS_RF
"""CF PF AF ZF SF OF and RF: zero in the synthetic state (SDM 3D table 37-1); DF and the others stay."""
_TRAPS = (Vector.DB,)
"""Exceptions that do not set RF in the RFLAGS that they push (SDM 3B section 18.3.1.1).  In an enclave INT3 faults."""


def reports_exinfo(vector: int, miscselect: int) -> bool:
    """The frame gets EXINFO for it."""
    return vector in REPORTED_WITH_EXINFO and bool(miscselect & MISC_EXINFO)


def exit_info(fault: Fault | None, miscselect: int) -> int:
    """GPRSGX.EXITINFO for the event (SDM 3D table 35-9 and the tables that follow it)."""
    if fault is None:
        return 0
    vector = fault.vector
    if vector in REPORTED or reports_exinfo(vector, miscselect):
        kind = EXITINFO_SOFTWARE if vector == Vector.BP else EXITINFO_HARDWARE
        return EXITINFO_VALID | kind | vector
    return 0


def aex(cpu: Processor, fault: Fault | None) -> None:
    """Leave the enclave for `fault`, or for an interrupt (None).

    Fills the current SSA frame, loads the synthetic state and goes to the AEP.  CR2 of a #PF loses its low 12 bits.
    """
    regs, mode = cpu.regs, cpu.mode
    secs = active_secs(cpu)
    tcs_la = mode.tcs_la
    region, last = secs.frame(mode.gprsgx)
    frame = last.data
    ursp_urbp = _TWO.unpack_from(frame, _GPRSGX_AT + GPRSGX.offset("URSP"))
    rflags = regs.rflags
    rf = RFLAGS_RF if fault is not None and fault.vector not in _TRAPS else 0
    saved = rflags & ~RFLAGS_TF | rf  # TF saved as 0: SDM 3D section 40.2.4
    _REGISTERS.pack_into(frame, _GPRSGX_AT, *_gprs(regs), saved, regs.rip)
    _TWO.pack_into(frame, _FSBASE_AT, regs.fs_base, regs.gs_base)
    GPRSGX.put(frame, "EXITINFO", exit_info(fault, secs.miscselect), _GPRSGX_AT)
    if fault is not None:
        if reports_exinfo(fault.vector, secs.miscselect):
            address = fault.address if fault.vector == Vector.PF else 0
            struct.pack_into("<QII", frame, _EXINFO_AT, address, fault.error_code, 0)
        if fault.vector == Vector.PF:
            fault.address &= ~0xFFF
    image, layout = cpu.xsave(), cpu.machine.layout
    layout.save(image, secs.xfrm, [page.data for page in region])
    layout.synthesise(image, secs.xfrm, None if fault is None else fault.vector)
    if cpu.aside is not None:
        layout.give_back(image, secs.xfrm, cpu.aside)
        cpu.aside = None
    cpu.xrstor(image)

    tcs = secs.used(tcs_la).data
    (cssa,) = struct.unpack_from("<I", tcs, _CSSA)
    struct.pack_into("<I", tcs, _CSSA, cssa + 1)
    (aep,) = struct.unpack_from("<Q", tcs, _AEP)
    free_tcs(cpu)  # last: who finds it free enters with the next frame, and has an AEP of its own
    regs.clear()
    regs.rax, regs.rbx, regs.rcx = EncluLeaf.ERESUME, tcs_la, aep
    regs.rsp, regs.rbp = ursp_urbp
    regs.rip = aep
    rflags &= ~RFLAGS_CLEARED
    if not mode.dbgoptin:
        rflags = rflags & ~RFLAGS_TF | mode.save_tf << 8
    regs.rflags = rflags
    regs.fs_base, regs.gs_base = mode.save_fs_base, mode.save_gs_base
    mode.leave()
