"""The memory of the process with the enclaves, as its untrusted code sees it."""

from __future__ import annotations

import contextlib
import struct
import sys
import threading
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Protocol, Self

from enclu.host.arena import Arena, Blocks, Given
from enclu.host.errors import HostError
from enclu.host.thread import HostThread, executing

ABORT = 0xFF
"""What code outside an enclave reads from it (SDM 3D, abort page semantics)."""
_IOVEC = struct.Struct("<QQ")


class Elrange(Protocol):
    """Where an enclave is."""

    base: int
    size: int


class Owner(Protocol):
    """The process, as its memory knows it."""

    arena: Arena
    pid: int

    @property
    def enclaves(self) -> Sequence[Elrange]: ...

    def check(self) -> None:
        """Raises HostError, ProcessDied where there is no memory to reach."""

    def thread(self) -> HostThread:
        """The calling Python thread's own."""

    def broken(self) -> HostThread | None:
        """A thread of the calling one's that still does what nobody waits for any more."""


class Lending:
    """Memory for the length of a `with`, which gets this.

    What an exception that broke in has left of it goes back later (`tidy`) if it is the host's own, whose functions are
    no generators: their frames tell whether they are executed.
    """

    def __init__(self, memory: Memory, *, own: bool) -> None:
        self._memory, self._own = memory, own
        self.blocks = Blocks(memory.arena)
        self.frame: FrameType | None = None

    def allocate(self, size: int, align: int = 16) -> int:
        """As Memory.allocate, until the end of the `with`."""
        return self._memory.take(size, align, self.blocks)

    def give(self, to: Given) -> None:
        """The last block goes to another holder."""
        to.add(self.blocks)

    def read(self, address: int, length: int) -> bytes:
        """As Memory.read."""
        return self._memory.read(address, length)

    def write(self, address: int, data: bytes) -> None:
        """As Memory.write."""
        self._memory.write(address, data)

    def __enter__(self) -> Self:
        self._begin(sys._getframe(1))
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _begin(self, frame: FrameType) -> None:
        if self._own:
            self.frame = frame
            self._memory.lent.append(self)

    def close(self) -> None:
        """Give it back, unless a system call that was broken into may still use it.  May be called again."""
        self._memory.keep(self.blocks)
        if self._own:
            self.frame = None
            with contextlib.suppress(ValueError):
                self._memory.lent.remove(self)


class Temporary:
    """One block of memory for the length of a `with`, which gets its address."""

    def __init__(self, memory: Memory, content: bytes | int, align: int, *, own: bool = False) -> None:
        self._memory, self._lending = memory, Lending(memory, own=own)
        self._content, self._align = content, align

    def __enter__(self) -> int:
        self._lending._begin(sys._getframe(1))
        return self._memory.put(self._content, self._align, self._lending.blocks)

    def __exit__(self, *error: object) -> None:
        self._lending.close()


class Memory:
    """Addresses of the process.  What `allocate` gives is shared with this process and quick to reach."""

    def __init__(self, process: Owner) -> None:
        self._process = process
        self.arena = process.arena
        self._of_python_thread = threading.local()

    def allocate(self, size: int, align: int = 16) -> int:
        """The address of `size` bytes of zeros, readable and writable.  Raises HostError when there are none left."""
        self._process.check()
        return self.arena.allocate(size, align)

    def free(self, address: int) -> None:
        """Give back what `allocate` gave.  Raises HostError for any other address."""
        self.arena.free(address)

    def take(self, size: int, align: int, holder: Blocks) -> int:
        """As `allocate`, for a holder that gives back what it has itself."""
        self._process.check()
        return self.arena.take(size, align, holder)

    def put(self, content: bytes | int, align: int, holder: Blocks) -> int:
        """As `take`, of memory with this content, or of this many zeros."""
        if isinstance(content, int):
            return self.take(max(content, 1), align, holder)
        address = self.take(max(len(content), 1), align, holder)
        self.write(address, content)
        return address

    def temporary(self, content: bytes | int, align: int = 64) -> Temporary:
        """Memory with this content, or of this many bytes, for the length of a `with`, which gets the address."""
        return Temporary(self, content, align)

    def own(self, content: bytes | int, align: int = 64) -> Temporary:
        """As `temporary`, for functions of the host."""
        return Temporary(self, content, align, own=True)

    def lending(self) -> Lending:
        """Any number of blocks, for functions of the host."""
        return Lending(self, own=True)

    @property
    def lent(self) -> list[Lending]:
        """What functions of the host have, of the calling Python thread."""
        found: list[Lending] | None = getattr(self._of_python_thread, "lent", None)
        if found is None:
            found = self._of_python_thread.lent = []
        return found

    def tidy(self) -> None:
        """Give back what functions of the host have left that were broken into."""
        for lending in list(self.lent):
            if not executing(lending.frame):
                lending.close()

    def keep(self, blocks: Blocks) -> None:
        """Give blocks back, or have them kept as long as a system call that was broken into may use them."""
        thread = self._process.broken()
        while blocks and thread is not None:
            thread.kept.extend(map(list.pop, (blocks,)))
        blocks.give_back()

    def read(self, address: int, length: int) -> bytes:
        """The bytes there.  An enclave's ELRANGE reads as ones.  Raises HostError where nothing is mapped."""
        self._process.check()
        offset = self.arena.offset(address, length)
        if offset is not None:
            return self.arena.map[offset : offset + length]
        out = bytearray()
        for start, end, within in self._pieces(address, length):
            out += bytes([ABORT]) * (end - start) if within else self._copy("process_vm_readv", start, end - start)
        return bytes(out)

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Store bytes.  Writes to an enclave are lost.  Raises HostError where nothing writable is mapped."""
        self._process.check()
        offset = self.arena.offset(address, len(data))
        if offset is not None:
            self.arena.map[offset : offset + len(data)] = bytes(data)
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
            self.own(data or length) as buffer,
            self.own(_IOVEC.pack(buffer, length) + _IOVEC.pack(address, length)) as vectors,
        ):
            try:
                done = process.thread().syscall(call, process.pid, vectors, 1, vectors + _IOVEC.size, 1, 0)
            except OSError as error:
                raise HostError(f"{length} bytes at {address:#x}: {error.strerror}") from None
            if done != length:
                raise HostError(f"{length} bytes at {address:#x}: only {done} of them are mapped")
            return self.read(buffer, length)
