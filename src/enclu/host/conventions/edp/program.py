"""A run of an EDP program, or a call of an EDP library: its threads, events, memory and streams."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from enclu.host.arena import Given
from enclu.host.conventions.edp.abi import BYTE_BUFFER, DEBUG_BUFFER, WAIT_INDEFINITE, WAIT_NO, Error
from enclu.host.conventions.edp.streams import Streams
from enclu.host.errors import HostError

if TYPE_CHECKING:
    from enclu.host.enclave import Enclave
    from enclu.host.thread import HostThread

LOGGER = logging.getLogger("enclu.edp")
MOST_EVENTS = 1 << 12
"""Events of one TCS that nobody has fetched."""
ABANDONED = 2.0
"""Seconds after the program's end until threads of it that cannot be stopped are left alone."""
AGAIN = 0.02
"""Seconds after which a thread is interrupted again: the signal may have come where there was no enclave."""


class Stopped(Exception):
    """The program has ended by another thread, and this one is not to go on."""


@dataclass
class Running:
    """A thread of the program."""

    tcs: int
    thread: HostThread | None = None
    events: deque[int] = field(default_factory=deque)
    waits: int | None = None
    """The mask of events that it waits for without a limit."""


class Program:
    """`finish` ends it, from whatever thread."""

    def __init__(self, enclave: Enclave, streams: Streams) -> None:
        self.enclave = enclave
        self.streams = streams
        self.lock = threading.Condition()
        self.running: dict[int, Running] = {}
        """By TCS."""
        self.ended = False
        self.panicked = False
        self.failure: BaseException | None = None
        self._given = Given(enclave.process.arena)
        self._sizes: dict[int, int] = {}
        self._tcs = frozenset(enclave.tcs)
        self.debug_buffers: dict[int, int] = {}

    def finish(self, *, panicked: bool = False, failure: BaseException | None = None) -> None:
        """The first that says how it ended is right."""
        with self.lock:
            if not self.ended:
                self.ended, self.panicked, self.failure = True, panicked, failure
                self.lock.notify_all()

    def going(self) -> None:
        """Raises Stopped when the program has ended."""
        if self.ended:
            raise Stopped

    # Threads.

    def begin(self, tcs: int, thread: HostThread | None = None) -> Running:
        with self.lock:
            self.running[tcs] = running = Running(tcs, thread)
            return running

    def end(self, running: Running) -> None:
        with self.lock:
            if self.running.get(running.tcs) is running:
                del self.running[running.tcs]
            self._check_stuck()
            self.lock.notify_all()

    def stop_threads(self) -> None:
        """After the end: have threads that are in the enclave leave it, and wait until none is left."""
        until = time.monotonic() + ABANDONED
        with self.lock:
            while self.running and self.enclave.process.alive and time.monotonic() < until:
                for running in self.running.values():
                    if running.thread is not None:
                        self.enclave.process.interrupt(running.thread)
                self.lock.wait(AGAIN)

    # Events.

    def send(self, events: int, tcs: int) -> Error:
        """To one TCS, or to all if `tcs` is 0."""
        with self.lock:
            if tcs and tcs not in self._tcs:
                return Error.INVALID_INPUT
            for target in self.running.values():
                if tcs not in (0, target.tcs):
                    continue
                if len(target.events) >= MOST_EVENTS:
                    return Error.OTHER
                target.events.append(events)
            self.lock.notify_all()
        return Error.SUCCESS

    def wait(self, running: Running, mask: int, timeout: int, left: float | None) -> tuple[Error, int]:
        """An event that has no bits but the mask's; `left` are the seconds that the whole call has.

        Raises Stopped; HostError when every thread waits for what none can send; TimeoutError.
        """
        if timeout == WAIT_INDEFINITE:
            seconds = left
        elif timeout == WAIT_NO:
            seconds = 0.0
        else:
            seconds = min(timeout / 1e9, threading.TIMEOUT_MAX, *(() if left is None else (left,)))
        with self.lock:
            running.waits = mask if timeout == WAIT_INDEFINITE else None
            self._check_stuck()
            found = self.lock.wait_for(lambda: self.ended or _match(running.events, mask) is not None, seconds)
            running.waits = None
            self.going()
            if found:
                event = _match(running.events, mask)
                assert event is not None
                running.events.remove(event)
                return Error.SUCCESS, event
        if left is not None and (timeout == WAIT_INDEFINITE or left < timeout / 1e9):
            raise TimeoutError
        return (Error.WOULD_BLOCK if timeout == WAIT_NO else Error.TIMED_OUT), 0

    def _check_stuck(self) -> None:
        """End the program when no thread of it can ever go on.  Has the lock."""
        if (
            self.running
            and not self.ended
            and all(r.waits is not None and _match(r.events, r.waits) is None for r in self.running.values())
        ):
            self.finish(failure=HostError(
                f"{self.enclave.image.path}: every thread of the enclave waits for an event that none is left to send"
            ))  # fmt: skip

    # Memory that the enclave asks for, or is given to free.

    def allocate(self, size: int, align: int = 1) -> int:
        """Raises HostError."""
        with self.enclave.process.memory.lending() as memory:
            address = memory.allocate(size, max(align, 16))
            self._sizes[address] = size
            memory.give(self._given)
        return address

    def free(self, address: int, size: int) -> None:
        if address in self._given and self._sizes[address] == size:
            with contextlib.suppress(KeyError):
                self._given.free(address)
        else:
            LOGGER.warning("%s frees %#x bytes at %#x, which it was not given", self.enclave.image.path, size, address)

    def give(self, data: bytes) -> bytes:
        """A ByteBuffer with these bytes, which the enclave frees."""
        if not data:
            return BYTE_BUFFER.pack()
        address = self.allocate(len(data))
        self.enclave.process.memory.write(address, data)
        return BYTE_BUFFER.pack(data=address, len=len(data))

    def give_arguments(self, arguments: Sequence[bytes]) -> int:
        """The address of an array of ByteBuffers."""
        if not arguments:
            return 0
        array = b"".join(map(self.give, arguments))
        address = self.allocate(len(array))
        self.enclave.process.memory.write(address, array)
        return address

    def debug_buffer(self) -> int:
        """For one thread's panic message."""
        return self.allocate(DEBUG_BUFFER)

    def message(self, buffer: int) -> str:
        """What a debug build said when it panicked."""
        data = self.enclave.process.memory.read(buffer, DEBUG_BUFFER)
        return data.partition(b"\0")[0].decode("utf-8", "replace").strip()

    def release(self) -> None:
        """Free what is left of memory and streams."""
        self.streams.close_all()
        self._given.give_back()


def _match(events: deque[int], mask: int) -> int | None:
    return next((event for event in events if not event & ~mask), None)
