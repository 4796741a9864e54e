"""CPUID as the machine's processor answers it.

Where the host cannot make CPUID fault, the instruction is found in the program's text (`text`) and replaced by UD2.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

from enclu.native import machine_code
from enclu.native.sites import Kind

if TYPE_CHECKING:
    from enclu.native.address_space import AddressSpace
    from enclu.native.thread import Thread

Registers = tuple[int, int, int, int]
"""EAX, EBX, ECX and EDX."""
CPUID, UD2 = b"\x0f\xa2", b"\x0f\x0b"
_CODE = bytes.fromhex("53 89f8 89f1 4989d0 0fa2 418900 41895804 41894808 4189500c 5b c3")
"""push rbx; eax=edi; ecx=esi; r8=rdx; cpuid; store eax, ebx, ecx, edx at r8; pop rbx; ret"""


@functools.cache
def _host_function() -> Callable[[int, int, int], None]:
    return machine_code.function(_CODE, None, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_void_p)


def host(leaf: int, subleaf: int) -> Registers:
    """What the host processor's CPUID answers."""
    out = (ctypes.c_uint32 * 4)()
    _host_function()(leaf, subleaf, ctypes.addressof(out))
    return out[0], out[1], out[2], out[3]


def patch(space: AddressSpace, address: int) -> None:
    """Put UD2 where CPUID stands."""
    if space.peek(address, 2) == CPUID:
        space.sites.put(space, address, Kind.CPUID, CPUID, UD2)


def emulate(thread: Thread, answer: Callable[[int, int], Registers]) -> bool:
    """If the thread stands at a patched CPUID: what follows from it, with `answer` to EAX and ECX."""
    regs = thread.regs
    if not thread.space.sites.stands(thread.space, regs.rip, Kind.CPUID):
        return False
    regs.rax, regs.rbx, regs.rcx, regs.rdx = answer(regs.rax & 0xFFFF_FFFF, regs.rcx & 0xFFFF_FFFF)
    regs.rip += 2
    thread.store()
    return True
