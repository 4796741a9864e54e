"""An AEX in the program's own process, and the fixup that follows: for threads whose transitions take place there.

The supervisor has looked at the exception when the thread stopped for it, and says in the slot what is to come of it,
by the kind of access where that is not known yet.  FRAME_SIGNAL is delivered in the exception's place, on a stack in
the slot: `enclu_aex` of linux/vdso/in_process.h, its handler, finds in the signal frame all that the enclave had, and
the error code, fills the SSA frame and goes on at the fixup.  So there is one stop, and little to do at it.

A page that was missing the supervisor supplies meanwhile.  The thread makes it accessible itself, when it has left the
enclave and before it is at its AEP: nobody sees it there, and until then others must not rely on it (`MM.left`).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from enclu.native import ptrace, signal_stack
from enclu.native.address_space import VDSO_BASE
from enclu.native.inject import FRAME_SIGNAL, MachineGone
from enclu.native.native_fault import FRAME_UC, MC_CR2, MC_ERR, UC_MCONTEXT
from enclu.native.resume import as_signal
from enclu.native.shared_area import BIAS
from enclu.native.signal_stack import STACK_AT, STACK_SIZE
from enclu.native.stop import Settled
from enclu.sgx.aex import aex
from enclu.sgx.enclave_mode import CODE_OF_FRAME, CODE_SHIFTS, CODE_UNKNOWN, SLOT_SIZE, WORD
from enclu.sgx.exceptions import Fault, Vector
from enclu.sgx.leave import shut_down
from enclu.sgx.processor import access_of
from enclu.sgx.structs import TCS, EncluLeaf

if TYPE_CHECKING:
    from enclu.native.thread import Thread

CODE_MASK = 0xFFFF & ~(CODE_UNKNOWN | CODE_OF_FRAME)
LOOK_AGAIN = (1 << 64) - 1
"""CODES of a thread whose next exception is not for itself to handle."""
_FRAME_REGISTERS = (
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rdi", "rsi", "rbp", "rbx", "rdx", "rax", "rcx", "rsp", "rip",
    "rflags",
)  # fmt: skip
_OTHERS = {"rdi", "rsi", "rdx", "rax", "rcx", "rip", "rflags"}
"""Those that are not what they were when the handler looks at them, RSP aside, which is in the slot."""
_REGISTERS_AT = FRAME_UC + UC_MCONTEXT
FRAME = {
    "SS_FLAGS": STACK_AT + 8, "ERR": FRAME_UC + MC_ERR, "FPSTATE": FRAME_UC + MC_CR2 + 8,
    **{name.upper(): _REGISTERS_AT + 8 * at for at, name in enumerate(_FRAME_REGISTERS) if name in _OTHERS},
}  # fmt: skip
"""Offsets in struct rt_sigframe (arch/x86/include/asm/sigframe.h)."""
_REGISTERS = struct.Struct(f"<{len(_FRAME_REGISTERS)}Q")
VECTORS = range(1, 32)
"""Those of exceptions that get here: no #DE."""
XFEATURES, _XSTATE_SIZE = 472, 480
"""xfeatures and xstate_size of struct _fpx_sw_bytes, from the beginning of the XSAVE image."""
_POKEUSER = ptrace.Word(ptrace.POKEUSER)
_RSP = ptrace.Word(8 * [name for name, *_ in ptrace.UserRegs._fields_].index("rsp"))
_FIXUP, _VECTOR, _ADDRESS, _CODES, _EXITINFO, _XFRM, _FAULT_RSP, _NEXT, _CSSA = (
    WORD[name] for name in ("FIXUP", "VECTOR", "ADDRESS", "CODES", "EXITINFO", "XFRM", "FAULT_RSP", "NEXT", "CSSA")
)


def begin(
    thread: Thread, fixup: int, vector: int, address: int, codes: int, exitinfo: int, region: int, xfrm: int, cssa: int
) -> None:
    """Resume the thread, stopped for an exception of its enclave, with its AEX, after which it goes on at `fixup`.

    `vector` is what a fixup is told, or at `onward` what `shows` has made; `codes` are as `CODE_SHIFTS` says, 0 where
    there is none; the upper half of `exitinfo` is 1 if EXINFO is to be written.  `region` is the address of the SSA
    frame, `cssa` what CSSA will be.  Raises ProcessLookupError.
    """
    words = thread.mode.words
    words[_VECTOR], words[_ADDRESS], words[_CODES], words[_EXITINFO] = vector, address, codes, exitinfo
    words[_NEXT], words[_XFRM], words[_CSSA], words[_FAULT_RSP] = region, xfrm, cssa, thread.regs.rsp
    words[_FIXUP] = fixup
    stack = ptrace.Word(thread.mode.owner - BIAS + SLOT_SIZE)
    if ptrace.raw(_POKEUSER, thread.word, _RSP, stack):
        words[_FIXUP] = 0
        raise ProcessLookupError
    as_signal(thread, FRAME_SIGNAL)


def error_code(thread: Thread) -> int:
    """Of the last exception of which the thread has made the AEX itself."""
    return thread.mode.words[_CODES] & CODE_MASK


def under_way(thread: Thread) -> bool:
    """It has been resumed so, and has neither stopped nor left its enclave since."""
    return thread.mode.words[_FIXUP] != 0


def settle(thread: Thread, *, over: bool) -> Settled:
    """Take a stopped thread out of `enclu_aex`, where that executes an AEX: nobody sees it there."""
    words = thread.mode.words
    if over:
        _registers_behind(thread)
        if _supplied(words):
            take_out(thread)
        return Settled.ON
    if not words[_FIXUP]:
        return Settled.NOTHING  # a frame that was built for its trap record
    fixup, words[_FIXUP] = words[_FIXUP], 0
    error = _leave_frame(thread)
    code = words[_CODES] >> CODE_SHIFTS[access_of(error)] & 0xFFFF
    if code & CODE_UNKNOWN:
        words[_CODES] = LOOK_AGAIN
        return Settled.ON
    supplied = _supplied(words)
    if code & CODE_OF_FRAME:
        code = (code | error) & CODE_MASK
    words[_CODES] = code
    fault = Fault(Vector.PF if supplied else words[_VECTOR], code, words[_ADDRESS])
    aex(thread, fault)
    if supplied:
        thread.taken_out += 1
        return Settled.ON
    regs = thread.regs
    regs.rip, regs.rdi, regs.rsi, regs.rdx = fixup, fault.vector, code, fault.address
    return Settled.ON


def onward(thread: Thread, *, show: bool, by_jump: bool) -> int:
    """What to give `begin` as the fixup for a thread that is to go on at its AEP, and may show pages before that.

    `by_jump`: the AEP is the vDSO's ENCLU, in front of which the jump is, or nothing.
    """
    name = ("enclu_show" if show else "enclu_onward") + ("_by_jump" if by_jump else "")
    return VDSO_BASE + thread.space.image.symbols[name]


def shows(size: int, prot: int) -> int:
    """What to give `begin` as the vector where so many bytes, from the page at the fault's address on, are shown.

    0 bytes: none are.
    """
    return size | prot


def _supplied(words: memoryview) -> bool:
    """The AEX is for a page that was missing: no fixup comes after it."""
    return words[_VECTOR] not in VECTORS


def take_out(thread: Thread) -> None:
    """A thread that is where it shows pages is to be seen at its AEP, as the AEX has left it."""
    regs, words = thread.regs, thread.mode.words
    regs.rax, regs.rip = EncluLeaf.ERESUME, words[WORD["AEP"]]
    regs.rcx = regs.rip
    regs.rdi = regs.rsi = regs.rdx = regs.r8 = regs.r11 = 0
    regs.orig_rax = ptrace.NO_SYSCALL
    thread.taken_out += 1


def without_frame(thread: Thread) -> None:
    """The thread, in its enclave, has stopped where it was: the kernel could not build the frame."""
    words = thread.mode.words
    words[_FIXUP], words[_CODES] = 0, LOOK_AGAIN
    thread.regs.rsp = words[_FAULT_RSP]
    thread.taken_out += 1


def _leave_frame(thread: Thread) -> int:
    """Give the thread what it had at its exception, which is in the frame; the error code that is there."""
    regs, words = thread.regs, thread.mode.words
    begins = thread.mode.owner - BIAS
    at = regs.rsp - begins
    if not 0 <= at <= SLOT_SIZE - FRAME["FPSTATE"] - 8:
        raise MachineGone(thread, f"no signal frame at RSP {regs.rsp:#x}")
    frame = thread.slot[at:SLOT_SIZE]
    signal_stack.note(thread, bytes(frame[STACK_AT : STACK_AT + STACK_SIZE]))
    for name, value in zip(_FRAME_REGISTERS, _REGISTERS.unpack_from(frame, _REGISTERS_AT), strict=True):
        setattr(regs, name, value)
    regs.rsp = words[_FAULT_RSP]
    error, fpstate = (struct.unpack_from("<Q", frame, FRAME[name])[0] for name in ("ERR", "FPSTATE"))
    saved = thread.slot[fpstate - begins : SLOT_SIZE]
    (size,) = struct.unpack_from("<I", saved, _XSTATE_SIZE)
    image = ptrace.get_xstate(thread.tid)
    size = min(size, len(image))
    image[:size] = saved[:size]
    thread.xrstor(image)
    return int(error) & 0xFFFF


def _registers_behind(thread: Thread) -> None:
    """The AEX is over: what the code would load, once more."""
    regs, mode = thread.regs, thread.mode
    words = mode.words
    words[_FIXUP], words[_CODES] = 0, words[WORD["RSI"]]
    if mode.tcs_la:
        tcs = thread.machine.enclaves[mode.eid].used(mode.tcs_la).data
        if TCS.get(tcs, "STATE") == mode.owner:
            TCS.put(tcs, "CSSA", words[_CSSA])
        shut_down(thread)
    regs.clear()
    regs.rax, regs.rbx, regs.rcx = EncluLeaf.ERESUME, words[WORD["RCX"]], words[WORD["AEP"]]
    regs.rdi, regs.rsi, regs.rdx = words[_VECTOR], words[WORD["RSI"]], words[_ADDRESS] & ~0xFFF
    regs.rip, regs.rsp, regs.rbp, regs.rflags = (words[WORD[name]] for name in ("RIP", "RSP", "NEXT", "RFLAGS"))
    regs.fs_base, regs.gs_base = mode.save_fs_base, mode.save_gs_base
