"""What an EDP program reads from and writes to: standard streams, which are Python's, and sockets."""

from __future__ import annotations

import contextlib
import errno
import io
import itertools
import select
import socket
import sys
from collections.abc import Callable
from typing import Any, BinaryIO

from enclu.host.conventions.edp.abi import FD_STDERR, FD_STDIN, FD_STDOUT

SLICE = 0.05
"""Seconds after which a thread that waits for data looks whether it still shall."""
MOST_DATA = 1 << 20
"""Bytes of one read or write; the ABI has callers repeat."""
BACKLOG = 128
MOST_STREAMS = 1024

Going = Callable[[], None]
"""Raises something when whoever waits shall no longer."""


class Stream:
    """A stream of the ABI around a Python object: a socket, or a file of bytes (of text, if it has no `buffer`)."""

    def __init__(self, target: Any) -> None:
        self.target = target
        if isinstance(target, socket.socket):
            target.settimeout(SLICE)

    def read(self, limit: int, going: Going) -> bytes:
        """Up to so many bytes, none at the end.  Raises OSError."""
        if isinstance(self.target, socket.socket):
            target = self.target
            return bytes(_repeated(lambda: target.recv(limit), going))
        file = _binary(self.target)
        _await_readable(file, going)
        read = getattr(file, "read1", file.read)
        data = read(limit)
        return data.encode() if isinstance(data, str) else data or b""

    def write(self, data: bytes, going: Going) -> int:
        """How many of the bytes were written.  Raises OSError."""
        if isinstance(self.target, socket.socket):
            target = self.target
            return int(_repeated(lambda: target.send(data), going))
        file = _binary(self.target)
        if isinstance(file, io.TextIOBase):
            file.write(data.decode("utf-8", "replace"))
            return len(data)
        written = file.write(data)
        return len(data) if written is None else written

    def flush(self) -> None:
        if not isinstance(self.target, socket.socket):
            self.target.flush()

    def close(self) -> None:
        if isinstance(self.target, socket.socket):
            self.target.close()


class Listener:
    """A socket that accepts connections."""

    def __init__(self, target: socket.socket) -> None:
        self.target = target
        target.settimeout(SLICE)

    def accept(self, going: Going) -> socket.socket:
        connection: socket.socket = _repeated(self.target.accept, going)[0]
        return connection

    def close(self) -> None:
        self.target.close()


class Streams:
    """By file descriptor."""

    def __init__(self, stdin: BinaryIO | None, stdout: BinaryIO | None, stderr: BinaryIO | None) -> None:
        self._open: dict[int, Stream | Listener] = {
            FD_STDIN: Stream(stdin or sys.stdin),
            FD_STDOUT: Stream(stdout or sys.stdout),
            FD_STDERR: Stream(stderr or sys.stderr),
        }
        self._next = itertools.count(FD_STDERR + 1)

    def add(self, stream: Stream | Listener) -> int:
        """Its descriptor.  Raises OSError if there are too many."""
        if len(self._open) >= MOST_STREAMS:
            stream.close()
            raise OSError(errno.EMFILE, "too many streams")
        fd = next(self._next)
        self._open[fd] = stream
        return fd

    def stream(self, fd: int) -> Stream:
        found = self._open.get(fd)
        if not isinstance(found, Stream):
            raise ValueError(f"descriptor {fd} is no stream")
        return found

    def listener(self, fd: int) -> Listener:
        found = self._open.get(fd)
        if not isinstance(found, Listener):
            raise ValueError(f"descriptor {fd} does not listen")
        return found

    def close(self, fd: int) -> None:
        """Nothing if there is none."""
        stream = self._open.pop(fd, None)
        if stream is not None:
            stream.close()

    def close_all(self) -> None:
        for fd in list(self._open):
            stream = self._open.get(fd)
            with contextlib.suppress(OSError, ValueError):
                if isinstance(stream, Stream):
                    stream.flush()
            self.close(fd)


def parse(address: str) -> tuple[str, int]:
    """HOST:PORT, with an IPv6 host in brackets.  Raises ValueError."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 0xFFFF:
        raise ValueError(f"{address!r} is not HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)


def connect(address: str, going: Going) -> socket.socket:
    """Raises OSError, ValueError."""
    going()
    return socket.create_connection(parse(address), timeout=30)


def listen(address: str) -> socket.socket:
    """Raises OSError, ValueError."""
    host, port = parse(address)
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    return socket.create_server((host, port), family=family, backlog=BACKLOG)


def name(address: Any) -> str:
    """What getsockname() and getpeername() give, as the ABI has addresses."""
    if not isinstance(address, tuple):
        return str(address)
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _repeated(call: Callable[[], Any], going: Going) -> Any:
    """The call, whose socket has a short timeout, until it has succeeded."""
    while True:
        going()
        with contextlib.suppress(TimeoutError):
            return call()


def _binary(file: Any) -> Any:
    """What is below a text stream, if there is something."""
    return getattr(file, "buffer", file)


def _await_readable(file: Any, going: Going) -> None:
    """Wait until there is something to read, where that can be told: files of an operating system's."""
    try:
        fd = file.fileno()
        ready = select.select([fd], [], [], 0)[0]
    except (OSError, ValueError, AttributeError, TypeError):
        return
    while not ready:
        going()
        ready = select.select([fd], [], [], SLICE)[0]
