"""What the enclave is told of the processor, as CPUID does not work within it.

SDK: psw/urts/cpu_features.cpp, cpu_features_ext.cpp; common/inc/internal/se_cpu_feature_defs.h and _ext.h.
"""

from __future__ import annotations

import functools
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

from enclu.linux import intel_cpu

if TYPE_CHECKING:
    from enclu.host.agent_process import AgentProcess
    from enclu.linux.intel_cpu import Cpuid, Registers


class Register(IntEnum):
    """Where a bit is."""

    EAX = 0
    EBX = 1
    ECX = 2
    EDX = 3


class Feature(NamedTuple):
    """A bit of CPUID (subleaf 0; all of `mask`), and the bits that stand for it."""

    leaf: int
    register: Register
    mask: int
    legacy: int | None = None
    """Bit of cpu_features."""
    extended: int | None = None
    """Bit of cpu_features_ext."""
    intel: bool = False
    """Counts on Intel's processors only."""
    xcr0: int = 0
    """Needs these, too (extended only)."""


_AVX, _AVX512 = 0x6, 0xE6
_EXTENDED_1, _EXTENDED_8 = 0x8000_0001, 0x8000_0008
EAX, EBX, ECX, EDX = Register

FEATURES = (
    Feature(1, EDX, 1 << 0, 1, 1),  # x87
    Feature(1, EDX, 1 << 15, 2, 2),  # CMOV
    Feature(1, EDX, 1 << 23, 3, 3),  # MMX
    Feature(1, EDX, 1 << 24, 4, 4),  # FXSAVE
    Feature(1, EDX, 1 << 25, 5, 5),  # SSE
    Feature(1, EDX, 1 << 26, 6, 6),  # SSE2
    Feature(1, ECX, 1 << 0, 7, 7),  # SSE3
    Feature(1, ECX, 1 << 9, 8, 8),  # SSSE3
    Feature(1, ECX, 1 << 19, 9, 9),  # SSE4.1
    Feature(1, ECX, 1 << 20, 10, 10),  # SSE4.2
    Feature(1, ECX, 1 << 23, 11, 12),  # POPCNT
    Feature(1, ECX, 1 << 22, 12, 11),  # MOVBE
    Feature(1, ECX, 1 << 1, 13, 13),  # PCLMULQDQ
    Feature(1, ECX, 1 << 25, 14, 14),  # AES
    Feature(1, ECX, 1 << 29, 15, 15, xcr0=_AVX),  # F16C
    Feature(1, ECX, 1 << 28, 16, 16, xcr0=_AVX),  # AVX
    Feature(1, ECX, 1 << 30, 17, 17),  # RDRAND
    Feature(1, ECX, 1 << 12, 18, 18, xcr0=_AVX),  # FMA
    Feature(7, EBX, 1 << 3 | 1 << 8, 19, 19),  # BMI1 and BMI2
    Feature(_EXTENDED_1, ECX, 1 << 5, 20, 20, intel=True),  # LZCNT
    Feature(7, EBX, 1 << 4, 21, 21, intel=True),  # HLE
    Feature(7, EBX, 1 << 11, 22, 22, intel=True),  # RTM
    Feature(7, EBX, 1 << 5, 23, 23, xcr0=_AVX),  # AVX2
    Feature(_EXTENDED_1, ECX, 1 << 8, 25),  # PREFETCHW
    Feature(7, EBX, 1 << 18, 26, 29),  # RDSEED
    Feature(7, EBX, 1 << 19, 27, 28),  # ADX
    Feature(7, EBX, 1 << 17, None, 24, xcr0=_AVX512),  # AVX512DQ
    Feature(0x14, EBX, 1 << 4, None, 25),  # PTWRITE
    Feature(7, EBX, 1 << 16, None, 27, xcr0=_AVX512),  # AVX512F
    Feature(7, EBX, 1 << 21, None, 30, xcr0=_AVX512),  # AVX512_IFMA
    Feature(7, EBX, 1 << 27, None, 32, xcr0=_AVX512),  # AVX512ER
    Feature(7, EBX, 1 << 26, None, 33, xcr0=_AVX512),  # AVX512PF
    Feature(7, EBX, 1 << 28, None, 34, xcr0=_AVX512),  # AVX512CD
    Feature(7, EBX, 1 << 29, None, 35),  # SHA
    Feature(7, EBX, 1 << 14, None, 36, xcr0=_AVX | 0x18),  # MPX
    Feature(7, EBX, 1 << 30, None, 37, xcr0=_AVX512),  # AVX512BW
    Feature(7, EBX, 1 << 31, None, 38, xcr0=_AVX512),  # AVX512VL
    Feature(7, ECX, 1 << 1, None, 39, xcr0=_AVX512),  # AVX512_VBMI
    Feature(7, EDX, 1 << 3, None, 40, xcr0=_AVX512),  # AVX512_4FMAPS
    Feature(7, EDX, 1 << 2, None, 41, xcr0=_AVX512),  # AVX512_4VNNIW
    Feature(7, ECX, 1 << 14, None, 42, xcr0=_AVX512),  # AVX512_VPOPCNTDQ
    Feature(7, ECX, 1 << 12, None, 43, xcr0=_AVX512),  # AVX512_BITALG
    Feature(7, ECX, 1 << 6, None, 44, xcr0=_AVX512),  # AVX512_VBMI2
    Feature(7, ECX, 1 << 8, None, 45),  # GFNI
    Feature(7, ECX, 1 << 9, None, 46, xcr0=_AVX),  # VAES
    Feature(7, ECX, 1 << 10, None, 47, xcr0=_AVX),  # VPCLMULQDQ
    Feature(7, ECX, 1 << 11, None, 48, xcr0=_AVX512),  # AVX512_VNNI
    Feature(7, EBX, 1 << 24, None, 49),  # CLWB
    Feature(7, ECX, 1 << 22, None, 50),  # RDPID
    Feature(7, EBX, 1 << 2, None, 53, intel=True),  # SGX
)
"""All that can matter in an enclave: shadow stacks, IBT, WBNOINVD and PCONFIG are for kernels."""

GENERIC = 1 << 0
"""Set in both, whatever the processor."""
CPUINFO_LEAVES = (0, 1, 4, 7)
"""Those in cpuinfo_table, each at the line of its number."""
REMEMBERED = 64
"""Answers that need not be asked for again."""


def of_process(process: AgentProcess) -> Cpuid:
    """CPUID as the process's programs see it, and called Intel's.

    Enclaves count on that: Intel's port of OpenSSL aborts on others.
    """
    return functools.lru_cache(REMEMBERED)(intel_cpu.of(process.cpuid))


def features(cpuid: Cpuid, xfrm: int) -> tuple[int, int]:
    """cpu_features and cpu_features_ext.  `xfrm` is what of the extended state the enclave may use."""
    highest, intel = cpuid(0, 0)[0], intel_cpu.is_intel(cpuid)
    legacy = extended = GENERIC
    for feature in FEATURES:
        if (feature.intel and not intel) or (feature.leaf < _EXTENDED_1 and feature.leaf > highest):
            continue
        if cpuid(feature.leaf, 0)[feature.register] & feature.mask != feature.mask:
            continue
        if feature.legacy is not None:
            legacy |= 1 << feature.legacy
        if feature.extended is not None and xfrm & feature.xcr0 == feature.xcr0:
            extended |= 1 << feature.extended
    return legacy, extended


def cpuinfo(cpuid: Cpuid) -> dict[int, Registers]:
    """The lines of cpuinfo_table."""
    return {leaf: cpuid(leaf, 0) for leaf in CPUINFO_LEAVES}
