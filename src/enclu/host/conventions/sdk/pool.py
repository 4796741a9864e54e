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
from enclu.host.thread import CallUnderWay


class TrustedThread:
    """A TCS, and the calls that are under way on it."""

    def __init__(self, tcs: int) -> None:
        self.tcs = tcs
        self.calls: list[Call] = []
        self.event = Event()
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
        self._binding = Guard()
        self._making = Guard()
        self.make: Callable[[int], None] | None = None

    def acquire(self, call: Call) -> TrustedThread | None:
        """The calling thread's TCS, with this call on it; None if there is none."""
        user = threading.current_thread()
        while True:
            with self._binding.hold(call.tokens):
                found = self._bound.get(user) or self._bind(user)
                if found is not None:
                    found.calls.append(call)
                    return found
            if not self._make_one(call):
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
                if self._bind(user) is not None:
                    user.start()
                    return True
            if not self._make_one(call):
                return False

    def abandon(self, tcs: int, call: Call) -> None:
        """Never enter this TCS again."""
        with self._binding.hold(call.tokens):
            thread = self._of_tcs.pop(tcs, None)
            for user, bound in list(self._bound.items()):
                if bound is thread:
                    self._bound.pop(user)

    def reset(self) -> None:
        """Unbind all threads: after the enclave's initialization."""
        for user in list(self._bound):
            self._free.extend(map(self._bound.pop, (user,)))

    def event(self, tcs: int) -> Event | None:
        """The untrusted event of a TCS."""
        thread = self._of_tcs.get(tcs)
        return thread.event if thread else None

    def fill(self) -> None:
        """Make TCSes until `minimum` are free."""
        while len(self._free) < self.minimum and self._make_one(None):
            pass

    def _bind(self, user: threading.Thread) -> TrustedThread | None:
        """Bind a thread that is not bound; the TCS goes from the free to the bound ones at once."""
        if not self._free:
            for other, thread in list(self._bound.items()):
                if not thread.calls and (not self.bind or not other.is_alive()):
                    self._free.extend(map(self._bound.pop, (other,)))
        try:
            self._bound.update(zip((user,), map(list.pop, (self._free,)), strict=True))
        except IndexError:
            return None
        return self._bound[user]

    def _make_one(self, call: CallUnderWay | None) -> bool:
        """Have the enclave make one more TCS; False if there is no page for it."""
        tokens = call.tokens if call is not None else []
        if self.make is None or self._making in tokens:
            return False
        with self._making.hold(tokens):
            if not self._unmade:
                return False
            tcs = self._unmade.pop()
            self.make(tcs)
            thread = self._of_tcs[tcs] = TrustedThread(tcs)
            self._free.append(thread)
            return True
