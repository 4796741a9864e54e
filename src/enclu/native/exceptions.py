"""The path of an exception, from the stop of a thread to the handler that the chosen design gives it to."""

from __future__ import annotations

import contextlib
import signal
from typing import TYPE_CHECKING

from enclu.base.abi import NR, TRAP_TRACE
from enclu.base.events import ExceptionSignal, Fixup, SignalSent
from enclu.linux import fault as vm_fault
from enclu.linux.fault import Resolution
from enclu.linux.mm import access_of
from enclu.linux.traps import signal_of
from enclu.native import abort_page, debug_registers, path_calls, ptrace, signals, xcr0_stops
from enclu.native.debug_registers import RFLAGS_RF, TRAP_HWBKPT
from enclu.native.inject import inject
from enclu.native.native_fault import error_code, exception_of
from enclu.native.process import SYNCHRONOUS_SIGNALS
from enclu.sgx import inside, telling
from enclu.sgx.aex import aex
from enclu.sgx.enclu.enter import RFLAGS_TF
from enclu.sgx.exceptions import PFEC, Fault, Vector

if TYPE_CHECKING:
    from enclu.native.thread import Thread
    from enclu.run.supervisor import Supervisor

NEVER_FIXED_UP = (Vector.DB, Vector.BP, Vector.NM)
"""#DB and #BP stay signals, for debuggers; the kernel's handler of #NM asks no design (handle_xfd_event())."""
USER_CS, USER_DS = 0x33, 0x2B
"""Selectors of 64-bit user mode (__USER_CS and __USER_DS in arch/x86/include/asm/segment.h)."""
INT_3 = b"\xcd\x03"
"""The long form of INT3."""


def take(
    sup: Supervisor, thread: Thread, fault: Fault, native: ptrace.SigInfo | None, at_syscall: bool = False
) -> None:
    """Handle an exception of an enclave or of ENCLU: AEX, kernel, delivery design, signal; then resume.

    `native` is the siginfo if the host processor itself raised the exception; `at_syscall` says that the thread is
    at a system call stop.
    """
    events, where = sup.events, telling.origin(thread)
    in_enclave = thread.mode.enclave
    if in_enclave:
        if native is not None and fault.vector == Vector.PF:
            fault.error_code = _presumed_code(thread, fault.address)
        telling.left(events, where, fault)
        aex(thread, fault)
        thread.store()  # injected calls must find the outside's registers, never the enclave's
    resolution = None
    if fault.vector == Vector.PF:
        if native is not None and in_enclave and not vm_fault.handle_address(thread.space.mm, fault.address):
            fault.error_code = error_code(thread)
            if thread.space.mm.granted(fault.address, access_of(fault.error_code)):
                # Whatever else keeps the host kernel from the page (a guard region, no mapping) will not go away.
                reachable = thread.space.reachable(fault.address)
                resolution = Resolution.RESOLVED if reachable else Resolution.SIGBUS
            else:
                _correct_exinfo(thread, fault)
                resolution = vm_fault.handle(thread.space.mm, fault)
        elif native is None:
            resolution = vm_fault.handle(thread.space.mm, fault)
        else:
            resolution = Resolution.RESOLVED
        if resolution is Resolution.RESOLVED:
            thread.store()
            thread.resume()
            return
    telling.raised(events, where, fault)
    regs = thread.regs
    if fault.vector not in NEVER_FIXED_UP and sup.delivery.fixup(
        thread.space.mm, thread, thread, regs, fault.vector, fault.error_code, fault.address
    ):
        events.emit(Fixup, sup.delivery.name, fault.vector, fault.error_code, fault.address, regs.rip)
        regs.orig_rax = ptrace.NO_SYSCALL
        thread.store()
        thread.resume()
        return
    what = signal_of(fault, resolution, regs.rip)
    events.emit(ExceptionSignal, what.signo, fault.vector, fault.error_code, fault.address)
    info = ptrace.SigInfo.fault(what.signo, what.code, what.address)
    regs.orig_rax = ptrace.NO_SYSCALL
    thread.store()
    if at_syscall:
        # On to a stop that a signal can be delivered from: here one would only be sent, without its siginfo.
        inject(thread, NR["getpid"])
    signals.deliver_fault(thread, info, (fault.vector, fault.error_code, fault.address))


def _presumed_code(thread: Thread, address: int) -> int:
    """What the code of a page fault is if the kernel resolves it: the page was not present."""
    fetch = PFEC.I if address & ~0xFFF == thread.regs.rip & ~0xFFF else 0
    return int(PFEC.U | fetch)


def _correct_exinfo(thread: Thread, fault: Fault) -> None:
    """Add the SGX bit where the EPCM refused, and put the exact code into EXINFO of the frame just filled."""
    mm = thread.space.mm
    fault.error_code = mm.hardware_code(fault.address, fault.error_code)
    gprsgx = thread.mode.gprsgx
    page = mm.resident(gprsgx)
    if page is not None and page.secs is not None and page.secs.miscselect & 1:
        offset = (gprsgx & 0xFFF) - 16 + 8
        page.data[offset : offset + 4] = fault.error_code.to_bytes(4, "little")


def signal_stop(sup: Supervisor, thread: Thread, signo: int) -> None:
    """A signal is about to be delivered to the thread: an exception's, or one that somebody sent."""
    info = ptrace.SigInfo()
    info.get(thread.tid)
    fault = None
    if signo in SYNCHRONOUS_SIGNALS:
        fault = exception_of(thread, signo, info)
    if fault is not None:
        narrowed = sup.narrowed.get(thread.mode.eid) if thread.mode.enclave else None
        if narrowed is not None:
            outcome = xcr0_stops.handle(sup, narrowed, thread, fault, info)
            if outcome is None:
                return
            fault, native = outcome
            if native is None:
                take(sup, thread, fault, None)
                return
            info = native
        elif fault.vector == Vector.DB and info.code == TRAP_HWBKPT and thread.regs.rip in thread.breakpoints:
            debug_registers.load(thread, ())  # where a narrowed enclave has been, there is other code now
            thread.resume()
            return
        if thread.mode.enclave:
            raised = _in_enclave(thread, fault, info.code)
            if raised is None:
                thread.store()
                thread.resume()
            else:
                take(sup, thread, raised, info)
            return
        if fault.vector == Vector.PF and vm_fault.handle_address(thread.space.mm, fault.address):
            thread.resume()
            return
        if fault.vector == Vector.UD and sup.emulate_cpuid(thread):
            return
        if fault.vector in (Vector.PF, Vector.GP) and path_calls.recover(thread):
            return
        if fault.vector == Vector.PF and thread.space.mm.find_vma(fault.address) is not None:
            fault.error_code = error_code(thread)
            _touched_from_outside(sup, thread, fault, info)
            return
        signals.deliver_native(thread, signo)
        return
    if thread.mode.enclave:
        interrupt(sup, thread)
        thread.store()
    if signo != signal.SIGSTOP:
        sup.events.emit(SignalSent, signo)
    signals.deliver_sent(thread, signo)


def _touched_from_outside(sup: Supervisor, thread: Thread, fault: Fault, info: ptrace.SigInfo) -> None:
    """Code outside met an enclave page that the page tables do not grant it."""
    access = access_of(fault.error_code)
    if thread.space.mm.granted(fault.address, access) and thread.space.reachable(fault.address):
        thread.resume()
        return
    if abort_page.meets(thread, fault.address, access):
        with contextlib.suppress(OSError):  # the program's own seccomp filter forbids the calls: a signal, then
            other = abort_page.step(sup, thread, fault.address)
            if other is None:
                thread.resume()
                return
            info, fault = other
    signals.deliver_fault(thread, info, (fault.vector, fault.error_code, fault.address))


def _in_enclave(thread: Thread, fault: Fault, code: int) -> Fault | None:
    """What enclave mode makes of an exception that the host processor raised; None: nothing, the thread goes on.

    SDM 3D sections 40.4.1 (INT3) and 40.2.5 (TF).  `code` is the siginfo's: it tells the kinds of #DB apart.
    """
    base, size = thread.mode.elrange
    regs = thread.regs
    if to_64_bit_mode(regs):
        return Fault(Vector.UD, why="SYSENTER or a far transfer in an enclave")
    if fault.vector == Vector.BP:
        undo_trap(thread, code)
        return fault if thread.mode.dbgoptin else Fault(Vector.UD, why="INT3 after an opt-out entry")
    if fault.vector == Vector.DB:
        if code != TRAP_TRACE or thread.mode.dbgoptin:
            return fault
        undo_trap(thread, code)
        return None
    if not base <= regs.rip < base + size:
        return Fault(Vector.GP, why="instruction fetch outside ELRANGE in enclave mode")
    if fault.vector == Vector.GP and inside.illegal(thread.space.peek(regs.rip, inside.MAX_LENGTH)):
        return Fault(Vector.UD, why="instruction illegal in an enclave")
    return fault


def undo_trap(thread: Thread, code: int) -> None:
    """Go back before INT3 or INT1, which trapped, or undo a POPF that set TF where it has no effect.

    At a breakpoint of ours nothing has been executed yet.
    """
    regs = thread.regs
    if code == TRAP_HWBKPT:
        regs.rflags &= ~RFLAGS_RF
    elif code == TRAP_TRACE:
        if not thread.mode.dbgoptin:
            regs.rflags &= ~RFLAGS_TF
    elif thread.space.peek(regs.rip - 2, 2) == INT_3:
        regs.rip -= 2
    else:
        regs.rip -= 1


def to_64_bit_mode(regs: ptrace.UserRegs) -> bool:
    """Whether an enclave has left 64-bit mode, as the instructions that do so, #UD to hardware, run here: undo it.

    Intel's processors have SYSENTER in 64-bit mode.  The kernel returns from it to code of 32 bits elsewhere, and where
    it came from is lost (do_SYSENTER_32() in arch/x86/entry/common.c).
    """
    if regs.cs == USER_CS:
        return False
    regs.cs, regs.ss = USER_CS, USER_DS
    return True


def interrupt(sup: Supervisor, thread: Thread) -> None:
    """AEX for an interrupt: nothing that the enclave did."""
    to_64_bit_mode(thread.regs)
    with sup.events.acting(thread.process.tgid, thread.tid):
        telling.left(sup.events, telling.origin(thread), None)
    aex(thread, None)
    thread.store()
