"""How long a thread of the agent has waited for a processor that others had.

Whether an enclave hangs is told by a limit of seconds.  Who steps through one takes that for a finding, which must not
depend on what else the machine does meanwhile.
"""

from __future__ import annotations

import os

from enclu.native import proc

STEP = 0.01
"""Seconds; with less there is no use in waiting once more."""
_NANOSECONDS = 1e-9


class Delay:
    """Of a thread and of its process's supervisor, which executes nothing at the same time."""

    def __init__(self, pid: int, tid: int) -> None:
        supervisor = proc.status(tid)["TracerPid"]
        paths = f"/proc/{pid}/task/{tid}/schedstat", f"/proc/{supervisor}/schedstat"
        self._files = [open(path, "rb", buffering=0) for path in paths if os.path.exists(path)]  # noqa: SIM115

    @property
    def seconds(self) -> float:
        """Since they were made; 0 where the kernel does not tell (CONFIG_SCHED_INFO).  Kernel: proc_pid_schedstat()."""
        return sum(self._waited(file.fileno()) for file in self._files)

    @staticmethod
    def _waited(fd: int) -> float:
        try:
            return int(os.pread(fd, 64, 0).split()[1]) * _NANOSECONDS
        except ProcessLookupError:
            return 0.0
