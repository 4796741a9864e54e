"""Work beside the caller's: one thread for each kind of work, so that what is handed in is done in its order."""

from __future__ import annotations

import contextlib
import functools
import os
from concurrent.futures import ThreadPoolExecutor


@functools.cache
def worker(name: str) -> ThreadPoolExecutor:
    """The thread of this name.  Where it may run is not tied to where the caller is."""

    def anywhere() -> None:
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, range(os.cpu_count() or 1))

    return ThreadPoolExecutor(1, name, anywhere)
