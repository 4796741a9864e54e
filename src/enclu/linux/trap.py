"""What follows from an exception is decided here: done with, a fixup of the design's, or a signal.

Only of exceptions whose outcome is plain beforehand does `run.own_aex` tell it by itself.

A processor that has taken an exception comes here with what it knows, a `Fault`, and goes on as it is told.  Kernel:
arch/x86/mm/fault.c (do_user_addr_fault()), arch/x86/kernel/traps.c (do_error_trap()),
arch/x86/entry/vdso/extable.c (fixup_vdso_exception()).
"""

from __future__ import annotations

import enum
import functools
from typing import TYPE_CHECKING

from enclu.base.events import ExceptionSignal, Fixup
from enclu.linux import fault as page_fault
from enclu.linux.traps import Resolution, signal_of
from enclu.sgx import telling
from enclu.sgx.aex import aex
from enclu.sgx.exceptions import PFEC, Fault, PageFault, Vector
from enclu.sgx.processor import Access, Signal, access_of

if TYPE_CHECKING:
    from enclu.linux.encl_page import EnclPage
    from enclu.linux.kernel import Kernel
    from enclu.linux.mm import MM, Leave
    from enclu.linux.task import Task


class Verdict(enum.Enum):
    """What becomes of an exception that does not become a signal."""

    GOES_ON = enum.auto()
    """The processor goes on as it is: nobody notices, or the design has given it somewhere else to go."""
    HOSTS = enum.auto()
    """It is none of SGX's business: whatever it is for ordinary code."""


def exception(kernel: Kernel, task: Task, fault: Fault, *, ordinary: bool = False) -> Signal | Verdict:
    """The path of an exception that `task` has taken at its RIP: in an enclave, at an ENCLU or in `ordinary` code.

    A page fault's error code is asked for only where nothing is missing that the kernel could supply: the page was not
    present then, and who is told nothing need not know whether it was to be written.
    """
    events, mm, where = kernel.events, task.mm, telling.Origin(task)
    inside = task.mode.enclave
    if ordinary and (fault.vector != Vector.PF or mm.find_vma(fault.address) is None):
        return Verdict.HOSTS

    # Look.  Nobody sees anything of this.
    resolution = None
    missing = fault.vector == Vector.PF and not fault.exact and page_fault.missing(mm, fault.address)
    if missing:
        fault.error_code = code_of_missing(task, fault.address)
    elif not fault.exact:
        fault.error_code = task.error_code()
        mm.settle()
        if mm.granted(fault.address, access_of(fault.error_code)):
            if task.reachable(fault.address):
                return Verdict.GOES_ON  # another processor's fault has been resolved meanwhile
            resolution = Resolution.SIGBUS  # a guard region, or no mapping: it will not go away
        elif inside:
            fault.error_code = mm.hardware_code(fault.address, fault.error_code)
    fault.exact = True

    # The processor leaves the enclave, once and for all.
    if inside:
        telling.left(events, where, fault)
        aex(task, fault)

    if missing:
        resolution = Resolution.RESOLVED if supply(kernel, task, where, fault.address) else Resolution.SIGBUS
    elif fault.vector == Vector.PF and resolution is None:
        resolution = _ordinary_access(mm, fault) if ordinary else page_fault.handle(mm, fault)
    if resolution is Resolution.RESOLVED:
        return Verdict.GOES_ON
    if ordinary:
        return _from_outside(kernel, task, fault) or signal_of(fault, task, resolution)

    return _unresolved(kernel, task, where, fault, resolution)


def supply(kernel: Kernel, task: Task, where: telling.Origin, address: int, leave: Leave | None = None) -> bool:
    """`page_fault.supply` of what `task` met there: what its AEX accesses, if it was in an enclave, is evicted last."""
    if not where.eid:
        return page_fault.supply(task.mm, address, leave)
    reclaimer = kernel.reclaimer
    before, reclaimer.young = reclaimer.young, functools.partial(_accessed, kernel, where, task.mode.gprsgx)
    try:
        return page_fault.supply(task.mm, address, leave)
    finally:
        reclaimer.young = before


def _accessed(kernel: Kernel, where: telling.Origin, gprsgx: int) -> list[EnclPage]:
    """TCS and SSA frame."""
    encl = next(encl for encl in kernel.enclaves() if encl.created and encl.eid == where.eid)
    last, size = gprsgx >> 12, kernel.machine.enclaves[where.eid].ssaframesize
    found = map(encl.pages.get, (where.tcs >> 12, *range(last + 1 - size, last + 1)))
    return [page for page in found if page is not None and page.epc is not None]


def unsupplied(kernel: Kernel, task: Task, where: telling.Origin, fault: Fault) -> Signal | Verdict:
    """The rest of the path of a page fault in an enclave whose AEX has been told, and whose page cannot be supplied."""
    aex(task, fault)
    return _unresolved(kernel, task, where, fault, Resolution.SIGBUS)


def _unresolved(
    kernel: Kernel, task: Task, where: telling.Origin, fault: Fault, resolution: Resolution | None
) -> Signal | Verdict:
    """A fixup, or a signal; the processor has left the enclave if it was in one."""
    events = kernel.events
    telling.raised(events, where, fault)
    regs = task.regs
    trap = (fault.vector, fault.error_code, fault.address)
    # The kernel's handler of #NM asks no design (handle_xfd_event()).
    if fault.vector != Vector.NM and kernel.delivery.fixup(task.mm, task, task, regs, *trap):
        events.emit(Fixup, kernel.delivery.name, *trap, regs.rip)
        return Verdict.GOES_ON
    what = signal_of(fault, task, resolution)
    events.emit(ExceptionSignal, what.signo, *trap)
    return what


def interrupt(kernel: Kernel, task: Task) -> None:
    """An interrupt in enclave mode: an AEX for nothing that the enclave did."""
    telling.left(kernel.events, telling.Origin(task), None)
    aex(task, None)


def code_of_missing(task: Task, address: int) -> int:
    fetch = PFEC.I if address & ~0xFFF == task.regs.rip & ~0xFFF else 0
    return PFEC.U | fetch


def _from_outside(kernel: Kernel, task: Task, fault: Fault) -> Signal | Verdict | None:
    """Ordinary code met an enclave page that the page tables do not grant it: the abort page, perhaps."""
    mm = task.mm

    def meets(address: int, access: Access) -> bool:
        """The page tables would lead the access to an EPC page, and so the processor to the abort page.

        Its mapping is replaced for a moment, and with it that of whoever is in the enclave: they leave.
        """
        if access is Access.FETCH:
            return False  # ones are no instruction; the program cannot tell #UD from #PF by anything useful
        try:
            page = mm.translate(address, access)
        except PageFault:
            return False
        if page is not None and page.secs is not None:
            kernel.processors.revoke(page.secs.eid)
            kernel.processors.kick(page.secs.eid)
        return page is not None

    if not meets(fault.address, access_of(fault.error_code)):
        return None
    try:
        return task.through_abort_page(fault.address, meets) or Verdict.GOES_ON
    except OSError:
        return None  # the program's own seccomp filter forbids the calls that this takes


def _ordinary_access(mm: MM, fault: Fault) -> Resolution:
    """The verdict on an access from outside to enclave memory of which nothing is missing that could be supplied."""
    verdict = page_fault.verdict_of_vma(mm, fault)
    return verdict or (Resolution.SIGBUS if mm.resident(fault.address) is None else Resolution.SIGSEGV_ACCERR)
