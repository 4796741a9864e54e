"""Signals of a traced thread: masks, delivery, and the frames that handlers see.

The kernel has the program's own masks and actions.  But a thread that raises a signal while it has it blocked is to
die: force_sig_info_to_task() in kernel/signal.c unblocks the signal and resets its action, for all threads.  ENCLU is
such an exception here, and is not to have been one.  The thread stops before any of this counts.  So what is blocked
of the synchronous signals is known of each thread, and put right again at such a stop (`forced`); the action is put
right before it matters to anybody (`repair`).  A handler is entered by another signal's action while another thread may
be about to reset its own (`_handle_by_frame_signal`).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import struct
from typing import TYPE_CHECKING

from enclu.base.abi import BUS_ADRERR, NR, SA_NODEFER, SA_RESETHAND, SA_SIGINFO, SI_KERNEL, SI_TKILL, SIG_DFL
from enclu.native import proc, ptrace
from enclu.native.debug_registers import TRAP_HWBKPT
from enclu.native.inject import BUT_FRAME_SIGNAL, FRAME_SIGNAL, at_frame_signal, inject
from enclu.native.mask_calls import WAITING_NR
from enclu.native.native_fault import FRAME_UC, MC_CR2, MC_ERR, UC_SIGMASK, hear, trap_record
from enclu.native.process import SIGACTION, SYNCHRONOUS, SYNCHRONOUS_SIGNALS, FrameHandler, SignalAction
from enclu.native.resume import CONT, SINGLESTEP, until
from enclu.native.stop import Kind, Stop
from enclu.native.thread import FramePatch
from enclu.sgx.exceptions import Fault, Vector
from enclu.sgx.processor import Signal

if TYPE_CHECKING:
    from enclu.native.thread import Thread

_libc = ctypes.CDLL(None)
GUESSED = 1 << 64
"""In `Thread.blocked`: it waited in a call with another mask when its process began to use SGX."""
Trap = tuple[int, int, int]
"""Trap number, error code and CR2, as the handler finds them in its ucontext."""


def bit(signo: int) -> int:
    return 1 << (signo - 1)


FORCED = SYNCHRONOUS | bit(signal.SIGSYS)
"""Signals that the kernel forces upon a thread, blocked or not: SIGSYS for SYSCALL in an enclave."""


# An exception while its signal is blocked.


def forced(thread: Thread, signo: int) -> None:
    """The thread, of which `blocked` is not 0, has stopped for a synchronous signal.

    If an instruction raised it while it was blocked: it is blocked again, and the action known to be reset.  One that
    had been sent, and that the kernel took for the exception's (legacy_queue()), is queued again.
    """
    info = ptrace.SigInfo()
    info.get(thread.tid)
    if info.code <= 0 and thread.regs.orig_rax != ptrace.NO_SYSCALL:
        return  # it was sent, and the call that the thread waits in lets it through
    mask = ptrace.signal_mask(thread.tid)
    was_blocked = _was_blocked(thread, signo)
    thread.blocked = mask & FORCED
    if not was_blocked:
        return
    thread.blocked |= bit(signo)
    ptrace.set_signal_mask(thread.tid, mask | bit(signo))
    thread.process.handlers.reset |= bit(signo)
    if info.code <= 0:
        vector, code, address = trap_record(thread)
        _queue_again(thread, info)
        what = thread.space.kernel.signal_of(Fault(vector, code, address), thread)
        if vector == Vector.PF and signo == signal.SIGBUS:
            what = what._replace(code=BUS_ADRERR)
        if vector == Vector.DB and thread.regs.rip in thread.breakpoints:
            what = what._replace(code=TRAP_HWBKPT)
        ptrace.SigInfo.fault(signo, what.code, what.address).set(thread.tid)


def _was_blocked(thread: Thread, signo: int) -> bool:
    if thread.blocked & GUESSED:
        handlers = thread.process.handlers
        action = handlers.actions.get(signo)
        if action is not None and action.handler != SIG_DFL and not handlers.reset & bit(signo):
            status = proc.status(thread.tid)
            return not (int(status["SigCgt"], 16) | int(status["SigIgn"], 16)) & bit(signo)
    return bool(thread.blocked & bit(signo))


def _queue_again(thread: Thread, info: ptrace.SigInfo) -> None:
    """Put back a signal that the thread has blocked (ptrace_signal() does so), without letting the thread run."""
    mask = ptrace.signal_mask(thread.tid)
    ptrace.set_signal_mask(thread.tid, BUT_FRAME_SIGNAL)
    info.set(thread.tid)
    send(thread, FRAME_SIGNAL)
    until(thread, CONT, at_frame_signal, info.signo)
    ptrace.set_signal_mask(thread.tid, mask)


def faulted(thread: Thread) -> bool:
    """The interrupted thread is about to stop for its own exception, before it executes anything."""
    unblocked = FORCED & ~ptrace.signal_mask(thread.tid)
    return any(unblocked & bit(signo) for signo in ptrace.queued_signals(thread.tid))


def unforce(thread: Thread, info: ptrace.SigInfo) -> None:
    """The thread has stopped for a SIGSYS that no program is to see: what force_sig() did is undone.

    One that had been sent, and waited, is in its place then; it waits again.
    """
    blocked = thread.blocked & bit(signal.SIGSYS)
    action = thread.process.handlers.actions.get(signal.SIGSYS)
    if info.code <= 0:
        _queue_again(thread, info)
    if action is not None and (blocked or action.ignored):
        _give(thread, signal.SIGSYS, action)
    if blocked:
        ptrace.set_signal_mask(thread.tid, ptrace.signal_mask(thread.tid) | blocked)


def _force_default(thread: Thread, info: ptrace.SigInfo) -> None:
    """What force_sig() does to a signal that is ignored or blocked: the default action, which kills."""
    signo, handlers = info.signo, thread.process.handlers
    former = handlers.actions.get(signo)
    handlers.actions[signo] = former._replace(handler=SIG_DFL) if former else SignalAction(SIG_DFL, 0, 0, 0)
    _give(thread, signo, handlers.actions[signo])
    ptrace.set_signal_mask(thread.tid, ptrace.signal_mask(thread.tid) & ~bit(signo))
    thread.blocked &= ~bit(signo)
    info.set(thread.tid)


# Delivery.


# Each of these gives the signal to resume the thread with, 0 if there is none (any more).


def deliver(thread: Thread, what: Signal) -> int:
    """Deliver a synchronous signal that the kernel of the machine, not the host's, decided on."""
    hear(thread)
    info = ptrace.SigInfo.fault(what.signo, what.code, what.address)
    action = thread.process.handlers.actions.get(info.signo)
    if thread.blocked & bit(info.signo) or action is None or not action.handled:
        _force_default(thread, info)
        return info.signo
    return _handle(thread, info, what.trap)


def deliver_native(thread: Thread) -> int:
    """Let an exception that is not SGX's business become the signal that the host kernel made of it."""
    info = ptrace.SigInfo()
    info.get(thread.tid)
    signo = info.signo
    action = thread.process.handlers.actions.get(signo)
    if thread.blocked & bit(signo):
        _force_default(thread, info)
    elif action is not None and action.handled:
        return _handle(thread, info, None, raised=True)
    return signo


def deliver_sent(thread: Thread, signo: int) -> int:
    """Deliver a signal that somebody sent."""
    if signo in SYNCHRONOUS_SIGNALS:
        action = thread.process.handlers.actions.get(signo)
        if action is not None and action.ignored:
            return 0
        if action is not None and action.handled:
            info = ptrace.SigInfo()
            info.get(thread.tid)
            return _handle(thread, info, None)
    if signo == FRAME_SIGNAL:
        handlers = thread.process.handlers
        action = handlers.actions.get(signo)
        if action is not None and action.handled and any(other is not thread for other in handlers.threads()):
            info = ptrace.SigInfo()
            info.get(thread.tid)
            return _handle_by_frame_signal(thread, info, None)
        _own_frame_signal(thread)
    _enter(thread, signo)
    return signo


def _own_frame_signal(thread: Thread) -> None:
    """FRAME_SIGNAL is about to mean something to the program: the kernel has its action again, the default one."""
    handlers = thread.process.handlers
    if handlers.frame_handler is not FrameHandler.NONE and FRAME_SIGNAL not in handlers.actions:
        handlers.frame_handler = FrameHandler.NONE
        _nobody_awaits_frame(thread)
        info = ptrace.SigInfo()
        info.get(thread.tid)
        _give(thread, FRAME_SIGNAL, SignalAction(SIG_DFL, 0, 0, 0))
        info.set(thread.tid)


def _nobody_awaits_frame(thread: Thread) -> None:
    """FRAME_SIGNAL is about to have another action here: no other thread is about to get it."""
    for other in list(thread.process.handlers.threads()):
        taking = other.space.in_process
        if other is not thread and taking is not None:
            taking.take_out(other)


def _handle(thread: Thread, info: ptrace.SigInfo, trap: Trap | None, *, raised: bool = False) -> int:
    """Deliver a synchronous signal to its handler.  `raised`: the kernel knows of the trap itself, so far."""
    signo, handlers = info.signo, thread.process.handlers
    contended = any(other.blocked & bit(signo) for other in handlers.threads() if other is not thread)
    reset = handlers.reset & bit(signo)
    if raised and (contended or reset):
        trap = trap_record(thread)
    if contended or (reset and thread.regs.orig_rax in WAITING_NR):
        return _handle_by_frame_signal(thread, info, trap)
    if reset:
        repair(thread, reset)
    info.set(thread.tid)
    thread.frame_patch = FramePatch(trap)
    thread.delivering = signo
    _enter(thread, signo)
    return signo


def _handle_by_frame_signal(thread: Thread, info: ptrace.SigInfo, trap: Trap | None) -> int:
    """Another thread may reset the action at any moment, or need it: enter the handler as FRAME_SIGNAL's, at once.

    The kernel reads the action after the stop, too late to look once more.
    """
    signo, space, handlers = info.signo, thread.space, thread.process.handlers
    action = handlers.actions[signo]
    in_force, saved = _in_force(thread), ptrace.signal_mask(thread.tid)
    carrier = action._replace(flags=(action.flags | SA_NODEFER) & ~SA_RESETHAND)
    state, handlers.frame_handler = handlers.frame_handler, FrameHandler.PERHAPS
    _nobody_awaits_frame(thread)
    former = _give(thread, FRAME_SIGNAL, carrier)
    info.renumbered(FRAME_SIGNAL).set(thread.tid)
    ptrace.set_signal_mask(thread.tid, saved & ~bit(FRAME_SIGNAL))
    stop = until(thread, SINGLESTEP, lambda stop: stop.kind is Kind.SIGNAL, FRAME_SIGNAL)
    regs = thread.fetch()
    built = stop.signo == signal.SIGTRAP
    if built:
        regs.rdi = signo
        with contextlib.suppress(OSError):
            if action.flags & SA_SIGINFO:
                space.poke(regs.rsi, signo.to_bytes(4, "little"))
            space.poke(regs.rsp + FRAME_UC + UC_SIGMASK, saved.to_bytes(8, "little"))
        _patch(thread, trap)
        thread.store()
    if signo == FRAME_SIGNAL and action.flags & SA_RESETHAND:
        former = action._replace(handler=SIG_DFL).pack()
    inject(thread, NR["rt_sigaction"], FRAME_SIGNAL, former, 0, 8)
    handlers.frame_handler = state
    if not built:  # there was no room for the frame
        ptrace.set_signal_mask(thread.tid, saved)
        if signo == signal.SIGSEGV:
            _force_default(thread, ptrace.SigInfo.fault(signal.SIGSEGV, SI_KERNEL, 0))
            return signo
        return deliver(thread, Signal(signal.SIGSEGV, SI_KERNEL, 0, trap or (0, 0, 0)))
    _account(thread, signo, action, in_force)
    ptrace.set_signal_mask(thread.tid, in_force | action.mask | _own(signo, action))
    return 0


def _in_force(thread: Thread) -> int:
    """The mask in force at a stop: the one of the call that the thread waits in, if that has another."""
    if thread.regs.orig_rax in WAITING_NR:
        return int(proc.status(thread.tid)["SigBlk"], 16)
    return ptrace.signal_mask(thread.tid)


def _own(signo: int, action: SignalAction) -> int:
    return 0 if action.flags & SA_NODEFER else bit(signo)


def _enter(thread: Thread, signo: int) -> None:
    """The signal is about to be delivered: if to a handler, know what is blocked then."""
    action = thread.process.handlers.actions.get(signo)
    if action is None or not action.handled:
        return
    before = thread.blocked
    if thread.regs.orig_rax in WAITING_NR or before & GUESSED:
        before = _in_force(thread)
    _account(thread, signo, action, before)


def _account(thread: Thread, signo: int, action: SignalAction, before: int) -> None:
    """The handler runs with what was blocked before, its sa_mask and the signal itself."""
    _note_blocked(thread, before | action.mask | _own(signo, action))
    if action.flags & SA_RESETHAND:
        thread.process.handlers.actions[signo] = action._replace(handler=SIG_DFL)


def _note_blocked(thread: Thread, mask: int) -> None:
    """`mask` is about to be in force.  Who is on the way to a handler of what is newly blocked must be there before."""
    newly = mask & FORCED & ~thread.blocked
    thread.blocked = mask & FORCED
    if newly:
        for other in thread.process.handlers.threads():
            if other is not thread and other.delivering and newly & bit(other.delivering):
                other.waiter.settle(other)


def apply_frame_patch(thread: Thread) -> None:
    """The kernel has built the frame: the thread stands at its handler's first instruction."""
    patch, thread.frame_patch = thread.frame_patch, None
    assert patch is not None
    _patch(thread, patch.trap)
    thread.blocked = ptrace.signal_mask(thread.tid) & FORCED


def no_frame(thread: Thread) -> None:
    """The kernel could not build the frame."""
    thread.frame_patch = None
    thread.blocked = ptrace.signal_mask(thread.tid) & FORCED


def _patch(thread: Thread, trap: Trap | None) -> None:
    if trap is None:
        return
    trapno, code, cr2 = trap
    space, ucontext = thread.space, thread.regs.rsp + FRAME_UC
    with contextlib.suppress(OSError):  # another thread has unmapped the frame already, as the handler will find
        space.poke(ucontext + MC_ERR, struct.pack("<QQ", code, trapno))
        space.poke(ucontext + MC_CR2, struct.pack("<Q", cr2))


def pending(thread: Thread) -> bool:
    """A signal waits to be delivered to the stopped thread (the kernel's signal_pending()); also if it is dying."""
    try:
        own, shared, blocked = proc.signal_masks(thread.tid)
    except proc.GONE:
        return True
    return bool((own | shared) & ~blocked)


def note_sigreturn(thread: Thread) -> None:
    """The thread is about to make rt_sigreturn: know the mask that it restores."""
    frame = thread.space.peek(thread.regs.rsp + UC_SIGMASK, 8)
    if len(frame) == 8:  # else the call itself will kill the thread
        _note_blocked(thread, int.from_bytes(frame, "little"))


SENT_TO_PROCESS = (0, -1, 0x80)
"""SI_USER, SI_QUEUE and SI_KERNEL, of the terminal; not SI_TKILL, which means one thread."""


def note_sent(thread: Thread, stop: Stop) -> None:
    """The thread has stopped.  Without a tracer it would handle a signal that was sent to its process at once."""
    thread.delivering = 0
    signo = stop.signo
    if stop.kind is not Kind.SIGNAL or signo in SYNCHRONOUS_SIGNALS or len(thread.process.threads) < 2:
        return
    info = ptrace.SigInfo()
    with contextlib.suppress(ProcessLookupError):
        info.get(thread.tid)
    # One that has been killed since shows its exit event, or nothing: nobody can say who was meant.
    if info.signo != signo or info.code in SENT_TO_PROCESS:
        thread.undelivered = signo


def pass_to_process(thread: Thread) -> None:
    """The thread is ended by the exec of another: what was sent to the process must not be lost with it."""
    lost = [thread.undelivered] if thread.undelivered else []
    kept = []
    for image in thread.put_off:
        info = ptrace.SigInfo.of(image)
        if info.code in SENT_TO_PROCESS:
            lost.append(info.signo)
        else:
            kept.append(image)
    thread.undelivered, thread.put_off = 0, kept
    for signo in lost:
        with contextlib.suppress(ProcessLookupError):  # the process is gone as well
            os.kill(thread.process.tgid, signo)


def send(thread: Thread, signo: int) -> None:
    """tgkill: queue the signal for this thread."""
    if _libc.syscall(NR["tgkill"], thread.process.tgid, thread.tid, signo):
        raise ProcessLookupError


def send_put_off(thread: Thread) -> None:
    """What came while the thread ran for the supervisor's own purposes, as far as another process can send it."""
    while thread.put_off:
        info = ptrace.SigInfo.of(thread.put_off.pop(0))
        with contextlib.suppress(ProcessLookupError):
            if info.code >= 0 or info.code == SI_TKILL:
                send(thread, info.signo)
            elif _libc.syscall(NR["rt_tgsigqueueinfo"], thread.process.tgid, thread.tid, info.signo, bytes(info)):
                raise ProcessLookupError


# What the program sets.


def set_mask(thread: Thread, mask: int) -> None:
    """The program wants `mask` blocked."""
    _note_blocked(thread, mask)
    ptrace.set_signal_mask(thread.tid, mask)


def watch(thread: Thread) -> None:
    """Take over the mask of a stopped thread whose process uses SGX."""
    _note_blocked(thread, ptrace.signal_mask(thread.tid))


def watch_running(thread: Thread) -> None:
    """Take over the mask of a thread whose process has just begun to use SGX, without stopping it.

    A mask that is in force only while the thread waits hides the one that comes after it.
    """
    try:
        mask, call = int(proc.status(thread.tid)["SigBlk"], 16), proc.system_call(thread.tid)
    except proc.GONE:
        return
    thread.blocked = mask & FORCED | (GUESSED if call in WAITING_NR else 0)


def watch_handlers(thread: Thread) -> None:
    """Take over the actions that the process already has."""
    status = proc.status(thread.tid)
    known = int(status["SigCgt"], 16) | int(status["SigIgn"], 16)
    for signo in range(1, 65):
        kernels = bytearray(SIGACTION.size)
        if known & bit(signo) and inject(thread, NR["rt_sigaction"], signo, 0, kernels, 8) == 0:
            thread.process.handlers.actions[signo] = SignalAction.unpack(bytes(kernels))


KNOWN_FLAGS = 0xDC00_0807
"""UAPI_SA_FLAGS and SA_RESTORER of kernel/signal.c: the kernel drops others."""


def _give(thread: Thread, signo: int, action: SignalAction) -> bytes:
    """Have the kernel know the action; the one that it knew before."""
    former = bytearray(SIGACTION.size)
    inject(thread, NR["rt_sigaction"], signo, action.pack(), former, 8)
    return bytes(former)


def repair(thread: Thread, signals: int = SYNCHRONOUS) -> None:
    """Give the kernel those of the actions again that it may have reset."""
    handlers = thread.process.handlers
    for signo in SYNCHRONOUS_SIGNALS:
        if handlers.reset & signals & bit(signo):
            handlers.reset &= ~bit(signo)
            if signo in handlers.actions:
                _give(thread, signo, handlers.actions[signo])


def repair_ignored(thread: Thread) -> None:
    """Before exec: what the program ignores is inherited."""
    repair(thread, sum(bit(signo) for signo, action in thread.process.handlers.actions.items() if action.ignored))


def action(thread: Thread, signo: int, wanted: bytes | None) -> tuple[int, bytes]:
    """rt_sigaction: the call's result, and the former action."""
    actions = thread.process.handlers.actions
    handlers = thread.process.handlers
    if signo == FRAME_SIGNAL and signo not in actions and handlers.frame_handler is not FrameHandler.NONE:
        handlers.frame_handler = FrameHandler.NONE
        _nobody_awaits_frame(thread)
        _give(thread, FRAME_SIGNAL, SignalAction(SIG_DFL, 0, 0, 0))
    found = bytearray(SIGACTION.size)
    result = inject(thread, NR["rt_sigaction"], signo, 0 if wanted is None else wanted, found, 8)
    kernels = bytes(found)
    former = actions[signo].pack() if signo in actions else kernels
    if result == 0 and wanted is not None:
        given = SignalAction.unpack(wanted)
        kept = given.mask & ~(bit(signal.SIGKILL) | bit(signal.SIGSTOP))
        actions[signo] = given._replace(flags=given.flags & KNOWN_FLAGS, mask=kept)
    return result, former
