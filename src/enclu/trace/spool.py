"""The spool: a file without a name in which a run's events wait until somebody has time to write them for people.

The supervisor must not wait for that: it puts down blocks as they come, records of leaves even as the thread's ring had
them.  Who reads follows behind, in another thread, up to the end.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from enclu.base import console
from enclu.base.events import EnclaveInitialised, Event, Leaf
from enclu.native import machine_code
from enclu.native.in_process import leaves_of
from enclu.sgx.telling import NAMES

_BLOCK = struct.Struct("<IIQQII")
"""Process, thread, nanoseconds of CLOCK_REALTIME, TSC, bytes that follow, and whether they are records of leaves."""
_MADE = "made"
"""Stands for the name of an event's kind in a block that tells who has made an enclave."""
LIMIT = 1 << 30
"""Bytes that may wait to be written for people; then the program waits for them, too."""
_CHUNK = 1 << 24
_KEEP_SIZE_PUNCH_HOLE = 3
_libc = ctypes.CDLL(None)
_libc.fallocate.argtypes = ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64
_RDTSC = bytes.fromhex("0f31 48c1e220 4809d0 c3")
"""rdtsc; shl rdx,32; or rax,rdx; ret"""


class Happened(NamedTuple):
    """One event, as a trace has it."""

    time: int
    """Nanoseconds of CLOCK_REALTIME."""
    pid: int
    tid: int
    name: str
    """Of the kind, as `Event.name` has it."""
    values: dict[str, Any]
    """Its own fields."""


class Made(NamedTuple):
    """Who has made an enclave, when it is initialised: no event, but what is to be known of it."""

    eid: int
    mrenclave: str
    """In hexadecimal."""
    program: str
    """Its executable's name, without directories."""
    files: list[str]
    """Those that it has mapped, its libraries aside: loaders map the enclave's file."""


@dataclass(frozen=True)
class Leaves:
    """Leaves that one thread has executed, one after the other, without a stop."""

    pid: int
    tid: int
    records: bytes
    time_of: Callable[[int], int]
    """Nanoseconds of CLOCK_REALTIME, for a TSC."""

    def __iter__(self) -> Iterator[Happened]:
        """Each as an event."""
        kind, time_of = Leaf.name(), self.time_of
        for tsc, eid, leaf, tcs, rax, (rdi, rsi, rbx, rcx, rsp) in leaves_of(self.records):
            values = {
                "eid": eid, "leaf": NAMES[leaf], "tcs": tcs, "rax": rax,
                "rdi": rdi, "rsi": rsi, "rbx": rbx, "rcx": rcx, "rsp": rsp,
            }  # fmt: skip
            yield Happened(time_of(tsc), self.pid, self.tid, kind, values)


class Spool:
    """One run's.  Whoever writes is one thread, whoever reads another."""

    def __init__(self) -> None:
        """Raises OSError."""
        with tempfile.TemporaryFile(buffering=0) as file:
            self._fd = os.dup(file.fileno())
        self._tsc = machine_code.function(_RDTSC, ctypes.c_uint64)
        self._size = self._read = self._written = self._given_back = 0
        self._over = False
        self._more = threading.Condition()
        self._names: dict[type[Event], str] = {}

    # The writer.

    def event(self, event: Event) -> None:
        """What has happened just now."""
        kind = type(event)
        name = self._names.get(kind) or self._names.setdefault(kind, kind.name())
        values = event.values()
        pid, tid = values.pop("pid"), values.pop("tid")
        self._put(pid, tid, json.dumps([name, values]).encode(), leaves=False)

    def made(self, event: EnclaveInitialised, program: str, files: list[str]) -> None:
        """Of an enclave, by which program."""
        values = event.eid, event.mrenclave, program, files
        self._put(event.pid, event.tid, json.dumps([_MADE, values]).encode(), leaves=False)

    def leaves(self, pid: int, tid: int, records: memoryview) -> None:
        """Records of what a thread has executed, the last of them just now at the latest."""
        self._put(pid, tid, records, leaves=True)

    def _put(self, pid: int, tid: int, data: bytes | memoryview, *, leaves: bool) -> None:
        if self._over:
            return
        head = _BLOCK.pack(pid, tid, time.time_ns(), self._tsc(), len(data), leaves)
        try:
            if os.writev(self._fd, (head, data)) != len(head) + len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:  # the program goes on
            console.say(f"the trace ends here: {tempfile.gettempdir()}: {error.strerror}")
            self.end()
            return
        with self._more:
            self._size += len(head) + len(data)
            self._more.notify_all()
            while self._size - self._read > LIMIT and not self._over:
                self._more.wait()

    def flush(self) -> None:
        """Wait until the reader has done with all that is there."""
        with self._more:
            while self._written < self._size and not self._over:
                self._more.wait()

    def end(self) -> None:
        """Nothing more will happen, or nobody reads any more."""
        with self._more:
            self._over = True
            self._more.notify_all()

    # The reader.

    @property
    def more(self) -> bool:
        """The reader has not read all that is there by now."""
        return self._read < self._size

    def written(self) -> None:
        """The reader has done with all that it was given."""
        with self._more:
            self._written = self._read
            self._more.notify_all()

    def __iter__(self) -> Iterator[Happened | Leaves | Made]:
        """Everything from the beginning, each as soon as it is there, up to the end.

        What a thread did is in order.  Leaves that it executed without a stop come when it stopped: others of the same
        time may have come before.
        """
        clock = _Clock()
        for pid, tid, now, tsc, leaves, data in self._blocks():
            clock.set(now, tsc)
            if leaves:
                yield Leaves(pid, tid, data, clock.time)
            else:
                name, values = json.loads(data)
                if name == _MADE:
                    yield Made(*values)
                    continue
                yield Happened(now, pid, tid, name, values)

    def _blocks(self) -> Iterator[tuple[int, int, int, int, int, bytes]]:
        fd = self._fd
        while True:
            at = self._read
            with self._more:
                while self._size == at and not self._over:
                    self._more.wait()
                if self._size == at:
                    return
            pid, tid, now, tsc, size, leaves = _BLOCK.unpack(os.pread(fd, _BLOCK.size, at))
            data = os.pread(fd, size, at + _BLOCK.size)
            with self._more:
                self._read = at + _BLOCK.size + size
                self._more.notify_all()
            if self._read - self._given_back > _CHUNK:
                _libc.fallocate(fd, _KEEP_SIZE_PUNCH_HOLE, self._given_back, self._read - self._given_back)
                self._given_back = self._read
            yield pid, tid, now, tsc, leaves, data


class _Clock:
    """The TSC in nanoseconds, by the two times at which both were last read, and the first."""

    def __init__(self) -> None:
        self._first: tuple[int, int] | None = None
        self._now = self._at = 0
        self._rate = 1.0
        """Nanoseconds a cycle."""

    def set(self, now: int, tsc: int) -> None:
        if self._first is None:
            self._first = now, tsc
        elif tsc > self._first[1]:
            self._rate = (now - self._first[0]) / (tsc - self._first[1])
        self._now, self._at = now, tsc

    def time(self, tsc: int) -> int:
        return self._now - int((self._at - tsc) * self._rate)
