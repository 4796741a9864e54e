"""Replacing instructions of a program that is running, with nobody halted.

Kernel: text_poke_bp() in arch/x86/kernel/alternative.c.
First an INT3 stands at the first byte, then what follows is written behind it, then the first byte; all processors have
seen each step before the next.  A thread that comes to the INT3 stops, and by the time that anybody looks at the stop,
the new instructions are there: it executes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from enclu.base.abi import NR
from enclu.native.inject import INT3_SIZE
from enclu.sgx.exceptions import Fault, Vector

if TYPE_CHECKING:
    from collections.abc import Callable

    from enclu.native.address_space import AddressSpace
    from enclu.native.thread import Thread

INT3 = b"\xcc"
REGISTER_PRIVATE_EXPEDITED_SYNC_CORE, PRIVATE_EXPEDITED_SYNC_CORE = 1 << 6, 1 << 5
"""MEMBARRIER_CMD_*, which have every processor that runs in this memory execute a serializing instruction."""


def text_poke(space: AddressSpace, address: int, code: bytes, call: Callable[..., int]) -> None:
    """Have `code` at the address, whatever stands there.  `call` makes a system call in the address space.

    Before Linux 4.16, which has no such membarrier(2), and where the program's own seccomp filter denies it, the steps
    are only as far apart as system calls are.
    """
    space.poked[address] = len(code)
    call(NR["membarrier"], REGISTER_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0)
    for at, piece in ((address, INT3), (address + INT3_SIZE, code[INT3_SIZE:]), (address, code[:INT3_SIZE])):
        space.poke(at, piece)
        call(NR["membarrier"], PRIVATE_EXPEDITED_SYNC_CORE, 0, 0)


def meets(thread: Thread, fault: Fault) -> bool:
    """The stopped thread has come to an INT3 that is there no more; it is to execute what is there instead."""
    address = thread.regs.rip - INT3_SIZE
    if fault.vector != Vector.BP or address not in thread.space.poked or thread.space.peek(address, 1) == INT3:
        return False
    thread.regs.rip = address
    thread.store()
    return True


def complete(parent: AddressSpace, child: AddressSpace) -> None:
    """A forked child may have its copy from between two steps; its parent has been through them all."""
    for address, size in parent.poked.items():
        now = parent.peek(address, size)
        if child.peek(address, 1) == INT3 and now[:1] != INT3:
            child.poke(address, now)
    child.poked = dict(parent.poked)
