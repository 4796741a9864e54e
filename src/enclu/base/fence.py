"""A fence between a write and a later read of memory that is shared with another process."""

from __future__ import annotations

import threading


def full_fence() -> None:
    """What was written before is seen by other processors before anything is read that is read after it.

    Python has no such instruction, but executes one: to acquire a lock that is free is a compare-and-exchange, of a
    POSIX semaphore or of CPython's own mutex, and with its LOCK prefix no read or write changes places (SDM 3A, "Loads
    and Stores Are Not Reordered with Locked Instructions").  The lock is a new one, so that it is free whoever broke
    into whom.
    """
    threading.Lock().acquire(blocking=False)
