"""Which threads can be stopped: PTRACE_INTERRUPT of any other one is never answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from enclu.native.supervisor import Supervisor
    from enclu.native.thread import Thread


def can_be_halted(sup: Supervisor, thread: Thread) -> bool:
    """It has started, does not wait in vfork(2), and has not ended before the rest of its process."""
    if thread.stopped:
        return True
    if not thread.started or any(t.process.vfork_parent is thread for t in sup.threads.values()):
        return False
    try:
        with open(f"/proc/{thread.tid}/stat", "rb") as stat:
            return stat.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False
