"""Registers as a hostile host has them when it enters an enclave, and as it finds them when the enclave leaves.

What an enclave must make right by itself at its entry, and clear before it leaves: SDM 3D section 37.3 and the tables
of EENTER and EEXIT, which say what the processor does not do.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING

from enclu.linux.uapi import STEP_REGISTERS
from enclu.sgx.xsave import HEADER, LEGACY, Component

if TYPE_CHECKING:
    from enclu.run.task import Task
    from enclu.sgx.xsave import XsaveLayout

NAMES = tuple(name for _, name, _ in STEP_REGISTERS.fields[1:])
"""Those that bits of `which` stand for, from bit 0 on."""
GENERAL = NAMES[: NAMES.index("rip")]
ENTERED_WITH = frozenset(("rax", "rbx", "rcx", "rip"))
"""What ENCLU itself needs."""
RFLAGS_HOSTS = 0x254CD5
"""CF, PF, AF, ZF, SF, DF, OF, NT, RF, AC and ID, which user mode may set as it likes."""
_FULL_TAGS = 0xFF
"""The abridged tag word of eight registers in use."""
_X87_REGISTERS, _XMM = slice(32, 160), slice(160, 416)


def wanted(image: bytes) -> dict[str, int]:
    """What a struct enclu_sgx_registers names.  Raises ValueError for what cannot be chosen."""
    fields = STEP_REGISTERS.unpack(image)
    which = fields["which"]
    if which >> len(NAMES):
        raise ValueError(f"unknown registers: {which:#x}")
    chosen = {name: fields[name] for number, name in enumerate(NAMES) if which >> number & 1}
    if chosen.keys() & ENTERED_WITH:
        raise ValueError(f"EENTER has {', '.join(sorted(ENTERED_WITH)).upper()} itself")
    return chosen


def load(task: Task, chosen: Mapping[str, int]) -> None:
    """The stopped thread, outside enclaves, has these from now on."""
    regs = task.regs
    for name, value in chosen.items():
        if name in GENERAL:
            setattr(regs, name, value)
        elif name == "rflags":
            regs.rflags = regs.rflags & ~RFLAGS_HOSTS | value & RFLAGS_HOSTS
    if chosen.keys() & {"mxcsr", "fcw", "x87", "vectors"}:
        image = task.xsave()
        _load_extended(image, task.machine.layout, chosen)
        task.xrstor(image)


def _load_extended(image: bytearray, layout: XsaveLayout, chosen: Mapping[str, int]) -> None:
    in_use = struct.unpack_from("<Q", image, HEADER)[0]
    if not in_use & 1 << Component.X87:
        struct.pack_into("<HHB", image, 0, 0x37F, 0, 0)
    if "fcw" in chosen:
        struct.pack_into("<H", image, 0, chosen["fcw"] & 0xFFFF)
        in_use |= 1 << Component.X87
    if "x87" in chosen:
        image[4] = chosen["x87"] & _FULL_TAGS
        image[_X87_REGISTERS] = (b"\x5a" * 10 + bytes(6)) * 8
        in_use |= 1 << Component.X87
    if "mxcsr" in chosen:
        struct.pack_into("<I", image, 24, chosen["mxcsr"] & 0xFFFF)
        in_use |= LEGACY
    if "vectors" in chosen:
        pattern = struct.pack("<Q", chosen["vectors"])
        image[_XMM] = pattern * (256 // 8)
        in_use |= 1 << Component.SSE
        if layout.xcr0 >> Component.AVX & 1:
            offset, size = layout.places[Component.AVX]
            image[offset : offset + size] = pattern * (size // 8)
            in_use |= 1 << Component.AVX
    struct.pack_into("<Q", image, HEADER, in_use)


def found(task: Task) -> tuple[bytes, bytes]:
    """What the stopped thread, which has just left an enclave, has: the structure, and the XSAVE image.

    `x87` is the abridged tag word, `vectors` the components of XCR0 that are in use (XSTATE_BV).
    """
    regs, image = task.regs, task.xsave()
    in_use = struct.unpack_from("<Q", image, HEADER)[0]
    fcw, _, tags = struct.unpack_from("<HHB", image) if in_use & 1 << Component.X87 else (0x37F, 0, 0)
    values = {name: getattr(regs, name) for name in (*GENERAL, "rip", "rflags")}
    mxcsr = struct.unpack_from("<I", image, 24)[0]
    every = (1 << len(NAMES)) - 1
    return STEP_REGISTERS.pack(which=every, **values, mxcsr=mxcsr, fcw=fcw, x87=tags, vectors=in_use), bytes(image)
