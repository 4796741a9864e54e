"""Signals of a traced thread: masks, delivery, and the frames that handlers see.

The kernel kills a thread that faults while the signal of the fault is blocked.  ENCLU is such a fault here, so
synchronous signals must never really be blocked: the program gets the mask it set, the kernel another.
"""

from __future__ import annotations

import signal
import struct
from typing import TYPE_CHECKING

from enclu.native import ptrace
from enclu.native.address_space import SCRATCH
from enclu.native.inject import SYNCHRONOUS, inject
from enclu.native.native_fault import patch_frame
from enclu.native.syscalls import NR

if TYPE_CHECKING:
    from enclu.native.thread import Thread

SYNCHRONOUS_SIGNALS = frozenset((signal.SIGILL, signal.SIGTRAP, signal.SIGBUS, signal.SIGFPE, signal.SIGSEGV))
SIG_DFL = 0


def bit(signo: int) -> int:
    return 1 << (signo - 1)


def _has_handler(thread: Thread, signo: int) -> bool:
    with open(f"/proc/{thread.tid}/status", "rb") as status:
        for line in status:
            if line.startswith(b"SigCgt:"):
                return bool(int(line.split()[1], 16) & bit(signo))
    return False


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
    if thread.hidden_mask & bit(signo) or not _has_handler(thread, signo):
        _force_default(thread, signo)
        info.set(thread.tid)
        thread.resume(signo)
        return
    info.set(thread.tid)
    thread.frame_patch = frame
    thread.resume(signo)


def deliver_native(thread: Thread, signo: int) -> None:
    """Let an exception that is not SGX's business become the signal that the host kernel made of it."""
    if thread.hidden_mask & bit(signo):
        info = ptrace.SigInfo()
        info.get(thread.tid)
        _force_default(thread, signo)
        info.set(thread.tid)
    thread.resume(signo)


def deliver_sent(thread: Thread, signo: int) -> None:
    """Deliver a signal that somebody sent, or hold it back while the program has it blocked."""
    if thread.hidden_mask & bit(signo):
        thread.held.append(signo)
        thread.resume()
        return
    thread.resume(signo)


def apply_frame_patch(thread: Thread) -> None:
    """The kernel has built the frame: the thread stands at its handler's first instruction."""
    assert thread.frame_patch is not None
    trapno, code, cr2 = thread.frame_patch
    thread.frame_patch = None
    patch_frame(thread, trapno, code, cr2)


def send(thread: Thread, signo: int) -> None:
    """tgkill: queue the signal for this thread."""
    import ctypes

    if ctypes.CDLL(None).syscall(234, thread.process.tgid, thread.tid, signo):
        raise ProcessLookupError


def set_mask(thread: Thread, mask: int) -> None:
    """The program wants `mask` blocked: block it but for the synchronous signals, which are remembered."""
    thread.hidden_mask = mask & SYNCHRONOUS
    ptrace.set_signal_mask(thread.tid, mask & ~SYNCHRONOUS)
    still = []
    for signo in thread.held:
        if mask & bit(signo):
            still.append(signo)
        else:
            thread.pending.append(signo << 8)
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
    """Free the synchronous signals from the sa_masks of the handlers that the process already has."""
    with open(f"/proc/{thread.tid}/status", "rb") as status:
        caught = next(int(line.split()[1], 16) for line in status if line.startswith(b"SigCgt:"))
    for signo in range(1, 65):
        if caught & bit(signo) and inject(thread, NR["rt_sigaction"], signo, 0, SCRATCH, 8) == 0:
            handler, flags, restorer, mask = struct.unpack("<QQQQ", thread.space.peek(SCRATCH, 32))
            wanted = kernel_action(thread, signo, flags, mask)
            if wanted != (flags, mask):
                thread.space.poke(SCRATCH, struct.pack("<QQQQ", handler, wanted[0], restorer, wanted[1]))
                inject(thread, NR["rt_sigaction"], signo, SCRATCH, 0, 8)


SA_NODEFER = 0x4000_0000


def kernel_action(thread: Thread, signo: int, flags: int, mask: int) -> tuple[int, int]:
    """sa_flags and sa_mask to give the kernel for what the program wants; remembers what it wanted."""
    real_flags = flags | SA_NODEFER if signo in SYNCHRONOUS_SIGNALS else flags
    real_mask = mask & ~SYNCHRONOUS
    hidden = thread.process.handlers.hidden
    hidden.pop(signo, None)
    if (real_flags, real_mask) != (flags, mask):
        hidden[signo] = (mask, flags)
    return real_flags, real_mask
