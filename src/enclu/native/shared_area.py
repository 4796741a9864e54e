"""Memory that the supervisor shares with programs, for transitions in their own processes.

It has, for each thread, the slot of enclave mode; the TCSes that can be entered so; and, for each address space,
tickets (`native.tickets`).  All of that lies above every ELRANGE, at the same addresses in every process.

What tells a thread which slot is its own is the limit of a segment in the GDT (PTRACE_SET_THREAD_AREA), which LSL
reads: FS, GS and RDPID are the program's, or the processor's.  Kernel: arch/x86/kernel/tls.c.
"""

from __future__ import annotations

import errno
import mmap
import os
import struct
from dataclasses import dataclass

from enclu.native import ptrace
from enclu.native.add_queue import SIZE as QUEUE_SIZE
from enclu.sgx.epc import PAGE_SIZE

SLOTS, STRIDE, SLOT_COUNT = 0x7E00_0000_0000, 1 << 27, 1024
"""A slot's address is a multiple of `STRIDE`, 2^15 times what fits into a segment's limit."""
BIAS = 0xFFF << 15
"""What a thread makes of the limit, the low bits of which are ones, is so much more than its slot's address."""
TCSES, TCS_COUNT = 0x7E20_0000_0000, 4096
TICKETS, TICKETS_SIZE, SPACE_COUNT = 0x7E21_0000_0000, 0x4_0000, 256
SELECTOR = 0x73
"""The last of the three segments of a thread's own, for user mode."""
TCS_CHUNK = 1 << 18
_WRITABLE = mmap.PROT_READ | mmap.PROT_WRITE
_ENTRY = SELECTOR >> 3
_TCSES_AT = SLOT_COUNT * STRIDE
_TICKETS_AT = _TCSES_AT + TCS_COUNT * PAGE_SIZE
_QUEUES_AT = _TICKETS_AT + SPACE_COUNT * TICKETS_SIZE
_SIZE = _QUEUES_AT + SPACE_COUNT * QUEUE_SIZE
QUEUE = 0x7E23_0000_0000
AREA = (SLOTS, QUEUE + QUEUE_SIZE)
"""Addresses among which programs have parts of it."""
_SET_THREAD_AREA = 26
_USER_DESC = struct.Struct("<IIII")
_SEG_32BIT, _NOT_PRESENT, _IN_PAGES, _USEABLE, _READ_ONLY = 1 << 0, 1 << 5, 1 << 4, 1 << 6, 1 << 3


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the area, as a process maps it."""

    address: int
    size: int
    prot: int
    offset: int


class SharedArea:
    """That of one run."""

    def __init__(self) -> None:
        """Raises OSError where there cannot be one."""
        self.fd = os.memfd_create("enclu", os.MFD_CLOEXEC)
        try:
            os.ftruncate(self.fd, _SIZE)
            self._map = mmap.mmap(self.fd, _SIZE)
        except (OSError, ValueError, OverflowError) as error:
            os.close(self.fd)
            if isinstance(error, OSError):
                raise
            raise OSError(errno.ENOMEM, str(error)) from None
        self._view = memoryview(self._map)
        self._free_tcses = list(range(TCS_COUNT - 1, -1, -1))
        self._free_tickets = list(range(SPACE_COUNT - 1, -1, -1))

    @property
    def free_tcses(self) -> int:
        """Pages for TCSes that are not taken."""
        return len(self._free_tcses)

    @property
    def free_tickets(self) -> int:
        """Address spaces for which there are still tickets."""
        return len(self._free_tickets)

    def slot(self, number: int, size: int) -> memoryview:
        """The slot of this number, which is less than `SLOT_COUNT`."""
        return self._view[number * STRIDE : number * STRIDE + size]

    @staticmethod
    def slot_address(number: int) -> int:
        return SLOTS + number * STRIDE

    def take_tcs(self) -> int:
        """Address of a page for a TCS, 0 if there is none left."""
        return TCSES + self._free_tcses.pop() * PAGE_SIZE if self._free_tcses else 0

    def give_tcs(self, address: int) -> None:
        self.tcs(address)[:] = bytes(PAGE_SIZE)
        self._free_tcses.append((address - TCSES) // PAGE_SIZE)

    def tcs(self, address: int) -> memoryview:
        """The page of a TCS."""
        at = _TCSES_AT + address - TCSES
        return self._view[at : at + PAGE_SIZE]

    def take_tickets(self) -> int:
        """Number of the tickets of an address space; -1 if there are none left."""
        return self._free_tickets.pop() if self._free_tickets else -1

    def give_tickets(self, number: int) -> None:
        self.tickets(number)[:] = bytes(TICKETS_SIZE)
        self._map.madvise(mmap.MADV_REMOVE, _QUEUES_AT + number * QUEUE_SIZE, QUEUE_SIZE)
        self._free_tickets.append(number)

    def queue(self, number: int) -> memoryview:
        """What the address space that has these tickets has for `native.add_queue`."""
        at = _QUEUES_AT + number * QUEUE_SIZE
        return self._view[at : at + QUEUE_SIZE]

    def tickets(self, number: int) -> memoryview:
        at = _TICKETS_AT + number * TICKETS_SIZE
        return self._view[at : at + TICKETS_SIZE]

    # What a process maps of it, where it is needed: the whole would be 128 GiB of addresses, and what is locked in
    # memory (mlockall(2)) is there.

    @staticmethod
    def slot_part(number: int, at: int, size: int) -> Part:
        """Bytes of a slot."""
        return Part(SLOTS + number * STRIDE + at, size, _WRITABLE, number * STRIDE + at)

    @staticmethod
    def tcs_part(address: int) -> Part:
        """The page of a TCS, and its neighbours."""
        start = address & -TCS_CHUNK
        return Part(start, TCS_CHUNK, _WRITABLE, _TCSES_AT + start - TCSES)

    @staticmethod
    def tickets_part(number: int) -> Part:
        """The tickets of an address space."""
        return Part(TICKETS, TICKETS_SIZE, mmap.PROT_READ | mmap.PROT_EXEC, _TICKETS_AT + number * TICKETS_SIZE)

    @staticmethod
    def queue_part(number: int) -> Part:
        """The queue of an address space."""
        return Part(QUEUE, QUEUE_SIZE, _WRITABLE, _QUEUES_AT + number * QUEUE_SIZE)


def identify(tid: int, slot: int) -> None:
    """Let the stopped thread find its slot; none if `slot` is negative.  Raises OSError."""
    if slot < 0:
        description = _USER_DESC.pack(_ENTRY, 0, 0, _READ_ONLY | _NOT_PRESENT)
    else:
        description = _USER_DESC.pack(_ENTRY, 0, SharedArea.slot_address(slot) >> 27, _SEG_32BIT | _IN_PAGES | _USEABLE)
    ptrace.with_bytes(_SET_THREAD_AREA, tid, _ENTRY, description)
