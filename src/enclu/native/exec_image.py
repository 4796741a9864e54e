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
from enclu.native.inject import run_code
from enclu.native.text_poke import INT3
from enclu.sgx.epc import PAGE_SIZE

if TYPE_CHECKING:
    from enclu.native.address_space import Image
    from enclu.native.thread import Thread

_SYSCALL, _TO_RBX, _TO_R12 = b"\x0f\x05", b"\x48\x89\xc3", b"\x49\x89\xc4"
_LOAD_ARGUMENTS = (b"\x48\xbf", b"\x48\xbe", b"\x48\xba", b"\x49\xba", b"\x49\xb8", b"\x49\xb9")
"""MOV of 8 bytes to RDI, RSI, RDX, R10, R8 and R9."""
_FLAGS = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE
_VDSO_SIZE = 0x4000
"""Bytes of the host kernel's own that are looked through, at most."""


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


@functools.cache
def _making(base: int, area: int) -> bytes:
    """Code that maps the vDSO's area and the scratch memory, leaves the results in RBX and R12, and ends by INT3.

    It asks for all but the image to be sealed, which the host kernel may not have (mseal(2), Linux 6.10).
    """
    behind = VDSO_IMAGE[1]
    mapped = _call("mmap", base, area, PROT_READ | PROT_EXEC, _FLAGS, -1, 0) + _TO_RBX
    scratch = _call("mmap", SCRATCH, SCRATCH_SIZE, PROT_READ | PROT_WRITE, _FLAGS, -1, 0) + _TO_R12
    return mapped + scratch + _call("mseal", behind, SCRATCH + SCRATCH_SIZE - behind, 0) + INT3


def _call(name: str, *arguments: int) -> bytes:
    loads = b"".join(load + struct.pack("<q", value) for load, value in zip(_LOAD_ARGUMENTS, arguments, strict=False))
    return loads + b"\xb8" + struct.pack("<I", NR[name]) + _SYSCALL


def install(thread: Thread, image: Image, base: int, area: int) -> None:
    """Map `image` at `base` with scratch memory behind its `area` bytes.  The thread is at its exec event.

    All but the image is sealed where the host kernel can: no call of the program takes it away.  The thread stands at
    its first instruction afterwards.  Raises NoVdso, or OSError when the fixed range is taken.
    """
    space = thread.space
    slot, real = _find_auxv(thread)
    _map(thread, base, area)
    space.poke(base, image.build(base, real, _functions(space.peek(real, _VDSO_SIZE))))
    space.poke(slot, struct.pack("<Q", base))
    space.installed = True


def _map(thread: Thread, base: int, area: int) -> None:
    """Make both mappings in one go, by code that stands for the moment in the page of the first instruction."""
    space, rip = thread.space, thread.regs.rip
    code = _making(base, area)
    at = min(rip, (rip | PAGE_SIZE - 1) + 1 - len(code))
    original = space.peek(at, len(code))
    space.poke(at, code)
    results = run_code(thread, at, len(code) - len(INT3), ("rbx", "r12"))
    space.poke(at, original)
    if results != [base, SCRATCH]:
        raise OSError(-min(results), f"cannot map the vDSO image at {base:#x}")
