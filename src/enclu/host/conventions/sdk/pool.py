"""Which TCS an ECALL enters: the SDK's thread binding.  SDK: psw/urts/tcs.cpp.

A thread that makes an ECALL is bound to a TCS.  With the policy "bind" it stays so while it lives, and finds its
thread-local variables as it left them; with "unbind", until another thread needs the TCS and no call is under way.
"""

from __future__ import annotations

import threading
from collections.abc import Callable


class TrustedThread:
    """A TCS, and how many calls are under way on it."""

    def __init__(self, tcs: int) -> None:
        self.tcs = tcs
        self.calls = 0
        self.event = threading.Semaphore(0)
        """Its untrusted event: what sgx_thread_mutex_t and the like sleep on outside."""


class TcsPool:
    """The TCSes of one enclave.

    `dynamic` are pages that the enclave can make TCSes of: `make` has it do so, on the thread kept for that.
    """

    def __init__(self, static: list[int], dynamic: list[int], *, bind: bool, minimum: int = 0) -> None:
        self.bind = bind
        self.minimum = minimum
        self.utility: TrustedThread | None = None
        threads = [TrustedThread(tcs) for tcs in static]
        if dynamic:
            self.utility = threads.pop(0)
        self._free = threads
        self._unmade = list(dynamic)
        self._bound: dict[threading.Thread, TrustedThread] = {}
        self._of_tcs = {thread.tcs: thread for thread in [*threads, *([self.utility] if self.utility else [])]}
        self._lock = threading.Lock()
        self._making = threading.RLock()
        self.make: Callable[[int], None] | None = None

    def acquire(self) -> TrustedThread | None:
        """The calling thread's TCS, with one call more; None if there is none."""
        user = threading.current_thread()
        found = self._bound_or_free(user)
        if found is None and self._make_one():
            found = self._bound_or_free(user)
        return found

    def release(self, thread: TrustedThread, *, reset: bool = False) -> None:
        """A call is over; with `reset`, all of them are."""
        with self._lock:
            thread.calls = 0 if reset else max(0, thread.calls - 1)

    def take_free(self) -> TrustedThread | None:
        """One that no thread is bound to, for a thread that is yet to start: it is bound by `bind_to`."""
        with self._lock:
            found = self._free_one()
        if found is None and self._make_one():
            with self._lock:
                found = self._free_one()
        return found

    def bind_to(self, user: threading.Thread, thread: TrustedThread) -> None:
        with self._lock:
            self._bound[user] = thread

    def give_back(self, thread: TrustedThread) -> None:
        """Undo take_free."""
        with self._lock:
            self._free.append(thread)

    def abandon(self, tcs: int) -> None:
        """Never enter this TCS again."""
        with self._lock:
            thread = self._of_tcs.pop(tcs, None)
            self._free = [free for free in self._free if free is not thread]
            self._bound = {user: bound for user, bound in self._bound.items() if bound is not thread}

    def reset(self) -> None:
        """Unbind all threads: after the enclave's initialization."""
        with self._lock:
            for thread in self._bound.values():
                thread.calls = 0
                self._free.append(thread)
            self._bound.clear()

    def event(self, tcs: int) -> threading.Semaphore | None:
        """The untrusted event of a TCS."""
        with self._lock:
            thread = self._of_tcs.get(tcs)
        return thread.event if thread else None

    @property
    def busy(self) -> bool:
        with self._lock:
            return any(thread.calls for thread in self._of_tcs.values())

    def fill(self) -> None:
        """Make TCSes until `minimum` are free."""
        while len(self._free) < self.minimum and self._make_one():
            pass

    def _bound_or_free(self, user: threading.Thread) -> TrustedThread | None:
        with self._lock:
            thread = self._bound.get(user)
            if thread is None:
                thread = self._free_one()
                if thread is None:
                    return None
                self._bound[user] = thread
            thread.calls += 1
            return thread

    def _free_one(self) -> TrustedThread | None:
        if not self._free:
            for user, thread in list(self._bound.items()):
                if not thread.calls and (not self.bind or not user.is_alive()):
                    del self._bound[user]
                    self._free.append(thread)
        return self._free.pop() if self._free else None

    def _make_one(self) -> bool:
        """Have the enclave make one more TCS; False if there is no page for it."""
        with self._making:
            if not self._unmade or self.make is None:
                return False
            tcs = self._unmade.pop()
            self.make(tcs)
            thread = TrustedThread(tcs)
            with self._lock:
                self._of_tcs[tcs] = thread
                self._free.append(thread)
            return True
