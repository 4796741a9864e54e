"""Which exceptions of enclaves are left to their threads: see `native.own_aex`.

Those whose outcome is known, but for what the error code tells of the access, and of which nobody wants to be told more
than that they were: an enclave's own mistakes, and what runtimes emulate, that go to a fixup of the design's; and page
faults for what the kernel may supply, which it does at once.
"""

from __future__ import annotations

import functools
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
from enclu.run import exceptions
from enclu.sgx import inside, telling
from enclu.sgx.aex import exit_info, reports_exinfo
from enclu.sgx.enclave_mode import CODE_EACH, UNTRACKED, WORD
from enclu.sgx.epc import PAGE_SIZE
from enclu.sgx.exceptions import Fault, Vector
from enclu.sgx.processor import RFLAGS_TF
from enclu.sgx.structs import ENCLU, GPRSGX, TCS, EncluLeaf
from enclu.sgx.xsave import AMX

if TYPE_CHECKING:
    from collections.abc import Callable

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
    codes, missing = 0, False
    if fault.vector == Vector.PF:
        codes = page_fault.codes(task.mm, fault.address)
        if not codes:
            missing = not shown(fault.address) and page_fault.missing(task.mm, fault.address)
            if not missing or not sup.kernel.reclaimer.plenty:
                return False
            fault.error_code = trap.code_of_missing(task, fault.address)
            codes = CODE_EACH * fault.error_code
    cssa, aep = _CSSA_AEP.unpack_from(secs.used(mode.tcs_la).data, TCS.offset("CSSA"))
    fixup = 0 if missing else _fixup(sup, task, aep)
    if not (fixup or missing) or ptrace.signal_mask(task.tid) & bit(FRAME_SIGNAL):
        return False
    if events.leaves.heard:
        in_process.read_ring(task)  # of what came before
    tell(sup, task)
    sup.placement.stopped(task)
    exitinfo = exit_info(fault, secs.miscselect)
    if reports_exinfo(fault.vector, secs.miscselect):
        exitinfo |= 1 << 32
    begin = functools.partial(
        own_aex.begin, task, address=fault.address, codes=codes, exitinfo=exitinfo, region=region, xfrm=secs.xfrm,
        cssa=cssa + 1,
    )  # fmt: skip
    if missing:
        by_jump = aep == in_process.trampoline.site and "enclu_jump" in task.space.image.symbols
        sup.attend(task, functools.partial(_supply, sup, task, in_process, fault, by_jump, begin))
    else:
        task.untold = Untold(telling.Origin(task), fault, words[_ONWARD])
        begin(fixup, fault.vector)
    return True


def _supply(
    sup: Supervisor, task: Task, taking: InProcess, fault: Fault, by_jump: bool, begin: Callable[[int, int], None]
) -> None:  # fmt: skip
    """The thread finds the page that is missing when it has made its AEX; or it is as for any other exception."""
    mm, left = task.mm, None

    def leave(start: int, end: int, prot: int) -> bool:
        nonlocal left
        if left is not None or task.process.filtered or start != fault.address & -PAGE_SIZE:
            return False
        left = Left(taking, task, start, end, prot)
        mm.left.append(left)
        return True

    where = telling.Origin(task)
    telling.left(sup.events, where, fault)
    mode = task.mode
    epoch, mode.epoch = mode.epoch, UNTRACKED  # it has left the enclave, which is only not written down yet
    try:
        supplied = trap.supply(sup.kernel, task, where, fault.address, leave)
    finally:
        mode.epoch = epoch
    if not supplied:
        exceptions.conclude(sup, task, fault, trap.unsupplied(sup.kernel, task, where, fault), inside=True)
        return
    show = left is not None and left in mm.left
    vector = own_aex.shows(left.end - left.start, left.prot) if left is not None and show else 0
    begin(own_aex.onward(task, show=show, by_jump=by_jump), vector)


class Left:
    """Pages that a thread makes accessible when it has left its enclave; or, once somebody calls this, are so."""

    def __init__(self, taking: InProcess, task: Task, start: int, end: int, prot: int) -> None:
        self.start, self.end, self.prot = start, end, prot
        self._taking, self._task, self._mm = taking, task, task.mm
        self._taken_out, self._onward = task.taken_out, task.mode.words[_ONWARD]

    def __call__(self) -> None:
        task = self._task
        if task.taken_out == self._taken_out and not task.exiting:
            if task.mode.words[_ONWARD] != self._onward:
                return  # it has come by there
            self._taking.halt(task)
        try:
            self._mm.page_tables.protect(self.start, self.end, self.prot)
        except OSError:
            self._mm.hide(self.start, self.end)


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


def tell(sup: Supervisor, task: Task, *, further: bool = False) -> None:
    """Of the thread's last exception, if it has not been told; what it was, unless the thread has got further since."""
    untold, task.untold = task.untold, None
    if untold is None:
        return
    fault, events, words = untold.fault, sup.events, task.mode.words
    if words[_CODES] == own_aex.LOOK_AGAIN:
        return  # it was none
    further = further or untold.onward != words[_ONWARD]
    with events.acting(task.process.tgid, task.tid):
        telling.left(events, untold.where, fault)
        if not further and not own_aex.under_way(task):  # else it has been killed
            if fault.vector == Vector.PF:
                fault.error_code, fault.address = own_aex.error_code(task), fault.address & ~0xFFF
            telling.raised(events, untold.where, fault)
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
