"""Telling the exception from the signal by which the host kernel reported it.

The host kernel turned a hardware exception into a siginfo; this turns it back, as far as a siginfo says, and
gets the rest, the error code of a page fault, from a signal frame that the kernel builds on scratch memory.
"""

from __future__ import annotations

import signal
import struct
from typing import TYPE_CHECKING

from enclu.base.abi import BUS_ADRALN, FPE_INTDIV, NR, SA_NODEFER, SA_RESTORER, SA_SIGINFO, SI_KERNEL
from enclu.native import ptrace, rseq, scratch, signal_stack
from enclu.native.address_space import SCRATCH, SCRATCH_SIZE, VDSO_BASE
from enclu.native.inject import (
    BUT_FRAME_SIGNAL,
    EVERY_SIGNAL,
    FRAME_SIGNAL,
    MachineGone,
    by_stops,
    inject,
    to_signal_stop,
)
from enclu.native.process import SIGACTION, SYNCHRONOUS_SIGNALS, FrameHandler, SignalAction
from enclu.native.resume import SINGLESTEP, until
from enclu.native.signal_stack import STACK_AT, STACK_SIZE
from enclu.native.stop import Kind
from enclu.native.thread import XSTATE_BV
from enclu.sgx.epc import PAGE_SIZE
from enclu.sgx.exceptions import Fault, Vector
from enclu.sgx.structs import ENCLU

if TYPE_CHECKING:
    from enclu.native.thread import Thread

_X87 = bytes.fromhex("9b d8 d9 da db dc dd de df")
"""First opcode bytes of x87 instructions."""
_PREFIXES = bytes([0x26, 0x2E, 0x36, 0x3E, *range(0x40, 0x50), 0x64, 0x65, 0x66, 0x67])
X87_ES = 1 << 7
"""Exception summary bit of the x87 status word."""
RFLAGS_INITIAL = 0x202
"""IF, and the bit that is always 1."""
FRAME_UC = 8
"""Offset of struct ucontext in struct rt_sigframe."""
UC_MCONTEXT = 40
MC_ERR = UC_MCONTEXT + 19 * 8
MC_TRAPNO = MC_ERR + 8
MC_CR2 = MC_ERR + 24
_TRAP_RECORD = struct.Struct("<QQQQ")
"""err, trapno, oldmask and cr2 of struct sigcontext."""
UC_SIGMASK = UC_MCONTEXT + 256


def raised(info: ptrace.SigInfo) -> bool:
    """An instruction has raised the signal; timers' and others', too, have codes of the kernel's."""
    return info.signo in SYNCHRONOUS_SIGNALS and info.code > 0


def raised_by_enclu(regs: ptrace.UserRegs, info: ptrace.SigInfo) -> bool:
    """Whether the host processor raised this at executing the ENCLU at RIP, rather than at fetching it.

    Without SGX that is #UD.  With SGX that is not in use, or that a hypervisor keeps to itself, the leaf begins: it is
    #GP, or for EENTER and ERESUME of what is no EPC page to the host, #PF at an address in the page that RBX names.
    """
    code = info.code
    if code <= 0:
        return False
    if info.signo == signal.SIGILL or code == SI_KERNEL:
        return True
    address = info.address
    return (address ^ regs.rbx) < PAGE_SIZE and not 0 <= address - regs.rip < len(ENCLU)


def exception_of(thread: Thread, signo: int, info: ptrace.SigInfo) -> Fault | None:
    """The exception behind a synchronous signal of the stopped thread, None if somebody just sent the signal.

    A page fault's error code is not in the siginfo, so the fault is not `exact`: see `error_code`.
    """
    code = info.code
    if code <= 0:
        return None
    if signo == signal.SIGSEGV:
        return Fault(Vector.GP) if code == SI_KERNEL else _page_fault(thread, info)
    if signo == signal.SIGILL:
        return Fault(Vector.UD) if code != SI_KERNEL else None
    if signo == signal.SIGFPE:
        if code == FPE_INTDIV:
            return Fault(Vector.DE)
        return Fault(Vector.MF if _is_x87(thread) else Vector.XM)
    if signo == signal.SIGBUS:
        if code == SI_KERNEL:
            return Fault(Vector.SS)
        return Fault(Vector.AC) if code == BUS_ADRALN else _page_fault(thread, info)
    if signo == signal.SIGTRAP:
        return Fault(Vector.BP) if code == SI_KERNEL else Fault(Vector.DB)
    return None


def _page_fault(thread: Thread, info: ptrace.SigInfo) -> Fault | None:
    """None: the thread has sent itself what looks like one (rt_tgsigqueueinfo(2)), and is at the end of a call."""
    if thread.regs.orig_rax != ptrace.NO_SYSCALL:
        return None
    fault = Fault(Vector.PF, 0, info.address)
    fault.exact = False
    return fault


def _is_x87(thread: Thread) -> bool:
    """The floating-point exception is #MF: at an x87 instruction, or a pending one of x87 at another (MMX, WAIT).

    Both status words may tell of an exception: MXCSR's flags are sticky, and those of an AEX synthetic.
    """
    code = thread.space.peek(thread.regs.rip, 15).lstrip(_PREFIXES)
    if code and code[0] in _X87:
        return True
    image = thread.xsave()
    mxcsr = int.from_bytes(image[24:26], "little")
    return bool(image[2] & X87_ES) and not mxcsr & 0x3F & ~(mxcsr >> 7)


def error_code(thread: Thread) -> int:
    """The exact error code of the page fault that stopped the thread.  Must come before any injected call.

    The thread may be `deaf` afterwards: most faults become no signal.
    """
    return _record(thread)[1] & 0xFFFF


def trap_record(thread: Thread) -> tuple[int, int, int]:
    """Trap number, error code and CR2 of the exception that stopped the thread.  A signal can be delivered then."""
    record = _record(thread)
    hear(thread)
    return record


def hear(thread: Thread) -> None:
    """Bring a thread that is `deaf` to a stop that a signal can be delivered from."""
    if thread.deaf:
        inject(thread, NR["getpid"])


def _record(thread: Thread) -> tuple[int, int, int]:
    """What the host kernel remembers of the thread's exception: trap number, error code and CR2.

    The kernel keeps them in the thread and writes them only into a signal frame; so it builds one, on scratch memory,
    for a handler that never runs (`_make_ready`).  Must come before any other injected call: those trap too.
    What an enclave has in its registers is not for the frame.  Raises MachineGone where there can be no frame.
    """
    if thread.record is not None:
        return thread.record
    space, tid, regs, handlers = thread.space, thread.tid, thread.regs, thread.process.handlers
    rseq.abort(thread)
    saved = bytes(regs)
    mask = ptrace.signal_mask(tid)
    xstate = thread.xsave()
    if thread.mode.enclave:
        regs.clear()
        regs.rflags = RFLAGS_INITIAL
        initial = bytearray(xstate)
        initial[XSTATE_BV] = bytes(8)
        thread.xrstor(initial)
    ready = handlers.frame_handler is FrameHandler.READY
    former = None if ready else _make_ready(thread)
    if mask & ~BUT_FRAME_SIGNAL:
        ptrace.set_signal_mask(tid, mask & BUT_FRAME_SIGNAL)
    regs.rip = space.syscall_stub
    regs.rsp, regs.orig_rax = SCRATCH + SCRATCH_SIZE // 2, ptrace.NO_SYSCALL
    thread.store()
    stop = until(thread, SINGLESTEP, lambda stop: stop.kind is Kind.SIGNAL, FRAME_SIGNAL)
    thread.fetch()
    frame = regs.rsp
    if not SCRATCH <= frame < SCRATCH + SCRATCH_SIZE // 2:
        raise MachineGone(thread, f"no signal frame can be built: {signal.Signals(stop.signo).name}, RSP {frame:#x}")
    error, trapno, _, cr2 = _TRAP_RECORD.unpack(space.peek(frame + FRAME_UC + MC_ERR, _TRAP_RECORD.size))
    space.poke(frame + FRAME_UC + MC_ERR, bytes(_TRAP_RECORD.size))
    signal_stack.note(thread, space.peek(frame + STACK_AT, STACK_SIZE))
    regs.load(saved)
    thread.store()
    ptrace.set_signal_mask(tid, mask)
    thread.deaf = True
    thread.displaced = xstate  # by the frame: fpu__clear_user_states()
    if former is not None:
        inject(thread, NR["rt_sigaction"], FRAME_SIGNAL, former, 0, 8)
    thread.record = trapno, error, cr2
    signal_stack.rearm(thread)
    return thread.record


def _own_action(thread: Thread) -> bytes:
    image, stub = thread.space.image, thread.space.syscall_stub
    handler = VDSO_BASE + image.symbols["enclu_aex"]
    return SignalAction(handler, SA_SIGINFO | SA_RESTORER | SA_NODEFER, stub, 0).pack()


def have_frame_handler(thread: Thread) -> None:
    """Give FRAME_SIGNAL its handler, if the program has none: exceptions that follow are threads' own (`own_aex`)."""
    handlers = thread.process.handlers
    if handlers.frame_handler is FrameHandler.READY or not handlers.own_aex or FRAME_SIGNAL in handlers.actions:
        return
    handlers.frame_handler = FrameHandler.PERHAPS
    if inject(thread, NR["rt_sigaction"], FRAME_SIGNAL, _own_action(thread), 0, 8) == 0:
        handlers.frame_handler = FrameHandler.READY
    else:
        handlers.own_aex = False  # a seccomp filter of the program's


def _make_ready(thread: Thread) -> bytes | None:
    """Give FRAME_SIGNAL its handler, without an exception; the thread is at a stop for FRAME_SIGNAL afterwards.

    The program's action, if it has set one, is to be given back; None if it has not: then the handler stays.
    """
    space, regs, handlers = thread.space, thread.regs, thread.process.handlers
    stub = space.syscall_stub
    arguments = (FRAME_SIGNAL, _own_action(thread), bytearray(SIGACTION.size), 8)
    ptrace.set_signal_mask(thread.tid, EVERY_SIGNAL)
    # By system call stops, not the stub's INT3: an exception would overwrite what is to be read.
    regs.rip, regs.rax, regs.orig_rax = stub, NR["rt_sigaction"], ptrace.NO_SYSCALL
    regs.rdi, regs.rsi, regs.rdx, regs.r10 = scratch.put(space, arguments)
    thread.store()
    handlers.frame_handler = FrameHandler.PERHAPS  # whatever becomes of this thread meanwhile
    by_stops(thread)
    scratch.fill(space, arguments)
    to_signal_stop(thread)
    if FRAME_SIGNAL in handlers.actions:
        return bytes(arguments[2])
    handlers.frame_handler = FrameHandler.READY
    return None
