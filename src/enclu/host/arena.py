"""Memory that Python shares with the agent: the untrusted memory that enclaves and their host exchange data in.

An exception (KeyboardInterrupt, say) may break into Python between any two bytecodes.  So there are no locks here that
could stay locked, and a block goes from the list of free ones to its holder, or back, within one call of a function in
C: it is always in exactly one of them.
"""

from __future__ import annotations

import contextlib
import functools
import mmap
import operator
import os

from enclu.host.errors import HostError
from enclu.sgx.epc import PAGE_SIZE

ADDRESS = 0x10_0000_0000
"""Where every agent has it."""
SIZE = 1 << 32
"""Bytes of addresses; memory is taken only where something is stored."""
_ROUND = 64
"""Blocks begin on cache lines."""
_ALIGN = 1 << 21
"""Larger blocks are aligned to this much, unless they are to be to more."""


class Blocks(list[int]):
    """Addresses of blocks that somebody holds."""

    def __init__(self, arena: Arena) -> None:
        self.arena = arena

    def give_back(self) -> None:
        """All of them.  May be broken into, and called again."""
        while self:
            self.arena.free_like(self[-1]).extend(map(list.pop, (self,)))


class Given(dict[int, int]):
    """Addresses of blocks, by themselves, that somebody was given who gives each back by its address."""

    def __init__(self, arena: Arena) -> None:
        self.arena = arena

    def add(self, blocks: Blocks) -> None:
        """The last of the blocks, which is the holder's no more."""
        self.update(zip(map(list.pop, (blocks,)), (blocks[-1],), strict=True))

    def free(self, address: int) -> None:
        """Raises KeyError."""
        self.arena.free_like(address).extend(map(self.pop, (address,)))

    def give_back(self) -> None:
        """All of them.  May be broken into, and called again."""
        for address in list(self):
            with contextlib.suppress(KeyError):
                self.free(address)


class Arena:
    """A memfd, mapped here and in the agent.  Addresses are the agent's."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("enclu-arena", os.MFD_CLOEXEC)
        os.ftruncate(self.fd, SIZE)
        self.map = mmap.mmap(self.fd, SIZE)
        self.address = ADDRESS
        self._free: dict[int, list[int]] = {}
        """By the size of the blocks."""
        self._sizes: dict[int, int] = {}
        """Of all blocks there have ever been: they are never divided."""
        self._given = Given(self)
        """What `allocate` gave."""
        self._claims: dict[int, tuple[int]] = {}
        """Ends of what was cut off, by its start: the end of the one is the start of the next."""
        self._next = PAGE_SIZE  # the first page has struct hello

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.fd)

    def unmap(self) -> None:
        """Give the memory back, unless somebody still looks at it: then it goes with him."""
        with contextlib.suppress(BufferError):
            self.map.close()

    def offset(self, address: int, length: int) -> int | None:
        """Where the bytes are in `map`; None unless all of them are."""
        offset = address - self.address
        return offset if offset >= 0 and offset + length <= SIZE else None

    def take(self, size: int, align: int, holder: Blocks) -> int:
        """The address of `size` bytes, zero, which `holder` has from now on.  `align` is a power of two.

        Raises HostError when none are left.
        """
        if size < 0 or align <= 0 or align & align - 1:
            raise HostError(f"cannot allocate {size} bytes aligned to {align}")
        # Blocks of a class are as large as each other, so that one fits where another was.
        block = max(_ROUND, 1 << (max(size, align) - 1).bit_length())
        try:
            holder.extend(map(list.pop, (self._free.setdefault(block, []),)))
        except IndexError:
            self._cut(block, align, holder)
            return holder[-1]
        address = holder[-1]
        self.map[address - self.address : address - self.address + size] = bytes(size)
        return address

    def allocate(self, size: int, align: int = 16) -> int:
        """As `take`, for a holder who gives it back by `free`."""
        holder = Blocks(self)
        address = self.take(size, align, holder)
        self._given.add(holder)
        return address

    def free(self, address: int) -> None:
        """Give a block back.  Raises HostError for an address that `allocate` did not give."""
        try:
            self._given.free(address)
        except KeyError:
            raise HostError(f"{address:#x} is not allocated") from None

    def free_like(self, address: int) -> list[int]:
        """The free blocks that are as large as this one."""
        return self._free[self._sizes[address]]

    @property
    def blocks(self) -> list[tuple[int, int]]:
        """Address and size of every block that somebody holds, in their order."""
        free = {address for blocks in self._free.values() for address in blocks}
        return sorted((address, size) for address, size in self._sizes.items() if address not in free)

    def settle(self) -> None:
        """The blocks that are taken next are where they would be whatever was free before: the lowest ones."""
        for blocks in self._free.values():
            blocks.sort(reverse=True)

    @property
    def held(self) -> int:
        """How many blocks somebody holds."""
        return len(self._sizes) - sum(map(len, self._free.values()))

    def _cut(self, block: int, align: int, holder: Blocks) -> None:
        """Where there was no block yet.  The first to claim a start has it; who is broken into loses addresses."""
        step = max(min(block, _ALIGN), align)
        while True:
            start, base = self._next, -(-self._next // step) * step
            if base + block > SIZE:
                raise HostError(f"no {block} bytes of untrusted memory are left of {SIZE >> 20} MiB")
            mine = (base + block,)
            theirs = self._claims.setdefault(start, mine)
            self._next = max(self._next, theirs[0])
            if theirs is mine:
                address = self.address + base
                # Both at once: `any` calls them, and they return None.
                both = (
                    functools.partial(self._sizes.__setitem__, address, block),
                    functools.partial(holder.append, address),
                )
                any(map(operator.call, both))
                return
