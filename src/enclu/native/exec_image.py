"""Giving a fresh process image our vDSO: mapping it, and pointing AT_SYSINFO_EHDR to it."""

from __future__ import annotations

import functools
import struct
from typing import TYPE_CHECKING

from enclu.base.abi import (
    AT_NULL,
    AT_SYSINFO_EHDR,
    MAP_ANONYMOUS,
    MAP_FIXED_NOREPLACE,
    MAP_PRIVATE,
    NR,
    PROT_EXEC,
    PROT_READ,
    PROT_WRITE,
)
from enclu.base.elf import SHN_UNDEF, Elf
from enclu.native.address_space import SCRATCH, SCRATCH_SIZE, VDSO_IMAGE
from enclu.native.inject import inject

if TYPE_CHECKING:
    from enclu.native.address_space import Image
    from enclu.native.thread import Thread

_SYSCALL_INT3 = b"\x0f\x05\xcc"


class NoVdso(Exception):
    """The host kernel gave the program no vDSO (booted with vdso=0), so there is nothing to replace."""


@functools.cache
def _functions(vdso: bytes) -> dict[str, int]:
    """Names and offsets of the functions in the host kernel's own vDSO."""
    return {s.name: s.value for s in Elf(vdso).symbols(".dynsym") if s.section != SHN_UNDEF and s.value}


def _find_auxv(thread: Thread) -> tuple[int, int]:
    """Address of the value of AT_SYSINFO_EHDR on the new stack, and the value."""
    space, rsp = thread.space, thread.regs.rsp
    (argc,) = struct.unpack("<Q", space.peek(rsp, 8))
    at = rsp + 8 * (argc + 2)
    while True:  # the environment
        block = space.peek(at, 4096)
        if not block:
            raise NoVdso("no auxiliary vector on the stack")
        words = struct.unpack(f"<{len(block) // 8}Q", block[: len(block) // 8 * 8])
        if 0 in words:
            at += 8 * (words.index(0) + 1)
            break
        at += 8 * len(words)
    block = space.peek(at, 1024)
    for offset in range(0, len(block) // 16 * 16, 16):
        key, value = struct.unpack_from("<QQ", block, offset)
        if key == AT_SYSINFO_EHDR:
            return at + offset + 8, value
        if key == AT_NULL:
            break
    raise NoVdso("the host kernel gave the program no vDSO; boot it with vdso=1")


def install(thread: Thread, image: Image, base: int, area: int) -> None:
    """Map `image` at `base` with scratch memory behind its `area` bytes.  The thread is at its first instruction.

    All but the image is sealed where the host kernel can (mseal(2), Linux 6.10): no call of the program takes it away.
    Raises NoVdso, or OSError when the fixed range is taken.
    """
    space, rip = thread.space, thread.regs.rip
    slot, real = _find_auxv(thread)
    original = space.peek(rip, 3)
    space.poke(rip, _SYSCALL_INT3)
    flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE
    text = inject(thread, NR["mmap"], base, area, PROT_READ | PROT_EXEC, flags, -1, 0, stub=rip)
    data = inject(thread, NR["mmap"], SCRATCH, SCRATCH_SIZE, PROT_READ | PROT_WRITE, flags, -1, 0, stub=rip)
    space.poke(rip, original)
    if text != base or data != SCRATCH:
        raise OSError(-min(text, data), f"cannot map the vDSO image at {base:#x}")
    size = 0x4000
    functions = _functions(space.peek(real, size))
    space.poke(base, image.build(base, real, functions))
    behind = VDSO_IMAGE[1]
    inject(thread, NR["mseal"], behind, SCRATCH + SCRATCH_SIZE - behind, 0, stub=base + image.syscall_stub)
    space.poke(slot, struct.pack("<Q", base))
    space.installed = True
