"""Memory that Python shares with the agent: the untrusted memory that enclaves and their host exchange data in."""

from __future__ import annotations

import mmap
import os
import threading

from enclu.host.errors import HostError

ADDRESS = 0x10_0000_0000
"""Where every agent has it."""
SIZE = 1 << 32
"""Bytes of addresses; memory is taken only where something is stored."""
PAGE = 4096
_ROUND = 64
"""Blocks begin on cache lines."""


class Arena:
    """A memfd, mapped here and in the agent.  Addresses are the agent's."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("enclu-arena", os.MFD_CLOEXEC)
        os.ftruncate(self.fd, SIZE)
        self.map = mmap.mmap(self.fd, SIZE)
        self.address = ADDRESS
        self._lock = threading.Lock()
        self._next = PAGE  # the first page has struct hello
        self._free: dict[int, list[int]] = {}
        self._sizes: dict[int, int] = {}

    def close(self) -> None:
        """Give the memory back.  What still looks at it keeps it alive."""
        os.close(self.fd)

    def offset(self, address: int, length: int) -> int | None:
        """Where the bytes are in `map`; None unless all of them are."""
        offset = address - self.address
        return offset if offset >= 0 and offset + length <= SIZE else None

    def allocate(self, size: int, align: int = 16) -> int:
        """The address of `size` bytes, zero.  `align` is a power of two.  Raises HostError when none are left."""
        if size < 0 or align <= 0 or align & align - 1:
            raise HostError(f"cannot allocate {size} bytes aligned to {align}")
        # Blocks of a class are as large as each other, so that one fits where another was.
        block = max(_ROUND, 1 << (max(size, align) - 1).bit_length())
        with self._lock:
            free = self._free.get(block)
            if free:
                address = free.pop()
                self.map[address - self.address : address - self.address + size] = bytes(size)
            else:
                start = -(-self._next // min(block, 1 << 21)) * min(block, 1 << 21)
                start = -(-start // align) * align
                if start + block > SIZE:
                    raise HostError(f"no {size} bytes of untrusted memory are left of {SIZE >> 20} MiB")
                self._next = start + block
                address = self.address + start
            self._sizes[address] = block
        return address

    def free(self, address: int) -> None:
        """Give a block back.  Raises HostError for an address that `allocate` did not give."""
        with self._lock:
            block = self._sizes.pop(address, None)
            if block is None:
                raise HostError(f"{address:#x} is not allocated")
            self._free.setdefault(block, []).append(address)
