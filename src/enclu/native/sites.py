"""Instructions of a program that were changed: each with what stood there before.

The driver and the designs read what stood there: the pages of an enclave may come from a file that is mapped to be
executed.  The program itself sees the change, and so does who writes its text to a file.  A site is one only while its
replacement stands there: unmapping, remapping and writing over it end it, with nobody having to tell.  Enclaves have
none: see `narrowed`.
"""

from __future__ import annotations

import enum
import struct
from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from enclu.native.address_space import AddressSpace


JUMP_SIZE = 5


def jump(at: int, target: int) -> bytes:
    """JMP rel32 at an address."""
    return struct.pack("<Bi", 0xE9, target - at - JUMP_SIZE)


class Kind(enum.Enum):
    """What was replaced."""

    CPUID = enum.auto()
    PATH_CALL = enum.auto()
    ENCLU = enum.auto()


class Site(NamedTuple):
    """One of them."""

    kind: Kind
    original: bytes
    replacement: bytes


class Sites:
    """Those of an address space, by address."""

    def __init__(self) -> None:
        self._sites: dict[int, Site] = {}
        self._addresses: list[int] | None = []
        """In order; None where that is still to be found out."""
        self._longest = 0

    def put(
        self, space: AddressSpace, address: int, kind: Kind, original: bytes, replacement: bytes,
        poke: Callable[[AddressSpace, int, bytes], None] | None = None,
    ) -> None:  # fmt: skip
        """Replace what stands at the address, as many bytes, by `poke` if nobody else is to come in between.

        Raises OSError where that cannot be written.
        """
        (poke or type(space).poke)(space, address, replacement)
        self.note(address, kind, original, replacement)

    def note(self, address: int, kind: Kind, original: bytes, replacement: bytes) -> None:
        """The replacement stands there."""
        assert len(original) == len(replacement)
        self._sites[address] = Site(kind, original, replacement)
        self._addresses = None
        self._longest = max(self._longest, len(original))

    def stands(self, space: AddressSpace, address: int, kind: Kind) -> bool:
        """A replacement of this kind is at the address."""
        site = self._sites.get(address)
        return site is not None and site.kind is kind and space.peek(address, len(site.replacement)) == site.replacement

    def take_back(
        self, space: AddressSpace, kind: Kind, start: int, end: int,
        poke: Callable[[AddressSpace, int, bytes], None] | None = None,
    ) -> list[int]:  # fmt: skip
        """Have the originals stand again where replacements of this kind are in [start, end); where that was."""
        found = []
        for address in self._near(start, end):
            site = self._sites[address]
            if site.kind is kind and start < address + len(site.original):
                if self.stands(space, address, kind):
                    (poke or type(space).poke)(space, address, site.original)
                    found.append(address)
                del self._sites[address]
                self._addresses = None
        return found

    def _near(self, start: int, end: int) -> list[int]:
        """Addresses of replacements that may reach into [start, end)."""
        if self._addresses is None:
            self._addresses = sorted(self._sites)
        first = bisect_left(self._addresses, start - self._longest + 1)
        return self._addresses[first : bisect_left(self._addresses, end)]

    def give_originals(self, address: int, view: memoryview) -> None:
        """Correct what was read from the address on."""
        if not self._sites:
            return
        end = address + len(view)
        for at in self._near(address, end):
            site = self._sites[at]
            low, high = max(at, address), min(at + len(site.original), end)
            if low < high and view[low - address : high - address] == site.replacement[low - at : high - at]:
                view[low - address : high - address] = site.original[low - at : high - at]

    def copy(self) -> Sites:
        """Those of a forked child."""
        child = Sites()
        child._sites, child._addresses, child._longest = dict(self._sites), None, self._longest
        return child
