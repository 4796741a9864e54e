"""gdb's remote serial protocol, as far as it is about bytes: packets, acknowledgements, a debugger's Ctrl-C.

GDB manual, appendix "Remote Protocol", sections "Overview" and "Interrupts".
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator

PACKET_SIZE = 0x4000
"""Bytes of a packet's contents that both sides take."""
INTERRUPT = b"\x03"
_PATIENCE = 10.0
"""Seconds that a debugger may take to read what it is told."""
_ESCAPED = frozenset(b"#$}*")
_ESCAPE, _XOR = 0x7D, 0x20


class ConnectionLost(Exception):
    """The debugger has gone away, or does not read."""


def escaped(data: bytes) -> bytes:
    """Binary data as a packet may have it."""
    if _ESCAPED.isdisjoint(data):
        return data
    out = bytearray()
    for byte in data:
        if byte in _ESCAPED:
            out += bytes((_ESCAPE, byte ^ _XOR))
        else:
            out.append(byte)
    return bytes(out)


def plain(data: bytes) -> bytes:
    """Undo `escaped`."""
    if _ESCAPE not in data:
        return data
    out, parts = bytearray(), iter(data)
    for byte in parts:
        out.append(next(parts, _XOR) ^ _XOR if byte == _ESCAPE else byte)
    return bytes(out)


class Packets:
    """One connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        connection.settimeout(_PATIENCE)
        if connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = bytearray()
        self._last = b""
        self.acknowledged = True
        """Each packet is, until both have agreed that none is (QStartNoAckMode)."""

    def fileno(self) -> int:
        return self._connection.fileno()

    def close(self) -> None:
        self._connection.close()

    def shut(self) -> None:
        """Nothing more is said; `receive` will find that it is over."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def receive(self) -> Iterator[bytes]:
        """The packets that have come, or INTERRUPT.  Call it when there is something to read.

        Raises ConnectionLost.
        """
        try:
            data = self._connection.recv(1 << 16)
        except OSError as error:
            raise ConnectionLost(error.strerror) from None
        if not data:
            raise ConnectionLost("closed")
        self._received += data
        while self._received:
            first = self._received[:1]
            if first == b"$":
                packet = self._next()
                if packet is None:
                    return
                yield from packet
                continue
            del self._received[:1]
            if first == INTERRUPT:
                yield INTERRUPT
            elif first == b"-" and self.acknowledged:
                self._write(self._last)  # else an acknowledgement, or noise

    def _next(self) -> list[bytes] | None:
        """The packet that has begun, if it is as it was sent; None if it is not whole yet."""
        received = self._received
        end = received.find(b"#")
        if end < 0 or len(received) < end + 3:
            if len(received) > 4 * PACKET_SIZE:
                raise ConnectionLost("a packet without an end")
            return None
        body, checksum = bytes(received[1:end]), bytes(received[end + 1 : end + 3])
        del received[: end + 3]
        if self.acknowledged:
            right = checksum.lower() == b"%02x" % (sum(body) & 0xFF)
            self._write(b"+" if right else b"-")
            if not right:
                return []
        return [body]

    def send(self, body: bytes) -> None:
        """Raises ConnectionLost."""
        self._last = b"$%s#%02x" % (body, sum(body) & 0xFF)
        self._write(self._last)

    def console(self, text: str) -> None:
        """Have the debugger show a text, while it waits for the program."""
        self.send(b"O" + text.encode(errors="backslashreplace").hex().encode())

    def _write(self, data: bytes) -> None:
        try:
            self._connection.sendall(data)
        except OSError as error:
            raise ConnectionLost(error.strerror or "it does not read") from None


class AddressError(ValueError):
    """Nothing can listen there; the message says why."""


def listen(where: str) -> socket.socket:
    """Listen at [HOST:]PORT, HOST being this machine alone unless another is named, or at the PATH of a Unix socket.

    The socket is the user's alone.  Raises AddressError.
    """
    host, _, port = where.rpartition(":")
    try:
        if not port.isdigit() or "/" in where:
            return _listen_at_path(where)
        number = int(port)
        if number > 0xFFFF:
            raise AddressError(f"{port} is no port")
        host = host.strip("[]") or "127.0.0.1"
        family, _, _, _, address = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1)
        return listener
    except OSError as error:
        raise AddressError(error.strerror or str(error)) from None


def _listen_at_path(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(path)
    finally:
        os.umask(before)
    listener.listen(1)
    return listener


def name_of(listener: socket.socket) -> str:
    """As gdb's `target remote` wants it."""
    if listener.family == socket.AF_UNIX:
        return str(listener.getsockname())
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def remove(listener: socket.socket) -> None:
    """Nobody listens any more."""
    name = listener.getsockname()
    listener.close()
    if isinstance(name, str) and name:
        with contextlib.suppress(OSError):  # somebody has removed it
            os.unlink(name)
