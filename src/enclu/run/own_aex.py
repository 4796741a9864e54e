"""Which exceptions of enclaves are left to their threads: see `native.own_aex`.

Those whose outcome is known, but for what the error code tells of the access, and of which nobody wants to be told more
than that they were: an enclave's own mistakes, and what runtimes emulate, that go to a fixup of the design's; and page
faults for what the kernel may supply, which it does when the thread has left its enclave.
"""

from __future__ import annotations

import signal
import struct
from typing import TYPE_CHECKING, NamedTuple

from enclu.base.abi import PROT_WRITE, SI_KERNEL
from enclu.base.events import Aex, EnclaveException, Fixup
from enclu.linux import fault as page_fault
from enclu.linux import trap
from enclu.linux.delivery.base import Delivery
from enclu.native import own_aex, ptrace
from enclu.native.exceptions import USER_CS
from enclu.native.inject import FRAME_SIGNAL
from enclu.native.native_fault import raised_by_enclu
from enclu.native.process import FrameHandler
from enclu.native.signals import bit
from enclu.sgx import inside, telling
from enclu.sgx.aex import exit_info, reports_exinfo
from enclu.sgx.enclave_mode import CODE_EACH, WORD
from enclu.sgx.enclu.enter import RFLAGS_TF
from enclu.sgx.epc import PAGE_SIZE
from enclu.sgx.exceptions import Fault, Vector
from enclu.sgx.structs import ENCLU, GPRSGX, TCS, EncluLeaf
from enclu.sgx.xsave import AMX

if TYPE_CHECKING:
    from enclu.native.in_process import InProcess
    from enclu.run.supervisor import Supervisor
    from enclu.run.task import Task

_TF, _TCS, _CODES, _ONWARD = WORD["TF"], WORD["TCS"], WORD["CODES"], WORD["ONWARD"]
_CSSA_AEP = struct.Struct(f"<I{TCS.offset('AEP') - TCS.offset('CSSA') - 4}xQ")
_VECTORS: dict[int, Vector] = {signal.SIGILL: Vector.UD, signal.SIGSEGV: Vector.PF}
_at_aep = ptrace.UserRegs()
"""Registers after an AEX, as far as a design looks at them."""


def take(sup: Supervisor, task: Task, info: ptrace.SigInfo) -> bool:
    """Resume the thread, stopped in its enclave and with its registers read, with its AEX; False if it is not for it.

    Nothing has changed then.  Raises ProcessLookupError.
    """
    regs, mode, events = task.regs, task.mode, sup.events
    words, handlers = mode.words, task.process.handlers
    base, size = mode.elrange
    if (
        not base <= regs.rip < base + size or regs.cs != USER_CS or regs.rflags & RFLAGS_TF or words[_TF]
        or not words[_TCS] or handlers.frame_handler is not FrameHandler.READY or not handlers.own_aex
        or task.breakpoints or task.debugger is not None or task.displaced is not None
        or any(map(events.prompt, (Aex, EnclaveException, Fixup)))
    ):  # fmt: skip
        return False
    if words[_CODES] == own_aex.LOOK_AGAIN:
        words[_CODES], task.untold = 0, None
        return False
    in_process, secs = task.space.in_process, sup.machine.enclaves[mode.eid]
    fault = None if in_process is None else _exception(sup, task, in_process, info)
    if in_process is None or fault is None or secs.xfrm & AMX:
        return False
    gprsgx, shown = mode.gprsgx, task.mm.shown
    region = gprsgx + GPRSGX.size - secs.ssaframesize * PAGE_SIZE
    if not shown(gprsgx) & PROT_WRITE or (secs.ssaframesize > 1 and not shown(region) & PROT_WRITE):
        return False  # nobody but the supervisor has been there
    codes, supplied = 0, False
    if fault.vector == Vector.PF:
        codes = page_fault.codes(task.mm, fault.address)
        if not codes:
            if shown(fault.address) or not page_fault.missing(task.mm, fault.address):
                return False
            supplied, fault.error_code = True, trap.code_of_missing(task, fault.address)
            codes = CODE_EACH * fault.error_code
    cssa, aep = _CSSA_AEP.unpack_from(secs.used(mode.tcs_la).data, TCS.offset("CSSA"))
    fixup = own_aex.aep(task) if supplied else _fixup(sup, task, aep)
    if not fixup or ptrace.signal_mask(task.tid) & bit(FRAME_SIGNAL):
        return False
    if events.leaves.heard:
        in_process.read_ring(task)  # of what came before
    tell(sup, task)
    task.untold = Untold(telling.Origin(task), fault, words[_ONWARD], supplied)
    sup.placement.stopped(task)
    exitinfo = exit_info(fault, secs.miscselect)
    if reports_exinfo(fault.vector, secs.miscselect):
        exitinfo |= 1 << 32
    own_aex.begin(task, fixup, fault.vector, fault.address, codes, exitinfo, region, secs.xfrm, cssa + 1)
    return True


def missing(sup: Supervisor, task: Task) -> tuple[telling.Origin, Fault] | None:
    """Of an AEX for a page that is to be supplied, which the thread has made."""
    untold = task.untold
    tell(sup, task)
    if untold is None or not untold.supplied:
        return None
    untold.fault.address &= ~0xFFF
    return untold.where, untold.fault


def _fixup(sup: Supervisor, task: Task, aep: int) -> int:
    """Where the thread goes on after the AEX by the design's fixup, 0 if that cannot be told beforehand."""
    delivery = sup.kernel.delivery
    kind = type(delivery)
    if kind.target is Delivery.target or kind.fixup is not Delivery.fixup:
        return 0
    _at_aep.rax, _at_aep.rbx, _at_aep.rcx, _at_aep.rip = EncluLeaf.ERESUME, task.mode.tcs_la, aep, aep
    return delivery.target(task.mm, task, task, _at_aep) or 0


class Untold(NamedTuple):
    """An exception, with how often its thread had got further when it came."""

    where: telling.Origin
    fault: Fault
    onward: int
    supplied: bool
    """A page was missing; else it has gone to a fixup."""


def tell(sup: Supervisor, task: Task, *, further: bool = False) -> None:
    """Of the thread's last exception, if it has not been told; what it was, unless the thread has got further since."""
    untold, task.untold = task.untold, None
    if untold is None:
        return
    fault, events, words = untold.fault, sup.events, task.mode.words
    if words[_CODES] == own_aex.LOOK_AGAIN:
        return  # it was none
    further = further or untold.onward != words[_ONWARD]
    raised = not untold.supplied and not further and not own_aex.under_way(task)  # else it has been killed
    with events.acting(task.process.tgid, task.tid):
        telling.left(events, untold.where, fault)
        if raised:
            if fault.vector == Vector.PF:
                fault.error_code, fault.address = own_aex.error_code(task), fault.address & ~0xFFF
            telling.raised(events, untold.where, fault)
    if not untold.supplied:
        events.happened(Fixup)


def _exception(sup: Supervisor, task: Task, taking: InProcess, info: ptrace.SigInfo) -> Fault | None:
    """What enclave mode makes of it, if it is for the thread itself."""
    code, signo = info.code, info.signo
    vector = _VECTORS.get(signo)
    if code <= 0 or vector is None:
        return None
    if code == SI_KERNEL:
        if signo != signal.SIGSEGV:
            return None
        vector = Vector.GP
    rip = task.regs.rip
    if rip in taking.jumps:
        return None
    if raised_by_enclu(task.regs, info) and task.space.peek(rip, len(ENCLU)) == ENCLU:
        return None
    if vector != Vector.PF:
        return inside.exception(task, Fault(vector), stepped=False)
    address = info.address
    if task.mode.eid in sup.narrowed:
        # Nothing of it is held back (see `linux.fault.codes`); where that is an instruction, somebody may have raced.
        return None if 0 <= address - rip < inside.MAX_LENGTH else Fault(Vector.PF, 0, address)
    return Fault(vector, 0, address)
