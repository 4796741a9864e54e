"""CPUID as a program sees it on a machine with SGX.  SDM 2A CPUID, 3D section 34.7."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from enclu.sgx.machine import Machine

SGX_LEAF = 0x12
OWN_LEAVES = frozenset((0, 7, SGX_LEAF))
"""Those that need not be answered as the host does."""
LEAF7_EBX_SGX = 1 << 2
LEAF7_ECX_SGX_LC = 1 << 30


def own_leaves(host: Callable[[int, int], tuple[int, int, int, int]]) -> frozenset[int]:
    """Those of them that this host processor answers differently: leaf 0 only if its last leaf is before SGX's."""
    return OWN_LEAVES if host(0, 0)[0] < SGX_LEAF else OWN_LEAVES - {0}


def cpuid(machine: Machine, leaf: int, subleaf: int, host: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """EAX, EBX, ECX, EDX; `host` is what the host processor answers."""
    if leaf not in OWN_LEAVES:
        return host
    eax, ebx, ecx, edx = host
    if leaf == 0:
        return max(eax, SGX_LEAF), ebx, ecx, edx
    if leaf == 7 and subleaf == 0:
        return eax, ebx | LEAF7_EBX_SGX, ecx | LEAF7_ECX_SGX_LC, edx
    return machine.cpuid(subleaf) if leaf == SGX_LEAF else host
