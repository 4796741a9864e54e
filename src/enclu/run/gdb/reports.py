"""What a debugger is told of: stops, by the remote protocol's words and numbers.

GDB manual, appendix "Remote Protocol", section "Stop Reply Packets"; numbers of signals: gdb/signals.def.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass

from enclu.sgx.exceptions import Vector

_NAMED = {
    "SIGHUP": 1, "SIGINT": 2, "SIGQUIT": 3, "SIGILL": 4, "SIGTRAP": 5, "SIGABRT": 6, "SIGFPE": 8, "SIGKILL": 9,
    "SIGBUS": 10, "SIGSEGV": 11, "SIGSYS": 12, "SIGPIPE": 13, "SIGALRM": 14, "SIGTERM": 15, "SIGURG": 16,
    "SIGSTOP": 17, "SIGTSTP": 18, "SIGCONT": 19, "SIGCHLD": 20, "SIGTTIN": 21, "SIGTTOU": 22, "SIGIO": 23,
    "SIGXCPU": 24, "SIGXFSZ": 25, "SIGVTALRM": 26, "SIGPROF": 27, "SIGWINCH": 28, "SIGUSR1": 30, "SIGUSR2": 31,
    "SIGPWR": 32,
}  # fmt: skip
_FIRST_REALTIME = 33
GDB_SIGNAL = {
    0: 0,
    **{int(getattr(signal, name)): number for name, number in _NAMED.items()},
    32: 77, 64: 78, **{signo: signo - _FIRST_REALTIME + 45 for signo in range(_FIRST_REALTIME, 64)},
}  # fmt: skip
"""gdb's number of a signal; 0 is none."""
UNKNOWN = 143
"""The number of signals that gdb has no name for: it could not have them passed on, and is not told of them."""
HOST_SIGNAL = {number: signo for signo, number in GDB_SIGNAL.items()}
SIGNAL_OF = {
    Vector.UD: signal.SIGILL, Vector.NM: signal.SIGILL, Vector.DE: signal.SIGFPE, Vector.MF: signal.SIGFPE,
    Vector.XM: signal.SIGFPE, Vector.BP: signal.SIGTRAP, Vector.DB: signal.SIGTRAP, Vector.AC: signal.SIGBUS,
}  # fmt: skip
"""The signal that stands for an exception that becomes none; SIGSEGV for others."""


@dataclass(frozen=True)
class Report:
    """A thread has stopped."""

    pid: int
    tid: int
    signo: int = signal.SIGTRAP
    reason: str = ""
    """Of the stop reply: swbreak:, watch:ADDRESS, fork:pPID.TID and the like."""
    note: str = ""
    """A line for people."""


@dataclass(frozen=True)
class Exited:
    """A process has ended."""

    pid: int
    status: int
    signo: int


@dataclass(frozen=True)
class NoneRuns:
    """No thread runs any more of those that the debugger wanted to."""
