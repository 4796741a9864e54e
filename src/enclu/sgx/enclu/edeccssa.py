"""EDECCSSA: give up the current SSA frame for the one below.  SDM 3D EDECCSSA."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from enclu.sgx.enclu.enter import CSSA, ssa_pages
from enclu.sgx.exceptions import GeneralProtection
from enclu.sgx.leave import active_secs
from enclu.sgx.structs import GPRSGX, TCS

if TYPE_CHECKING:
    from enclu.sgx.processor import Processor


def edeccssa(cpu: Processor) -> None:
    """TCS.CSSA := CSSA - 1.  URSP and URBP of the frame that becomes current stay what they are there.

    Raises #GP when CSSA is 0, #PF when that frame is not usable.
    """
    mode = cpu.mode
    secs = active_secs(cpu)
    tcs = secs.used(mode.tcs_la)
    (cssa,) = struct.unpack_from("<I", tcs.data, CSSA)
    if cssa == 0:
        raise GeneralProtection("no SSA frame to give up: TCS.CSSA = 0")
    frame_size = secs.ssaframesize * 4096
    frame = secs.baseaddr + TCS.get(tcs.data, "OSSA") + (cssa - 1) * frame_size
    ssa_pages(cpu, secs, frame)
    struct.pack_into("<I", tcs.data, CSSA, cssa - 1)
    mode.move_frame(frame + frame_size - GPRSGX.size)
    cpu.regs.rip += 3
