"""One ECALL under way, and everything that it holds: a TCS, memory, an entry on the stack of its thread.

All of it goes back when the call is over.  That is when the `with` is left, in whatever way; or, should an exception
break into that, when the Python frame of the `with` is no longer executed: whoever uses the thread next sees to it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Self

from enclu.host import guard
from enclu.host.arena import Blocks
from enclu.host.errors import EnclaveTimeout, HostError
from enclu.host.events import EnclaveException, Exit, Interrupted
from enclu.host.stepping import FaultWatcher
from enclu.sgx.structs import EncluLeaf

if TYPE_CHECKING:
    from enclu.host.enclave import Enclave
    from enclu.host.guard import Guard
    from enclu.host.thread import Entry, HostThread


class Call:
    """A context manager, made by a convention for each ECALL."""

    thread: HostThread
    """The calling Python thread's."""
    entry: Entry
    """Once the enclave has been entered."""

    def __init__(self, enclave: Enclave, timeout: float | None) -> None:
        self.enclave = enclave
        self.tcs = 0
        """Once there is one."""
        self.depth = 0
        """Exceptions that the enclave is handling."""
        self.exceptions = 0
        """How many there have been."""
        self.repairs: list[EnclaveException] = []
        """Those that the enclave's handler is repairing, each in the repair of the one before."""
        self.handled: EnclaveException | None = None
        """The last that the enclave's handler was resumed for."""
        self.failure: BaseException | None = None
        """What an OCALL raised: raised again when the enclave has returned."""
        self.unfinished = False
        """The enclave was entered, and what it was to do is not over."""
        self.entered = False
        """The enclave has executed something of it."""
        self.registers: Mapping[str, int] = {}
        """What the enclave was entered with."""
        self.frame: FrameType | None = None
        """Of the `with`, or of who gives back what it has left; None when all is given back."""
        self.leased: list[int] = []
        """The TCS, if the call has it from the enclave's free ones."""
        self.blocks = Blocks(enclave.process.arena)
        """Untrusted memory that goes back when the call is over."""
        self.tokens: list[Guard] = []
        """What other threads wait for."""
        self._timeout = timeout
        self._until: float | None = None
        self._before = (0, 0)
        self._told = False
        """The enclave has heard that an OCALL failed."""

    def __enter__(self) -> Self:
        self.thread = self.enclave.process.thread()
        self._before = self.thread.standing
        self.frame = sys._getframe(1)
        self.thread.calls.append(self)
        if self._timeout is not None:
            self.limit(self._timeout)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        note = ""
        if error is not None and not isinstance(error, HostError) and self.unfinished:
            self.thread.settle()
            note = f"{self.enclave.image.path}: the ECALL is given up{self.where()}"
        self.close()
        if error is not None and note:
            error.add_note(note + ("" if self.tcs in self.enclave.tcs else f"; the TCS at {self.tcs:#x} is lost"))

    def close(self) -> None:
        """Give back what the call holds, and have the enclave stopped if it is not over.  May be called again."""
        calls, enclave = self.thread.calls, self.enclave
        if self not in calls:
            return
        self.frame = sys._getframe()
        while calls[-1] is not self:
            calls[-1].close()
        # First: where it is interrupted once more, EDECCSSA's frame has the RSP of the entry that is given up here.
        self.thread.leave(self._before)
        if self.unfinished and enclave.loaded and enclave.process.alive:
            if isinstance(enclave.watcher, FaultWatcher):
                enclave.watcher.gives_up(self)
            if self.unfinished:
                enclave.convention.give_up(self)
        self.unfinished = False
        self.finish()
        guard.give_back(self.tokens)
        enclave.tcs_pool.give_back(self.leased)
        self.blocks.give_back()
        self.frame = None
        calls.remove(self)

    def finish(self) -> None:
        """What else a convention's calls hold goes back.  May be broken into, and called again."""

    def where(self) -> str:
        """Where the enclave stands at an AEX, for messages, and how many exceptions there have been."""
        counted = f" after {self.exceptions} exceptions" if self.exceptions else ""
        enclave = self.enclave
        if not enclave.debug or self.outside or not enclave.process.alive:
            return counted
        try:
            frames = enclave.debugger.frames(self.tcs)
        except HostError:  # it has not been entered
            return counted
        places = [f"in {enclave.place(frame.gprsgx.rip)}, CSSA {frame.index}" for frame in frames]
        return f"{counted}: it was {', which had interrupted it '.join(places)}" if places else counted

    # Memory and TCS.

    def allocate(self, content: bytes | int, align: int = 64) -> int:
        """The address of untrusted memory with this content, or of this many zeros, until the call is over."""
        return self.enclave.process.memory.put(content, align, self.blocks)

    def lease(self, *, same: bool = True) -> int:
        """A TCS: with `same`, that of the call of this enclave in whose OCALL this one is made, if it is in one."""
        outer = self.outer() if same else None
        self.tcs = outer.tcs if outer is not None else self.enclave.lease(self)
        return self.tcs

    def outer(self) -> Call | None:
        """The call of this enclave, on this thread, that has left the enclave for an OCALL in which this one is."""
        calls = self.thread.calls
        for call in reversed(calls[: calls.index(self)]):
            if call.enclave is self.enclave:
                return call if isinstance(call, Call) and call.outside else None
        return None

    @property
    def outside(self) -> bool:
        """Whether the enclave was left by EEXIT and can be entered again."""
        return hasattr(self, "entry") and isinstance(self.entry.event, Exit)

    # Time.

    def left(self) -> float | None:
        """Seconds until the call shall be over; None for any time."""
        return None if self._until is None else max(0.0, self._until - self.thread.clock())

    def limit(self, seconds: float) -> None:
        """It shall be over in so many seconds from now on."""
        self._until = self.thread.clock() + seconds

    # What happens during a call.

    def enter(self, **registers: int) -> None:
        """EENTER again.  Raises EnclaveTimeout when the time is over: an enclave may leave again and again."""
        if self._told:
            self.check()
        self._told = self.failure is not None
        if self.tcs in self.enclave.lost:
            raise self.failure or HostError(f"{self.enclave.image.path}: the TCS at {self.tcs:#x} is lost")
        if self.left() == 0.0:
            raise EnclaveTimeout
        if self.enclave.watcher is not None:
            self.enclave.watcher.enters(self)
        self.entry.enter(**registers, timeout=self.left())

    def watch(self) -> None:
        """Whoever watches the enclave is told of what has left it, as long as it has it resumed."""
        while self.left() != 0.0:
            event, watcher = self.entry.event, self.enclave.watcher
            if isinstance(event, Interrupted) and watcher is not None:
                resumed = watcher.interrupted(self)
            elif isinstance(event, EnclaveException) and isinstance(watcher, FaultWatcher):
                resumed = event.leaf is EncluLeaf.ERESUME and watcher.faulted(self, event)
            else:
                return
            if not resumed:
                return

    def met(self, exception: EnclaveException) -> None:
        """One exception more, of which nothing was known but what the processor tells."""
        self.exceptions += 1
        exception.enclave, exception.tcs, exception.count = self.enclave, self.tcs, self.exceptions

    def check(self) -> None:
        """Before an OCALL: raise what ends the call.  KeyboardInterrupt and its like are told to the enclave once."""
        if self.failure is not None and not isinstance(self.failure, Exception):
            raise self.failure

    def fail(self, error: BaseException) -> None:
        """An OCALL raised something; the first is the call's failure."""
        if self.failure is None or (isinstance(self.failure, Exception) and not isinstance(error, Exception)):
            self.failure = error
