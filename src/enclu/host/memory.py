"""The memory of the process with the enclaves, as its untrusted code sees it."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING

from enclu.host.errors import HostError

if TYPE_CHECKING:
    from enclu.host.process import Process

ABORT = 0xFF
"""What code outside an enclave reads from it (SDM 3D, abort page semantics)."""
_IOVEC = struct.Struct("<QQ")


class Memory:
    """Addresses of the process.  What `allocate` gives is shared with this process and quick to reach."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._arena = process.arena

    def allocate(self, size: int, align: int = 16) -> int:
        """The address of `size` bytes of zeros, readable and writable.  Raises HostError when there are none left."""
        return self._arena.allocate(size, align)

    def free(self, address: int) -> None:
        """Give back what `allocate` gave.  Raises HostError for any other address."""
        self._arena.free(address)

    @contextlib.contextmanager
    def temporary(self, content: bytes | int, align: int = 64) -> Iterator[int]:
        """Memory with this content, or of this many bytes, for the length of a `with`."""
        size = content if isinstance(content, int) else len(content)
        address = self.allocate(max(size, 1), align)
        try:
            if not isinstance(content, int):
                self.write(address, content)
            yield address
        finally:
            self.free(address)

    def read(self, address: int, length: int) -> bytes:
        """The bytes there.  An enclave's ELRANGE reads as ones.  Raises HostError where nothing is mapped."""
        offset = self._arena.offset(address, length)
        if offset is not None:
            return self._arena.map[offset : offset + length]
        out = bytearray()
        for start, end, within in self._pieces(address, length):
            out += bytes([ABORT]) * (end - start) if within else self._copy("process_vm_readv", start, end - start)
        return bytes(out)

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Store bytes.  Writes to an enclave are lost.  Raises HostError where nothing writable is mapped."""
        offset = self._arena.offset(address, len(data))
        if offset is not None:
            self._arena.map[offset : offset + len(data)] = bytes(data)
            return
        for start, end, within in self._pieces(address, len(data)):
            if not within:
                self._copy("process_vm_writev", start, end - start, bytes(data[start - address : end - address]))

    def read_string(self, address: int, limit: int = 1 << 20) -> bytes:
        """Bytes up to a zero.  Raises HostError if there is none within `limit` bytes."""
        out = b""
        while len(out) < limit:
            chunk = self.read(address + len(out), min(4096 - (address + len(out)) % 4096, limit - len(out)))
            end = chunk.find(b"\0")
            if end >= 0:
                return out + chunk[:end]
            out += chunk
        raise HostError(f"no string of less than {limit} bytes at {address:#x}")

    def _pieces(self, address: int, length: int) -> Iterator[tuple[int, int, bool]]:
        """(start, end, of an enclave) of the parts, in order."""
        if address < 0 or length < 0 or address + length > 1 << 64:
            raise HostError(f"{length} bytes at {address:#x} are no addresses")
        end = address + length
        for enclave in sorted(self._process.enclaves, key=lambda e: e.base):
            if address >= end:
                break
            if enclave.base < end and address < enclave.base + enclave.size:
                if address < enclave.base:
                    yield address, enclave.base, False
                    address = enclave.base
                stop = min(end, enclave.base + enclave.size)
                yield address, stop, True
                address = stop
        if address < end:
            yield address, end, False

    def _copy(self, call: str, address: int, length: int, data: bytes = b"") -> bytes:
        """By the process itself, which is told of a bad address rather than dying of it."""
        process = self._process
        with (
            self.temporary(data or length) as buffer,
            self.temporary(_IOVEC.pack(buffer, length) + _IOVEC.pack(address, length)) as vectors,
        ):
            try:
                done = process.thread().syscall(call, process.pid, vectors, 1, vectors + _IOVEC.size, 1, 0)
            except OSError as error:
                raise HostError(f"{length} bytes at {address:#x}: {error.strerror}") from None
            if done != length:
                raise HostError(f"{length} bytes at {address:#x}: only {done} of them are mapped")
            return self.read(buffer, length)
