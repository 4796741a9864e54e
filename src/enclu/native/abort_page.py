"""The abort page: code outside an enclave reads ones from an EPC page, and what it writes is lost.

SDM 3D, "Page-based Access Control".  Holds for the pages that are never shown to the page tables: TCSes and pages
that are pending, modified or blocked, and for what the EPCM keeps even from the enclave.  A PT_REG page that is shown
is plain memory.  The one instruction is stepped over with a page of ones in place, while nobody is in the enclave.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from enclu.base.abi import (
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_PRIVATE,
    MREMAP_FIXED,
    MREMAP_MAYMOVE,
    NR,
    PROT_READ,
    PROT_WRITE,
)
from enclu.native import ptrace
from enclu.native.address_space import SCRATCH, SCRATCH_SIZE
from enclu.native.inject import EVERY_SIGNAL, inject
from enclu.native.native_fault import error_code, exception_of
from enclu.native.process import SYNCHRONOUS
from enclu.native.single_step import single_step
from enclu.sgx.epc import PAGE_SIZE
from enclu.sgx.exceptions import Fault, Vector
from enclu.sgx.processor import Access, Signal, access_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from enclu.native.thread import Thread

PARKING = SCRATCH + SCRATCH_SIZE
"""Where the program's mappings wait meanwhile: addresses behind the scratch memory."""


def step(thread: Thread, address: int, meets: Callable[[int, Access], bool]) -> Signal | None:
    """Execute the instruction at which the thread stopped for an access to `address`.

    See `sgx.processor.Processor.through_abort_page`.
    """
    pages: list[int] = []
    mask = ptrace.signal_mask(thread.tid)
    try:
        while True:
            _replace(thread, address & -PAGE_SIZE, PARKING + len(pages) * PAGE_SIZE)
            pages.append(address & -PAGE_SIZE)
            ptrace.set_signal_mask(thread.tid, EVERY_SIGNAL & ~SYNCHRONOUS | mask)
            start = thread.regs.rip
            info = single_step(thread)
            while info is None and thread.regs.rip == start:  # a string instruction, repetition by repetition
                info = single_step(thread)
            if info is None:
                return None
            address = info.address
            fault = exception_of(thread, info.signo, info) or Fault(Vector.UD)
            if fault.vector == Vector.PF:
                fault.error_code = error_code(thread)
                if address & -PAGE_SIZE not in pages and meets(address, access_of(fault.error_code)):
                    continue
            trap = (fault.vector, fault.error_code, fault.address)
            return Signal(info.signo, info.code, info.address, trap)
    finally:
        ptrace.set_signal_mask(thread.tid, mask)
        for index in reversed(range(len(pages))):
            _move(thread, PARKING + index * PAGE_SIZE, pages[index])


def _move(thread: Thread, old: int, new: int) -> None:
    result = inject(thread, NR["mremap"], old, PAGE_SIZE, PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, new)
    if result < 0:
        raise OSError(-result, f"mremap({old:#x} to {new:#x}): {os.strerror(-result)}")


def _replace(thread: Thread, page: int, parking: int) -> None:
    _move(thread, page, parking)
    flags = MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS
    result = inject(thread, NR["mmap"], page, PAGE_SIZE, PROT_READ | PROT_WRITE, flags, -1, 0)
    if result < 0:
        _move(thread, parking, page)
        raise OSError(-result, f"mmap({page:#x}): {os.strerror(-result)}")
    thread.space.poke(page, b"\xff" * PAGE_SIZE)
