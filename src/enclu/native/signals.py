"""Signals of a traced thread: masks, delivery, and the frames that handlers see.

The kernel kills a thread that faults while the signal of the fault is blocked.  ENCLU is such a fault here, so
synchronous signals must never really be blocked: the program gets the mask it set, the kernel another.  What a
handler's sa_mask blocks of them is in force from its start (`_enter`) to its rt_sigreturn (`sigreturn`).
"""

from __future__ import annotations

import contextlib
import os
import signal
import struct
from dataclasses import replace
from typing import TYPE_CHECKING

from enclu.base.abi import NR
from enclu.native import proc, ptrace
from enclu.native.address_space import SCRATCH
from enclu.native.inject import SYNCHRONOUS, inject
from enclu.native.native_fault import FRAME_UC, MC_CR2, MC_ERR, UC_SIGMASK
from enclu.native.process import SignalAction
from enclu.native.stop import Kind, Stop
from enclu.native.thread import FramePatch

if TYPE_CHECKING:
    from enclu.native.thread import Thread

SYNCHRONOUS_SIGNALS = frozenset((signal.SIGILL, signal.SIGTRAP, signal.SIGBUS, signal.SIGFPE, signal.SIGSEGV))
SIG_DFL = 0


def bit(signo: int) -> int:
    return 1 << (signo - 1)


def _force_default(thread: Thread, signo: int) -> None:
    """What force_sig() does to a signal that is ignored or blocked: the default action, which kills."""
    regs_rax = thread.regs.orig_rax
    thread.space.poke(SCRATCH, struct.pack("<QQQQ", SIG_DFL, 0, 0, 0))
    inject(thread, NR["rt_sigaction"], signo, SCRATCH, 0, 8)
    thread.regs.orig_rax = regs_rax
    thread.hidden_mask &= ~bit(signo)


def deliver_fault(thread: Thread, info: ptrace.SigInfo, frame: tuple[int, int, int]) -> None:
    """Deliver a synchronous signal that the machine, not the host processor, decided on.

    `frame` is the trap number, error code and CR2 that the handler shall find in its ucontext.
    """
    signo = info.signo
    action = thread.process.handlers.actions.get(signo)
    if thread.hidden_mask & bit(signo) or action is None or not action.handled:
        _force_default(thread, signo)
        info.set(thread.tid)
    else:
        info.set(thread.tid)
        _enter(thread, signo, frame)
    thread.resume(signo)


def deliver_native(thread: Thread, signo: int) -> None:
    """Let an exception that is not SGX's business become the signal that the host kernel made of it."""
    if thread.hidden_mask & bit(signo):
        info = ptrace.SigInfo()
        info.get(thread.tid)
        _force_default(thread, signo)
        info.set(thread.tid)
    else:
        _enter(thread, signo)
    thread.resume(signo)


def deliver_sent(thread: Thread, signo: int) -> None:
    """Deliver a signal that somebody sent, or hold it back while the program has it blocked."""
    if thread.hidden_mask & bit(signo):
        thread.held.append(signo)
        thread.resume()
        return
    _enter(thread, signo)
    thread.resume(signo)


def _enter(thread: Thread, signo: int, trap: tuple[int, int, int] | None = None) -> None:
    """The signal is about to be delivered: if to a handler, what its sa_mask hides is blocked now.

    The mask that the frame saves is completed only where something was hidden before; that costs a stop.
    """
    actions = thread.process.handlers.actions
    action = actions.get(signo)
    if action is None or not action.handled:
        return
    before = thread.hidden_mask
    if trap is not None or before:
        thread.frame_patch = FramePatch(trap, before)
    own = 0 if action.flags & SA_NODEFER else bit(signo)
    thread.hidden_mask |= (action.mask | own) & SYNCHRONOUS
    if action.flags & SA_RESETHAND:
        actions[signo] = replace(action, handler=SIG_DFL)


def apply_frame_patch(thread: Thread) -> None:
    """The kernel has built the frame: the thread stands at its handler's first instruction."""
    patch, thread.frame_patch = thread.frame_patch, None
    assert patch is not None
    space, ucontext = thread.space, thread.regs.rsp + FRAME_UC
    with contextlib.suppress(OSError):  # another thread has unmapped the frame already, as the handler will find
        if patch.trap is not None:
            trapno, code, cr2 = patch.trap
            space.poke(ucontext + MC_ERR, struct.pack("<QQ", code, trapno))
            space.poke(ucontext + MC_CR2, struct.pack("<Q", cr2))
        if patch.blocked:
            saved = int.from_bytes(space.peek(ucontext + UC_SIGMASK, 8), "little")
            space.poke(ucontext + UC_SIGMASK, (saved | patch.blocked).to_bytes(8, "little"))


def pending(thread: Thread) -> bool:
    """A signal waits to be delivered to the stopped thread (the kernel's signal_pending()); also if it is dying."""
    try:
        status = proc.status(thread.tid)
    except OSError:
        return True
    own, shared, blocked = (int(status[name], 16) for name in ("SigPnd", "ShdPnd", "SigBlk"))
    return bool((own | shared) & ~blocked)


def sigreturn(thread: Thread) -> None:
    """The thread is about to make rt_sigreturn: take the hidden part of the mask that it restores."""
    at = thread.regs.rsp + UC_SIGMASK
    frame = thread.space.peek(at, 8)
    if len(frame) == 8:  # else the call itself will kill the thread
        mask = int.from_bytes(frame, "little")
        if mask & SYNCHRONOUS:
            thread.space.poke(at, (mask & ~SYNCHRONOUS).to_bytes(8, "little"))
        _hide(thread, mask)
    thread.resume()


SENT_TO_PROCESS = (0, -1, 0x80)
"""SI_USER, SI_QUEUE and SI_KERNEL, of the terminal; not SI_TKILL, which means one thread."""


def note_sent(thread: Thread, stop: Stop) -> None:
    """The thread stops for a signal.  Without a tracer it would handle one that was sent to its process at once."""
    signo = stop.signo
    if stop.kind is not Kind.SIGNAL or signo in SYNCHRONOUS_SIGNALS or len(thread.process.threads) < 2:
        return
    info = ptrace.SigInfo()
    with contextlib.suppress(ProcessLookupError):  # killed since
        info.get(thread.tid)
        if info.code in SENT_TO_PROCESS:
            thread.undelivered = signo


def pass_to_process(thread: Thread) -> None:
    """The thread is ended by the exec of another: what was sent to the process must not be lost with it."""
    signo, thread.undelivered = thread.undelivered, 0
    if signo:
        with contextlib.suppress(ProcessLookupError):  # the process is gone as well
            os.kill(thread.process.tgid, signo)


def send(thread: Thread, signo: int) -> None:
    """tgkill: queue the signal for this thread."""
    import ctypes

    if ctypes.CDLL(None).syscall(234, thread.process.tgid, thread.tid, signo):
        raise ProcessLookupError


def send_put_off(thread: Thread) -> None:
    """What came while the thread ran for the supervisor's own purposes."""
    while thread.put_off:
        with contextlib.suppress(ProcessLookupError):
            send(thread, thread.put_off.pop(0))


def set_mask(thread: Thread, mask: int) -> None:
    """The program wants `mask` blocked: block it but for the synchronous signals, which are remembered."""
    ptrace.set_signal_mask(thread.tid, mask & ~SYNCHRONOUS)
    _hide(thread, mask)


def _hide(thread: Thread, mask: int) -> None:
    """Of `mask`, remember the synchronous signals; send those that were held and no longer are."""
    thread.hidden_mask = mask & SYNCHRONOUS
    still = []
    for signo in thread.held:
        if mask & bit(signo):
            still.append(signo)
        else:
            send(thread, signo)  # now, while it is stopped: it shall not execute an instruction before
    thread.held = still


def mask_of(thread: Thread) -> int:
    """The mask that the program believes to have."""
    return ptrace.signal_mask(thread.tid) | thread.hidden_mask


def watch(thread: Thread) -> None:
    """Take over the mask of a thread whose process has just begun to use SGX."""
    set_mask(thread, ptrace.signal_mask(thread.tid) | thread.hidden_mask)


def inherit_mask(thread: Thread) -> None:
    """First stop of a new thread: its kernel mask came from its parent, its hidden one with its Thread."""
    if thread.process.watches_maps:
        watch(thread)


def watch_handlers(thread: Thread) -> None:
    """Take over the handlers that the process already has."""
    caught = int(proc.status(thread.tid)["SigCgt"], 16)
    for signo in range(1, 65):
        if caught & bit(signo) and inject(thread, NR["rt_sigaction"], signo, 0, SCRATCH, 8) == 0:
            set_action(thread, signo, thread.space.peek(SCRATCH, SIGACTION.size))


SIGACTION = struct.Struct("<QQQQ")
"""struct kernel_sigaction: handler, flags, restorer, mask."""
SA_NODEFER, SA_RESETHAND = 0x4000_0000, 0x8000_0000


def set_action(thread: Thread, signo: int, wanted: bytes) -> int:
    """rt_sigaction with what the program wants, less what must not be blocked; the call's result.

    The kernel's former action is left at SCRATCH + 64.
    """
    handler, flags, restorer, mask = SIGACTION.unpack(wanted)
    real_flags = flags | SA_NODEFER if signo in SYNCHRONOUS_SIGNALS else flags
    thread.space.poke(SCRATCH, SIGACTION.pack(handler, real_flags, restorer, mask & ~SYNCHRONOUS))
    result = inject(thread, NR["rt_sigaction"], signo, SCRATCH, SCRATCH + 64, 8)
    if result == 0:
        thread.process.handlers.actions[signo] = SignalAction(handler, flags, mask)
    return result


def former_action(shown: SignalAction | None, kernels: bytes) -> bytes:
    """The action that rt_sigaction tells the program of: what it set itself, if it ever did."""
    if shown is None:
        return kernels
    _, _, restorer, _ = SIGACTION.unpack(kernels)
    return SIGACTION.pack(shown.handler, shown.flags, restorer, shown.mask)
