"""System calls that name a path, most of which are none of ours, kept from stopping; and ioctl(2), for `add_queue`.

A seccomp filter cannot read a path, so each open and stat would stop for the supervisor to look at it.  Where a C
library makes such a call, its code is replaced by a jump to a slot in the vDSO's area, of which there is one for each
place.  The slot has the vDSO image's filter (linux/vdso/common.h) look at the path: the call is then made either in
the slot, from where no call stops, or, if the path may be one of ours, in the slot's twin, from where it does.  RCX and
R11 are all that the filter needs, and SYSCALL destroys them anyway.
"""

from __future__ import annotations

import itertools
import struct
from typing import TYPE_CHECKING

from enclu.base.abi import NR
from enclu.native.address_space import OWN_TEXT, VDSO_BASE, VDSO_IMAGE
from enclu.native.seccomp import PATH_CALLS
from enclu.native.sites import Kind, jump
from enclu.native.text_poke import INT3
from enclu.sgx.epc import PAGE_SIZE
from enclu.sgx.exceptions import Fault, Vector

if TYPE_CHECKING:
    from collections.abc import Iterable

    from enclu.native.address_space import AddressSpace
    from enclu.native.thread import Thread

TAIL = b"\xf0\xff\xff"
"""The last bytes of every place that can be replaced (`text_scan.PATH_CALL`)."""
LOOKED_AT = (*PATH_CALLS, NR["ioctl"])
"""Numbers of calls in whose place there is a jump."""
SIZES = range(12, 24)
"""Bytes of such a place."""
FROM_RDI = b"\x48\x89\xfe"
"""mov rsi, rdi: the path is still in RDI where the call begins."""
SLOTS, SLOT_SIZE, SLOT_COUNT = VDSO_IMAGE[1] - VDSO_BASE, 48, 384
"""Offset of the first slot in the vDSO's area, bytes of each, and how many there are."""
TWIN = 0x8000
"""Distance of a slot's twin.  System calls stop there, and nowhere before in the vDSO's area."""
assert OWN_TEXT == (VDSO_BASE, VDSO_BASE + TWIN) and SLOTS + SLOT_COUNT * SLOT_SIZE <= TWIN
CALL = 8
"""Offset in a slot, and in its twin, of the system call: enclu_path_pass adds it to the slot's address, in RCX."""


def patch(space: AddressSpace, places: Iterable[tuple[int, int]]) -> None:
    """Replace the calls at these addresses, each so many bytes with the comparison that follows.

    Those without a free slot are left.  What a page has of them is read and written at once.
    """
    first = space.path_slots
    calls: list[bytes] = []
    pages = []
    for _, group in itertools.groupby(sorted(places), key=lambda place: place[0] // PAGE_SIZE):
        page = list(group)
        begin = page[0][0]
        before = space.peek(begin, sum(page[-1]) - begin)
        after, sites = bytearray(before), []
        for address, size in page:
            there = slice(address - begin, address - begin + size)
            code = before[there]
            look = space.image.symbols.get(_look(code))
            if len(code) != size or look is None or not code.endswith(TAIL) or first + len(calls) == SLOT_COUNT:
                continue
            slot = VDSO_BASE + SLOTS + (first + len(calls)) * SLOT_SIZE
            to_slot = b"\x48\xb9" + struct.pack("<Q", slot) + b"\xff\xe1"  # mov rcx, slot; jmp rcx
            after[there] = to_slot = to_slot.ljust(size, b"\x90")
            sites.append((address, code, to_slot))
            call = code + b"\xff\x25\x00\x00\x00\x00" + struct.pack("<Q", address + size)  # jmp *0(%rip)
            calls.append(jump(slot, VDSO_BASE + look).ljust(CALL, INT3) + call.ljust(SLOT_SIZE - CALL, INT3))
        if sites:
            pages.append((begin, bytes(after), sites))
    if not pages:
        return
    space.path_slots += len(calls)
    slots = VDSO_BASE + SLOTS + first * SLOT_SIZE
    space.poke(slots, b"".join(calls))
    space.poke(slots + TWIN, b"".join(CALL * INT3 + call[CALL:] for call in calls))
    for begin, text, sites in pages:
        space.poke(begin, text)
        for address, code, to_slot in sites:
            space.sites.note(address, Kind.PATH_CALL, code, to_slot)


def _look(code: bytes) -> str:
    """Symbol of what the vDSO image looks at such a call with."""
    number = int.from_bytes(code[1:5], "little")
    if code[5:].startswith(FROM_RDI):
        return "enclu_path_rdi"
    return "enclu_ioctl" if number == NR["ioctl"] else f"enclu_path_{PATH_CALLS.get(number)}"


def recover(thread: Thread, fault: Fault) -> bool:
    """If the thread faulted because it looked at a path that cannot be read: the system call is to say so."""
    regs, symbols = thread.regs, thread.space.image.symbols
    if fault.vector not in (Vector.PF, Vector.GP):
        return False
    if not any(regs.rip == VDSO_BASE + symbols[f"enclu_path_load_{register}"] for register in ("rdi", "rsi")):
        return False
    regs.rip = VDSO_BASE + symbols["enclu_path_pass"]
    thread.store()
    return True
