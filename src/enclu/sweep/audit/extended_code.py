"""Whether an enclave has code that computes in vector or x87 registers: without any, it leaves nothing there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import capstone

from enclu.host.errors import HostError
from enclu.sgx.epc import PAGE_SIZE

if TYPE_CHECKING:
    from enclu.sweep.audit.target import Target

EXECUTABLE = 4
LARGEST = 16 << 20
"""Bytes of code that are looked through; what has more counts as having such instructions."""
VECTOR = re.compile(r"\b[xyz]mm\d|\bk[0-7]\b|\bmm[0-7]\b")
CLEARING = frozenset(("pxor", "xorps", "vpxor", "vxorps", "vpxord", "vpxorq"))
X87 = re.compile(r"f(?!x|n?init|n?stc|n?sts|ldcw|wait|emms|n?clex|free)")


def computes_in_vectors(target: Target) -> bool:
    """XMM, YMM, ZMM, mask and MMX registers; clearing one by itself does not count."""
    return any(VECTOR.search(text) and not _clears(name, text) for name, text in _instructions(target))


def computes_in_x87(target: Target) -> bool:
    return any(X87.match(name) and name != "fldz" for name, _ in _instructions(target))


def _clears(name: str, operands: str) -> bool:
    return name in CLEARING and len({part.strip() for part in operands.split(",")}) == 1


def _instructions(target: Target) -> Iterator[tuple[str, str]]:
    """Mnemonics and operands of all code, one instruction after the other from the beginning of each region."""
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    decoder.skipdata = True
    regions = [r for r in target.enclave.image.regions() if r.added and r.flags & EXECUTABLE]
    if sum(region.size for region in regions) > LARGEST:
        yield "fld", "xmm0"
        return
    for region in regions:
        code = b"".join(_page(target, region.offset + at) for at in range(0, region.size, PAGE_SIZE))
        for _, _, name, operands in decoder.disasm_lite(code, target.base + region.offset):
            yield name, operands


def _page(target: Target, offset: int) -> bytes:
    try:
        return target.stepping.read(target.base + offset, PAGE_SIZE)
    except HostError:
        return bytes(PAGE_SIZE)
