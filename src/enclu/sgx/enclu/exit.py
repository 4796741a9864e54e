"""EEXIT: leaving an enclave on purpose.  SDM 3D EEXIT."""

from __future__ import annotations

from typing import TYPE_CHECKING

from enclu.sgx.exceptions import GeneralProtection
from enclu.sgx.leave import active_secs, free_tcs
from enclu.sgx.structs import TCS

if TYPE_CHECKING:
    from enclu.sgx.processor import Processor

_AEP = TCS.offset("AEP")


def eexit(cpu: Processor) -> None:
    """Go to RBX; out: RCX = AEP.  RSP and RBP stay the enclave's: it has restored them itself."""
    regs = cpu.regs
    target = regs.rbx
    if (1 << 47) <= target < (1 << 64) - (1 << 47):
        raise GeneralProtection(f"the target {target:#x} is not canonical")
    mode = cpu.mode
    secs = active_secs(cpu)
    if cpu.xcr0 & ~secs.xfrm:
        cpu.widen(secs.xfrm)
    tcs = secs.used(mode.tcs_la).data
    regs.rcx = int.from_bytes(tcs[_AEP : _AEP + 8], "little")
    free_tcs(cpu)
    regs.rip = target
    regs.fs_base = mode.save_fs_base
    regs.gs_base = mode.save_gs_base
    if not mode.dbgoptin:
        regs.rflags = regs.rflags & ~(1 << 8) | mode.save_tf << 8
    mode.leave()
