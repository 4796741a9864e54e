"""Usercalls: what the host does for the enclave.  fortanix/rust-sgx: intel-sgx/enclave-runner-sgx."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any

from enclu.host.conventions.edp import streams
from enclu.host.conventions.edp.abi import BYTE_BUFFER, EVENTS, WAIT_INDEFINITE, Error, Usercall
from enclu.host.conventions.edp.program import LOGGER, Program, Running, Stopped
from enclu.host.conventions.edp.streams import MOST_DATA, Listener, Stream
from enclu.host.errors import EnclaveTimeout, HostError

MOST_ADDRESS = 4096
"""Bytes of a network address."""
Results = tuple[int, int]


class Usercalls:
    """Those of one thread.  `left` tells the seconds that the call still has; `launch` enters one more thread."""

    def __init__(
        self, program: Program, running: Running, left: Callable[[], float | None], launch: Callable[[Program], int]
    ) -> None:
        self._program, self._running, self._left, self._launch = program, running, left, launch
        self._memory = program.enclave.process.memory
        self._table: dict[int, Callable[[int, int, int, int], Results]] = {
            Usercall.READ: self.read,
            Usercall.READ_ALLOC: self.read_alloc,
            Usercall.WRITE: self.write,
            Usercall.FLUSH: self.flush,
            Usercall.CLOSE: self.close,
            Usercall.BIND_STREAM: self.bind_stream,
            Usercall.ACCEPT_STREAM: self.accept_stream,
            Usercall.CONNECT_STREAM: self.connect_stream,
            Usercall.LAUNCH_THREAD: self.launch_thread,
            Usercall.EXIT: self.exit,
            Usercall.WAIT: self.wait,
            Usercall.SEND: self.send,
            Usercall.INSECURE_TIME: self.insecure_time,
            Usercall.ALLOC: self.alloc,
            Usercall.FREE: self.free,
            Usercall.ASYNC_QUEUES: self.async_queues,
        }

    def serve(self, number: int, arguments: tuple[int, int, int, int]) -> Results:
        """RSI and RDX for the enclave.  Raises Stopped; EnclaveTimeout; HostError for what there is not."""
        self.check()
        own = self._program.enclave.ocalls.get(number)
        if own is not None:
            return _results(own(*arguments))
        call = self._table.get(number)
        if call is None:
            raise HostError(
                f"{self._program.enclave.image.path}: the enclave makes usercall {number:#x}, which is none"
            )
        try:
            return call(*arguments)
        except (OSError, ValueError, HostError) as error:
            if isinstance(error, EnclaveTimeout):
                raise
            LOGGER.info("%s: usercall %s: %s", self._program.enclave.image.path, Usercall(number).name.lower(), error)
            return Error.of(error), 0

    def check(self) -> None:
        """Whether the thread shall go on.  Raises Stopped, EnclaveTimeout."""
        self._program.going()
        if self._left() == 0.0:
            raise self._too_late()

    def _too_late(self) -> EnclaveTimeout:
        return EnclaveTimeout(f"{self._program.enclave.image.path}: the time is over while the enclave waits")

    # Streams.

    def read(self, fd: int, address: int, length: int, _: int) -> Results:
        stream = self._program.streams.stream(fd)
        if not length:
            return Error.SUCCESS, 0
        data = stream.read(min(length, MOST_DATA), self.check)
        self._memory.write(address, data)
        return Error.SUCCESS, len(data)

    def read_alloc(self, fd: int, buffer: int, _: int, __: int) -> Results:
        stream = self._program.streams.stream(fd)
        if BYTE_BUFFER.unpack(self._memory.read(buffer, BYTE_BUFFER.size))["data"]:
            raise ValueError("the buffer's pointer is not NULL")
        self._memory.write(buffer, self._program.give(stream.read(MOST_DATA, self.check)))
        return Error.SUCCESS, 0

    def write(self, fd: int, address: int, length: int, _: int) -> Results:
        stream = self._program.streams.stream(fd)
        data = self._memory.read(address, min(length, MOST_DATA)) if length else b""
        return Error.SUCCESS, stream.write(data, self.check)

    def flush(self, fd: int, _: int, __: int, ___: int) -> Results:
        self._program.streams.stream(fd).flush()
        return Error.SUCCESS, 0

    def close(self, fd: int, _: int, __: int, ___: int) -> Results:
        self._program.streams.close(fd)
        return 0, 0

    # The network.

    def _address(self, address: int, length: int) -> str:
        if length > MOST_ADDRESS:
            raise ValueError(f"an address of {length} bytes")
        return self._memory.read(address, length).decode()

    def _hook(self, usercall: Usercall, address: str) -> Any:
        """What a callable of the user's gives for an address; None to go to the network."""
        hook = self._program.enclave.ocalls.get(usercall.name.lower())
        return None if hook is None else hook(address)

    def _tell(self, buffer: int, address: Callable[[], Any]) -> None:
        """Store an address where the enclave wants it."""
        if buffer:
            self._memory.write(buffer, self._program.give(streams.name(address()).encode()))

    def bind_stream(self, address: int, length: int, local: int, _: int) -> Results:
        text = self._address(address, length)
        listening = self._hook(Usercall.BIND_STREAM, text)
        if listening is None:
            listening = streams.listen(text)
        fd = self._program.streams.add(Listener(listening))
        self._tell(local, listening.getsockname)
        return Error.SUCCESS, fd

    def accept_stream(self, fd: int, local: int, peer: int, _: int) -> Results:
        connection = self._program.streams.listener(fd).accept(self.check)
        return self._connected(connection, local, peer)

    def connect_stream(self, address: int, length: int, local: int, peer: int) -> Results:
        text = self._address(address, length)
        connection = self._hook(Usercall.CONNECT_STREAM, text)
        if connection is None:
            connection = streams.connect(text, self.check)
        return self._connected(connection, local, peer)

    def _connected(self, connection: Any, local: int, peer: int) -> Results:
        fd = self._program.streams.add(Stream(connection))
        if isinstance(connection, socket.socket):
            self._tell(local, connection.getsockname)
            self._tell(peer, connection.getpeername)
        return Error.SUCCESS, fd

    # Threads and their events.

    def launch_thread(self, _: int, __: int, ___: int, ____: int) -> Results:
        return self._launch(self._program), 0

    def exit(self, panic: int, _: int, __: int, ___: int) -> Results:
        self._program.finish(panicked=bool(panic))
        raise Stopped

    def wait(self, mask: int, timeout: int, _: int, __: int) -> Results:
        if mask & ~EVENTS:
            raise ValueError(f"events {mask:#x}")
        if not mask and timeout == WAIT_INDEFINITE:
            path = self._program.enclave.image.path
            self._program.finish(failure=HostError(f"{path}: the enclave waits for ever, for nothing"))
            raise Stopped
        try:
            return self._program.wait(self._running, mask, timeout, self._left())
        except TimeoutError:
            raise self._too_late() from None

    def send(self, events: int, tcs: int, _: int, __: int) -> Results:
        if not events or events & ~EVENTS:
            raise ValueError(f"events {events:#x}")
        return self._program.send(events, tcs), 0

    def insecure_time(self, _: int, __: int, ___: int, ____: int) -> Results:
        """Without InsecureTimeInfo: the enclave asks each time."""
        return time.time_ns() & (1 << 64) - 1, 0

    # Memory.

    def alloc(self, size: int, align: int, _: int, __: int) -> Results:
        if not size or not align or align & align - 1:
            raise ValueError(f"{size} bytes aligned to {align}")
        try:
            return Error.SUCCESS, self._program.allocate(size, align)
        except HostError:
            return Error.OTHER, 0

    def free(self, address: int, size: int, _align: int, _: int) -> Results:
        if size:
            self._program.free(address, size)
        return 0, 0

    def async_queues(self, _: int, __: int, ___: int, ____: int) -> Results:
        """Refused, as a host may: the program makes its calls one after the other then, or gives up."""
        LOGGER.warning("%s: asynchronous usercalls are not supported", self._program.enclave.image.path)
        return Error.OTHER, 0


def _results(given: Any) -> Results:
    """Of a user's callable: two numbers, one, or none."""
    if given is None:
        return 0, 0
    first, second = given if isinstance(given, tuple) else (given, 0)
    return int(first) & (1 << 64) - 1, int(second) & (1 << 64) - 1
