"""What threads in a narrowed enclave (`narrowed`) stop for: instructions that depend on XCR0, and pages held back.

Nothing of it is seen in the enclave: hardware would have gone on, so there is no AEX.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from enclu.base.abi import PROT_EXEC, PROT_READ, PROT_WRITE
from enclu.native import ptrace
from enclu.native.address_space import VDSO_BASE
from enclu.native.debug_registers import TRAP_HWBKPT
from enclu.native.exceptions import undo_syscall
from enclu.native.inject import EVERY_SIGNAL
from enclu.native.native_fault import error_code, exception_of
from enclu.native.path_calls import SLOTS
from enclu.native.process import SYNCHRONOUS
from enclu.native.single_step import AT_SYSCALL, single_step
from enclu.sgx import xcr0
from enclu.sgx.exceptions import Fault, PageFault, Vector
from enclu.sgx.processor import RFLAGS_RF, RFLAGS_TF, Access
from enclu.sgx.xcr0 import Instruction, Kind
from enclu.sgx.xsave import HEADER, HEADER_SIZE

if TYPE_CHECKING:
    from enclu.native.narrowed import NarrowedEnclave
    from enclu.native.thread import Thread


class Step(enum.Enum):
    """How a thread goes on after a stop that its enclave knows nothing of."""

    GOES_ON = enum.auto()
    PAST_BREAKPOINT = enum.auto()
    """The instruction at RIP is executed although it is watched."""
    ALONE = enum.auto()
    """One instruction is to be executed while nobody else is in the enclave: an ENCLU, or by `alone`."""


class Effect(enum.Enum):
    """What an instruction would do with the host's XCR0, beside what it does with XFRM."""

    SAME = enum.auto()
    OTHER = enum.auto()
    REFUSED = enum.auto()
    """With XFRM it is #GP: XRSTOR of components that XFRM does not have."""
    PAGE_FAULT = enum.auto()
    """With either: XRSTOR of an image that cannot be read."""


Outcome = tuple[Fault, ptrace.SigInfo | None] | Step
"""Or the exception that is left to be handled, with its siginfo if the host processor raised it."""
COPY = VDSO_BASE + SLOTS - 64
"""Where an XSAVE is executed with RCX for its operand's address: in the vDSO's area, behind the image."""
_LOW = (1 << 32) - 1


def handle(narrowed: NarrowedEnclave, thread: Thread, fault: Fault, info: ptrace.SigInfo) -> Outcome:
    """Make of a stop what there is to make of it."""
    if fault.vector == Vector.DB and info.code == TRAP_HWBKPT:
        outcome = _at_breakpoint(narrowed, thread)
        if isinstance(outcome, Step) or outcome[1] is None or outcome[0].vector != Vector.PF:
            return outcome
        fault, info = outcome[0], outcome[1]  # the page may have been taken away since the thread stopped
    if fault.vector != Vector.PF:
        return fault, info
    kernel, rip, address = thread.space.kernel, thread.regs.rip, fault.address
    index = address >> 12
    allowed, shown = kernel.allowed(address), kernel.shown(address)
    fetched = address == rip or (0 < address - rip < xcr0.LONGEST and not address & 0xFFF)
    if fetched and shown & PROT_EXEC and narrowed.raced(thread.tid, rip, address):
        return Step.GOES_ON
    if not allowed & ~shown or (not shown and kernel.wanted(address)):
        return fault, info  # not allowed, or not there yet
    if allowed & ~shown & PROT_EXEC and fetched:
        if narrowed.to_be_executed(index):
            narrowed.execute(index)
        if not narrowed.watch(thread, index, rip):
            return Step.ALONE
    elif allowed & ~shown & PROT_WRITE and narrowed.executed(index):
        if rip >> 12 <= index <= rip + xcr0.LONGEST - 1 >> 12:
            return Step.ALONE  # it writes to where it is
        narrowed.write(index)
    else:
        return fault, info
    return Step.GOES_ON


def _at_breakpoint(narrowed: NarrowedEnclave, thread: Thread) -> Outcome:
    """The processor is about to execute an instruction that is watched, or that had to be taken for one."""
    instruction = xcr0.decode(thread.space.peek(thread.regs.rip, xcr0.LONGEST))
    if instruction is None:
        narrowed.look_again(thread.regs.rip >> 12)
        return Step.PAST_BREAKPOINT
    effect = _effect(thread, narrowed.xfrm, instruction)
    if effect is Effect.SAME and not thread.regs.rflags & RFLAGS_TF:
        return Step.PAST_BREAKPOINT
    outcome = _execute(thread, narrowed.xfrm, instruction, effect)
    if outcome is Step.GOES_ON:
        thread.store()
    return outcome


def _effect(thread: Thread, xfrm: int, instruction: Instruction) -> Effect:
    """What the instruction at RIP is about to do."""
    regs = thread.regs
    if instruction.kind is Kind.SAVES:
        return Effect.OTHER if _mask(thread) & thread.xcr0 & ~xfrm else Effect.SAME
    if instruction.kind is not Kind.RESTORES:
        return Effect.SAME if regs.rcx & _LOW > 1 else Effect.OTHER
    address = instruction.address(regs)
    if not _readable(thread, address):
        return Effect.PAGE_FAULT
    if not xcr0.restorable(thread.space.peek(address, HEADER + HEADER_SIZE), xfrm):
        return Effect.REFUSED
    return Effect.SAME if _within_reach(thread, xfrm, address) else Effect.OTHER


def _readable(thread: Thread, address: int) -> bool:
    """The header of an image can be read there.  The memory of a page that is evicted has not what the page has."""
    kernel = thread.space.kernel
    for at in dict.fromkeys((address, address + HEADER + HEADER_SIZE - 1)):
        try:
            enclaves = kernel.translate(at, Access.READ) is not None
        except PageFault:
            return False
        if enclaves and not kernel.allowed(at) & PROT_READ:
            return False
    return True


def _within_reach(thread: Thread, xfrm: int, address: int) -> bool:
    """All pages that the host's XRSTOR of an image at the address may touch are an enclave's, which lets them be read.

    Those beyond what XFRM has, that is; of others nothing is known here.  A processor may touch the places of all
    components that EDX:EAX and XCR0 name, whatever XSTATE_BV says, and there need be nothing behind those of XFRM.
    """
    layout, kernel = thread.machine.layout, thread.space.kernel
    narrow, wide = (address + layout.size_of(_mask(thread) & components) - 1 for components in (xfrm, thread.xcr0))
    beyond = range((narrow >> 12) + 1, (wide >> 12) + 1)
    return all(kernel.allowed(page << 12) & PROT_READ for page in beyond)


def _mask(thread: Thread) -> int:
    """EDX:EAX."""
    return (thread.regs.rdx & _LOW) << 32 | thread.regs.rax & _LOW


def _set_mask(thread: Thread, mask: int) -> None:
    thread.regs.rax = thread.regs.rax & ~_LOW | mask & _LOW
    thread.regs.rdx = thread.regs.rdx & ~_LOW | mask >> 32


def _execute(thread: Thread, xfrm: int, instruction: Instruction, effect: Effect) -> Outcome:
    """Execute the instruction at RIP with XCR0 = XFRM; its exception, if it raises one."""
    regs = thread.regs
    if effect is Effect.REFUSED:
        return Fault(Vector.GP, why="XRSTOR of components that XFRM does not have"), None
    if effect is not Effect.OTHER:
        info = _step(thread)
    elif instruction.kind in (Kind.SAVES, Kind.RESTORES):
        info = _narrowly(thread, xfrm, instruction)
    elif regs.rcx & _LOW:
        info = _step(thread)
        if info is None:  # XINUSE
            _set_mask(thread, _mask(thread) & xfrm)
    else:
        info = None
        regs.rax, regs.rdx = xfrm & _LOW, xfrm >> 32
        regs.rip += instruction.size
        regs.rflags &= ~RFLAGS_RF
    return _left(thread, info)


def _left(thread: Thread, info: ptrace.SigInfo | None) -> Outcome:
    """What is to be handled after one instruction with this outcome."""
    if info is not None:
        fault = exception_of(thread, info.signo, info)
        assert fault is not None
        return fault, info
    return (Fault(Vector.DB), None) if thread.regs.rflags & RFLAGS_TF else Step.GOES_ON


def _narrowly(thread: Thread, xfrm: int, instruction: Instruction) -> ptrace.SigInfo | None:
    """XSAVE, XRSTOR or a relative of theirs, with EDX:EAX & XFRM."""
    regs = thread.regs
    rax, rcx, rdx, rip = regs.rax, regs.rcx, regs.rdx, regs.rip
    copied = any(name in ("rax", "rdx") for name, _ in instruction.registers)
    if copied:
        regs.rcx = instruction.address(regs)
        regs.rip = _copy(thread, instruction)
    _set_mask(thread, _mask(thread) & xfrm)
    thread.store()
    info = _step(thread)
    regs.rax, regs.rcx, regs.rdx = rax, rcx, rdx
    if copied:
        regs.rip = rip if info else rip + instruction.size
    thread.store()
    return info


def _copy(thread: Thread, instruction: Instruction) -> int:
    """Address of the same instruction with RCX for its operand's address: EAX and EDX are to have a mask.

    No other thread executes it: one steps at a time.
    """
    thread.space.poke(COPY, instruction.at_rcx)
    return COPY


def _step(thread: Thread) -> ptrace.SigInfo | None:
    mask = ptrace.signal_mask(thread.tid)
    ptrace.set_signal_mask(thread.tid, EVERY_SIGNAL & ~SYNCHRONOUS | mask)
    try:
        return single_step(thread)
    finally:
        ptrace.set_signal_mask(thread.tid, mask)


def alone(narrowed: NarrowedEnclave, thread: Thread) -> Outcome:
    """Execute one instruction of a page that cannot be watched as a whole, while nobody else is in the enclave."""
    rip = thread.regs.rip
    instruction = xcr0.decode(thread.space.peek(rip, xcr0.LONGEST))
    outcome: Outcome
    with narrowed.alone(thread, range(rip >> 12, (rip + xcr0.LONGEST - 1 >> 12) + 1)):
        if instruction is not None:
            effect = _effect(thread, narrowed.xfrm, instruction)
            outcome = _execute(thread, narrowed.xfrm, instruction, effect)
        else:
            info = _step(thread)
            if info is not None and info.code == AT_SYSCALL:
                outcome = undo_syscall(thread), None
            else:
                outcome = _left(thread, info)
        if not isinstance(outcome, Step) and outcome[1] is not None and outcome[0].vector == Vector.PF:
            # Now, for showing pages destroys what the kernel remembers of the fault.
            fault = outcome[0]
            fault.error_code = thread.space.kernel.hardware_code(fault.address, error_code(thread))
            fault.exact = True
            outcome = fault, None
        thread.store()
    return outcome
