"""Tickets: TCSes of which all is checked that EENTER and ERESUME check, but STATE, CSSA, AEP and what an SSA holds.

A ticket is what `linux/vdso/in_process.h` enters by: numbers that follow from the checks, and for each CSSA the last
two instructions.  It is valid while its first word is the TCS's address.  Whoever changes what was checked revokes it
first, and then has every thread leave that may have used it meanwhile: its slot had the TCS before it looked again.
Only what begins a tracking epoch leaves it valid: the epoch is read again behind that look.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from enclu.base.fence import full_fence
from enclu.sgx.epc import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

FIELDS = (
    "KEY", "TCS", "GPRSGX", "FRAME_SIZE", "FRAMES", "TF", "FS", "GS", "EID", "BASE", "SIZE", "EPOCH", "NARROW", "XFRM",
    "ENTRY",
)  # fmt: skip
"""Little-endian 64-bit words, in this order from the ticket's beginning."""
_WORDS = struct.Struct(f"<{len(FIELDS)}Q")
_ENTRY_AT = 8 * FIELDS.index("ENTRY")
_FRAMES, _EPOCH = FIELDS.index("FRAMES"), FIELDS.index("EPOCH")
STUBS, STUB_SIZE = 128, 16
"""Where a ticket has `mov $CSSA, %eax; jmp *ENTRY` for each CSSA."""
SIZE_SHIFT, BITS, HASH = 8, 10, 0x9E37_79B1
SIZE = 1 << SIZE_SHIFT
FRAMES = (SIZE - STUBS) // STUB_SIZE
"""CSSAs that a ticket has code for."""
_WORD = (1 << 64) - 1


@dataclass(frozen=True)
class Entry:
    """What an EENTER at a TCS does, all checks passed."""

    tcs_la: int
    tcs: int
    """Where code in the process sees the TCS."""
    gprsgx: int
    """Address of GPRSGX in SSA frame 0."""
    frame_size: int
    frames: int
    """SSA frames that were checked, from 0 on."""
    fs: int
    gs: int
    eid: int
    base: int
    size: int
    epoch: int
    narrow: int
    """XCR0 & ~XFRM."""
    xfrm: int
    entry: int

    def ticket(self) -> bytes:
        """The bytes, not valid yet, and without what may change while it is valid: frames and epoch."""
        words = (
            0, self.tcs, self.gprsgx, self.frame_size, 0, 0, self.fs, self.gs, self.eid,
            self.base, self.size, 0, self.narrow, self.xfrm, self.entry,
        )  # fmt: skip
        image = bytearray(SIZE)
        _WORDS.pack_into(image, 0, *(word & _WORD for word in words))
        for cssa in range(FRAMES):
            at = STUBS + cssa * STUB_SIZE
            stub = b"\xb8" + struct.pack("<I", cssa) + b"\xff\x25"
            stub += struct.pack("<i", _ENTRY_AT - (at + len(stub) + 4))
            image[at : at + len(stub)] = stub
        return bytes(image)

    def depends_on(self, start: int, end: int) -> bool:
        """The TCS, or a page of an SSA frame, is in [start, end)."""
        first = (self.gprsgx & -PAGE_SIZE) + PAGE_SIZE - self.frame_size
        last = first + self.frames * self.frame_size
        return (start < last and first < end) or (start < self.tcs_la + PAGE_SIZE and self.tcs_la < end)


def place_of(tcs_la: int) -> int:
    """Where the ticket of a TCS is among its address space's, in bytes."""
    return ((tcs_la >> 12) * HASH & 0xFFFF_FFFF) >> (32 - BITS) << SIZE_SHIFT


class Tickets:
    """Those of one address space."""

    def __init__(self, memory: memoryview) -> None:
        self._memory = memory
        self._words = memory.cast("Q")
        self._valid: dict[int, Entry] = {}
        """By TCS."""
        self._at: dict[int, int] = {}
        """Place -> TCS, of those."""
        self._written: dict[int, bytes] = {}

    def valid(self, tcs_la: int) -> bool:
        return tcs_la in self._valid

    def frames(self, tcs_la: int) -> int:
        """SSA frames, from 0 on, with which the TCS is entered by a valid ticket; 0 without one."""
        entry = self._valid.get(tcs_la)
        return 0 if entry is None else min(entry.frames, FRAMES)

    def free(self, tcs_la: int) -> bool:
        """No other TCS has a valid ticket in its place."""
        return self._at.get(place_of(tcs_la), tcs_la) == tcs_la

    def suspend(self, tcs_la: int) -> None:
        """Nobody enters by the TCS's ticket, if it has one, until it is to `resume`."""
        if tcs_la in self._valid:
            self._words[place_of(tcs_la) >> 3] = 0
            full_fence()

    def resume(self, tcs_la: int) -> bool:
        """The TCS's ticket is used again, unless it has been revoked meanwhile; whether it has one."""
        if tcs_la not in self._valid:
            return False
        self._words[place_of(tcs_la) >> 3] = tcs_la
        return True

    def issue(self, entry: Entry, rewriting: Callable[[], None]) -> None:
        """Make a ticket valid whose place is `free`, or have a valid one say more frames.

        `rewriting` is called before the bytes of one change that threads may be executing.
        """
        at, image = place_of(entry.tcs_la), entry.ticket()
        if self._written.get(at) != image:
            if at in self._written:
                rewriting()
            self._memory[at + 8 : at + SIZE] = image[8:]
            self._written[at] = image
        self._valid[entry.tcs_la], self._at[at] = entry, entry.tcs_la
        self._words[(at >> 3) + _FRAMES] = min(entry.frames, FRAMES)
        self._words[(at >> 3) + _EPOCH] = entry.epoch
        self._words[at >> 3] = entry.tcs_la

    def begin_epoch(self, eid: int, epoch: int) -> None:
        """Who claims a TCS of this enclave from now on enters it in this epoch."""
        for tcs_la, entry in self._valid.items():
            if entry.eid == eid:
                self._words[(place_of(tcs_la) >> 3) + _EPOCH] = epoch
        # Who has claimed one before has it in its slot by now, with an epoch that it had read before.
        full_fence()

    def revoke(self, eid: int | None = None, pages: Collection[tuple[int, int]] | None = None) -> None:
        """None of this enclave, or none at all, is valid when this returns.

        Of `pages`, ranges of addresses, only those that depend on one.
        """
        gone = [
            tcs_la
            for tcs_la, entry in self._valid.items()
            if (eid is None or entry.eid == eid)
            and (pages is None or any(entry.depends_on(start, end) for start, end in pages))
        ]
        for tcs_la in gone:
            place = place_of(tcs_la)
            self._words[place >> 3] = 0
            del self._valid[tcs_la], self._at[place]
        if gone:
            # Who has claimed a TCS before has it in its slot by now, who does later finds the ticket revoked.
            full_fence()
