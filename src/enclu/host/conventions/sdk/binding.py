"""Which TCS an ECALL enters: the SDK's thread binding.  SDK: psw/urts/tcs.cpp.

A thread that makes an ECALL is bound to a TCS.  With the policy "bind" it stays so while it lives, and finds its
thread-local variables as it left them; with "unbind", until another thread needs the TCS and no call is under way.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

from enclu.host.call import Call
from enclu.host.guard import Event, Guard
from enclu.host.tcs import TcsPool
from enclu.host.thread import CallUnderWay


class TrustedThread:
    """A TCS, and the calls that are under way on it."""

    def __init__(self, tcs: int) -> None:
        self.tcs = tcs
        self.calls: list[Call] = []
        self.event = Event()
        """Its untrusted event: what sgx_thread_mutex_t and the like sleep on outside."""


class Binding:
    """Which thread has which TCS of the pool, until it is another's.

    `dynamic` are pages that the enclave can make TCSes of: `make` has it do so, within so many seconds, on the thread
    kept for that.  TCSes are made until `minimum` are free.
    """

    def __init__(
        self, pool: TcsPool, dynamic: list[int], make: Callable[[int, float | None], None], *, bind: bool, minimum: int
    ) -> None:
        self.bind = bind
        self._minimum = minimum
        self._pool, self._make = pool, make
        self._of_tcs = {tcs: TrustedThread(tcs) for tcs in pool.every}
        pool.free[:] = pool.every[bool(dynamic) :]  # the SDK takes the last first
        self.utility = self._of_tcs[pool.every[0]] if dynamic else None
        """The first thread, kept for commands where there are TCSes to be made."""
        self._unmade = list(dynamic)
        self._bound: dict[threading.Thread, int] = {}
        self._binding = Guard()
        self._making = Guard()

    def acquire(self, call: Call) -> TrustedThread | None:
        """The calling thread's TCS, with this call on it; None if there is none."""
        user = threading.current_thread()
        while True:
            with self._binding.hold(call.tokens):
                if user in self._bound or self._bind(user):
                    found = self._of_tcs[self._bound[user]]
                    found.calls.append(call)
                    return found
            if not self._make_one(call, None):
                return None

    def release(self, thread: TrustedThread, call: Call, *, reset: bool = False) -> None:
        """A call is over; with `reset`, all of them are."""
        if reset:
            thread.calls.clear()
        with contextlib.suppress(ValueError):
            thread.calls.remove(call)

    def start(self, user: threading.Thread, call: CallUnderWay) -> bool:
        """Start a thread that is bound to a TCS from its beginning; False if there is none.  `call` has it started."""
        while True:
            with self._binding.hold(call.tokens):
                if self._bind(user):
                    user.start()
                    return True
            if not self._make_one(call, None):
                return False

    def abandon(self, tcs: int, call: Call) -> None:
        """Never enter this TCS again."""
        with self._binding.hold(call.tokens):
            for user, bound in list(self._bound.items()):
                if bound == tcs:
                    self._bound.pop(user)
            self._of_tcs.pop(tcs, None)

    def reset(self) -> None:
        """Unbind all threads: after the enclave's initialization."""
        for user in list(self._bound):
            self._pool.free.extend(map(self._bound.pop, (user,)))

    def event(self, tcs: int) -> Event | None:
        """The untrusted event of a TCS."""
        thread = self._of_tcs.get(tcs)
        return thread.event if thread else None

    def fill(self, timeout: float | None) -> None:
        """Make TCSes until there are enough free ones, each within so many seconds."""
        while len(self._pool.free) < self._minimum and self._make_one(None, timeout):
            pass

    def _bind(self, user: threading.Thread) -> bool:
        """Bind a thread that is not bound: a TCS goes from the free to the bound ones.  False: there is none."""
        if not self._pool.free:
            for other, tcs in list(self._bound.items()):
                if not self._of_tcs[tcs].calls and (not self.bind or not other.is_alive()):
                    self._pool.free.extend(map(self._bound.pop, (other,)))
        try:
            self._bound.update(zip((user,), map(list.pop, (self._pool.free,)), strict=True))
        except IndexError:
            return False
        return True

    def _make_one(self, call: CallUnderWay | None, timeout: float | None) -> bool:
        """Have the enclave make one more TCS; False if there is no page for it."""
        tokens = call.tokens if call is not None else []
        if self._making in tokens:
            return False
        with self._making.hold(tokens):
            if not self._unmade:
                return False
            tcs = self._unmade.pop()
            self._make(tcs, timeout)
            self._of_tcs[tcs] = TrustedThread(tcs)
            self._pool.add(tcs)
            return True
