"""Which thread of the agent a Python thread uses: its own, while it lives."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from enclu.host.errors import HostError
from enclu.host.thread import HostThread


class Pool:
    """Threads that nobody uses.

    New ones are made on a Python thread of the pool's own, where no signal's handler breaks in.
    """

    def __init__(self, make: Callable[[], HostThread]) -> None:
        self.idle: queue.SimpleQueue[HostThread | HostError] = queue.SimpleQueue()
        self._wanted: queue.SimpleQueue[Wish | None] = queue.SimpleQueue()
        threading.Thread(target=_serve, args=(make, self._wanted), name="enclu", daemon=True).start()

    def wish(self) -> Wish:
        """Have one more made."""
        wish = Wish(self.idle)
        self._wanted.put(wish)
        return wish

    def close(self) -> None:
        self._wanted.put(None)


class Wish:
    """`made` gets a thread, or why there is none.  Should nobody wait for it any more, others get the thread."""

    def __init__(self, idle: queue.SimpleQueue[HostThread | HostError]) -> None:
        self._idle = idle
        self.made: queue.SimpleQueue[HostThread | HostError] = queue.SimpleQueue()

    def __del__(self) -> None:
        while not self.made.empty():
            self._idle.put(self.made.get())


def _serve(make: Callable[[], HostThread], wanted: queue.SimpleQueue[Wish | None]) -> None:
    while (wish := wanted.get()) is not None:
        try:
            wish.made.put(make())
        except HostError as error:
            wish.made.put(error)
        except OSError as error:
            wish.made.put(HostError(f"cannot start a thread in the process: {error}"))
        del wish


class Lease:
    """Of one Python thread: nobody else uses these until it is gone."""

    _threads: list[HostThread | HostError] = []  # noqa: RUF012 - until __init__, which may be broken into
    """The first is its own, the others are for signals' handlers that have broken into a command."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._threads = []

    def thread(self) -> HostThread:
        """One that waits for a command.  What was broken into is over then.  Raises HostError."""
        threads = self._threads
        for thread in threads:
            if isinstance(thread, HostThread) and thread.free():
                while thread is not threads[-1] and _unused(threads[-1]):
                    self._pool.idle.put(threads.pop())
                return thread
        try:
            threads.extend(map(queue.SimpleQueue.get_nowait, (self._pool.idle,)))
        except queue.Empty:
            wish = self._pool.wish()
            threads.extend(map(queue.SimpleQueue.get, (wish.made,)))
        found = threads[-1]
        if not isinstance(found, HostThread):
            threads.pop()
            raise found
        found.user = threading.current_thread().name
        found.tidy()
        return found

    def broken(self) -> HostThread | None:
        """One that still does what nobody waits for any more."""
        return next((thread for thread in self._threads if isinstance(thread, HostThread) and thread.broken), None)

    def __del__(self) -> None:
        while self._threads:
            self._pool.idle.put(self._threads.pop())


def _unused(thread: HostThread | HostError) -> bool:
    return isinstance(thread, HostThread) and thread.free() and not thread.calls and not thread.entries
