"""The host processors' extended state: XCR0, where XSAVE has what, and what the kernel grants only on request.

SDM 1 section 13.3 (XGETBV); kernel: Documentation/arch/x86/xstate.rst (permissions).
"""

from __future__ import annotations

import ctypes
import functools
from typing import TYPE_CHECKING

from enclu.base.abi import NR
from enclu.native import cpuid, machine_code
from enclu.native.inject import inject
from enclu.sgx.xsave import AMX, XsaveLayout

if TYPE_CHECKING:
    from enclu.native.thread import Thread

ARCH_GET_XCOMP_PERM = 0x1022
_XGETBV = bytes.fromhex("31c9 0f01d0 48c1e220 4809d0 c3")
"""xor ecx,ecx; xgetbv; shl rdx,32; or rax,rdx; ret"""


@functools.cache
def layout() -> XsaveLayout:
    """That of this host."""
    xcr0 = machine_code.function(_XGETBV, ctypes.c_uint64)()
    return XsaveLayout.of(xcr0, cpuid.host)


def not_granted(thread: Thread) -> int:
    """IA32_XFD of the stopped thread: AMX, unless its process has asked for it (ARCH_REQ_XCOMP_PERM)."""
    process = thread.process
    if not process.may_use_amx:
        permitted = bytearray(8)
        if inject(thread, NR["arch_prctl"], ARCH_GET_XCOMP_PERM, permitted):
            return 0  # a kernel before 5.16 does not know of AMX, and so does not disable it
        process.may_use_amx = int.from_bytes(permitted, "little") & AMX == AMX
    return 0 if process.may_use_amx else AMX
