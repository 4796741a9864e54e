"""One instruction of a stopped thread, executed."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from enclu.native import ptrace, signals
from enclu.native.resume import SINGLESTEP, SYSEMU_SINGLESTEP, until
from enclu.native.stop import Kind, Stop

if TYPE_CHECKING:
    from enclu.native.thread import Thread

AT_SYSCALL = signal.SIGTRAP | ptrace.SYSCALL_STOP
"""si_code of a system call stop."""


def single_step(thread: Thread) -> ptrace.SigInfo | None:
    """Execute one instruction, of a string instruction one repetition; its exception if it raises one.

    Only synchronous signals may be unblocked.  Signals that come instead are put off.
    A SYSCALL in enclave mode is not executed: the stop is one `AT_SYSCALL`.
    """
    info = ptrace.SigInfo()
    thread.record = None

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
    return None if info.signo == signal.SIGTRAP and info.code != AT_SYSCALL else info
