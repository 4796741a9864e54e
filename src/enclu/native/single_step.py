"""One instruction of a stopped thread, executed."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from enclu.native import ptrace, signals
from enclu.native.resume import SINGLESTEP, SYSEMU_SINGLESTEP, until
from enclu.native.stop import Kind, Stop
from enclu.sgx.inside import MAX_LENGTH
from enclu.sgx.processor import RFLAGS_TF

if TYPE_CHECKING:
    from enclu.native.thread import Thread

AT_SYSCALL = signal.SIGTRAP | ptrace.SYSCALL_STOP
"""si_code of a system call stop."""
_PUSHF, _POPF, _OPERAND_SIZE, _REX = 0x9C, 0x9D, 0x66, range(0x40, 0x50)


def single_step(thread: Thread) -> ptrace.SigInfo | None:
    """Execute one instruction, of a string instruction one repetition; its exception if it raises one.

    Only synchronous signals may be unblocked.  Signals that come instead are put off.
    A SYSCALL in enclave mode is not executed: the stop is one `AT_SYSCALL`.
    """
    info = ptrace.SigInfo()
    thread.record = None
    pushes = not thread.regs.rflags & RFLAGS_TF and is_pushf(thread.space.peek(thread.regs.rip, MAX_LENGTH))

    def over(stop: Stop) -> bool:
        if stop.kind not in (Kind.SIGNAL, Kind.SYSCALL):
            return False
        if thread.blocked and stop.kind is Kind.SIGNAL:
            thread.fetch()
            signals.forced(thread, stop.signo)
        info.get(thread.tid)
        return info.code > 0

    until(thread, SYSEMU_SINGLESTEP if thread.mode.enclave else SINGLESTEP, over)
    thread.fetch()
    if info.signo != signal.SIGTRAP or info.code == AT_SYSCALL:
        return info
    if pushes:  # it has stored the TF that the step needs
        second = thread.regs.rsp + 1
        thread.write(second, bytes([thread.read(second, 1)[0] & ~(RFLAGS_TF >> 8)]))
    return None


def is_popf(code: bytes) -> bool:
    """The instruction has the host kernel forget that it is stepped through: see `stepping.hide`."""
    return _opcode(code) == _POPF


def is_pushf(code: bytes) -> bool:
    """The instruction shows on the stack that it is stepped through."""
    return _opcode(code) == _PUSHF


def _opcode(code: bytes) -> int | None:
    """Its first byte behind the prefixes that these two may have."""
    return next(iter(code.lstrip(bytes((_OPERAND_SIZE, *_REX)))), None)
