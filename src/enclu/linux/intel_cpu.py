"""A host's processor under Intel's name, for programs that look for SGX on no other.  SDM 2A CPUID.

Real SGX is Intel's alone, so tools that ask for it compare the vendor first, and what follows leaf 0 has to fit:
programs that read "GenuineIntel" take the caches from leaves 2 and 4, for instance, which AMD leaves empty.  Features
are never added.  Those that only AMD documents go, with the leaves that tell of them (AMD APM 3, appendix E).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

Registers = tuple[int, int, int, int]
"""EAX, EBX, ECX, EDX."""
Cpuid = Callable[[int, int], Registers]
"""Of leaf and subleaf."""

CPUS = ("host", "intel")
"""What `enclu run --cpu` offers: the host's processor as it is, or under Intel's name."""
INTEL = (0x756E_6547, 0x6C65_746E, 0x4965_6E69)
"""EBX, ECX, EDX of leaf 0: "Genu", "ntel", "ineI"."""
SIGNATURES = (
    (0x0006_06A6, 0x7ED8_3203, 0xF1AF_0129, 0x0040_5F42),
    (0x0009_06ED, 0x7ED8_3203, 0x008C_0129, 0),
    (0x0007_06A8, 0, 0, 0),
)
"""EAX of leaf 1 for hosts that have these bits in ECX of leaf 1, EBX and ECX of leaf 7; the first that fits.

Ice Lake-SP, Coffee Lake, Goldmont Plus: processors with SGX, which have AVX-512, AVX2, neither.  A name promises
features: what a compiler's dispatcher takes for `arch=icelake-server` may use all that it has."""
BRAND = "Intel(R) Xeon(R) Processor (enclu)"
NOTHING = (0, 0, 0, 0)

VENDOR, FEATURES, DESCRIPTORS, CACHES, EXTENDED_FEATURES, TOPOLOGY = 0, 1, 2, 4, 7, 0xB
HIGHEST = 0x16
"""Of the basic leaves, at least: those between the host's and it are zero.

So is the last one; what lies beyond it repeats it on Intel's processors (SDM 2A CPUID), and is zero, too."""
HYPERVISOR = 0x4000_0000
EXTENDED, HIGHEST_EXTENDED = 0x8000_0000, 0x8000_0008
AMD_CACHES, AMD_TOPOLOGY = 0x8000_001D, 0x8000_001E

IN_LEAF_4 = (0x0000_FF01, 0x0000_00F0, 0, 0)
"""Leaf 2: one round; 0xFF, caches are in leaf 4; 0xF0, prefetches are of 64 bytes."""
ERMS, FSRM = 1 << 9, 1 << 4
"""EBX and EDX of leaf 7.  C libraries trust REP MOVSB to be fast where Intel says so; on AMD's processors, which have
the bits since Zen 3, it can be several times slower, and glibc looks at the vendor (sysdeps/x86/dl-cacheinfo.h)."""
EXTENDED_ECX = 1 << 0 | 1 << 5 | 1 << 8
"""Of 0x80000001 at Intel's: LAHF in 64-bit mode, LZCNT, PREFETCHW."""
EXTENDED_EDX = 1 << 11 | 1 << 20 | 1 << 26 | 1 << 27 | 1 << 29
"""SYSCALL, NX, pages of 1 GiB, RDTSCP, 64-bit mode."""
TOPOEXT = 1 << 22
"""ECX of 0x80000001: AMD's leaves of caches and topology are there."""
HTT = 1 << 28
"""EDX of leaf 1: there can be more than one logical processor in the package."""
WBNOINVD = 1 << 9
"""EBX of 0x80000008, at both."""
INVARIANT_TSC = 1 << 8
"""EDX of 0x80000007."""
SMT_LEVEL, CORE_LEVEL = 1, 2
"""Level types of leaf 0xB."""
WAYS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8, 8: 16, 0xA: 32, 0xB: 48, 0xC: 64, 0xD: 96, 0xE: 128}
"""By the code in 0x80000006 (AMD APM 3, table E-4)."""
DATA, INSTRUCTIONS, UNIFIED = 1, 2, 3
"""Cache types of leaf 4."""


class Cache(NamedTuple):
    """One of leaf 4."""

    kind: int
    level: int
    size: int
    ways: int
    line: int
    sharing: int
    """Logical processors."""

    def registers(self, cores: int) -> Registers:
        """As a subleaf of leaf 4."""
        eax = self.kind | self.level << 5 | 1 << 8 | (self.sharing - 1) << 14 | (cores - 1) << 26
        return eax, self.line - 1 | (self.ways - 1) << 22, self.size // (self.ways * self.line) - 1, 0


LEAST = (
    Cache(DATA, 1, 32 << 10, 8, 64, 1),
    Cache(INSTRUCTIONS, 1, 32 << 10, 8, 64, 1),
    Cache(UNIFIED, 2, 512 << 10, 8, 64, 1),
)
"""Where a hypervisor tells of no caches: what every Zen has.  With none at all glibc's thresholds become absurd."""


def is_intel(host: Cpuid) -> bool:
    """Whether the processor calls itself Intel's."""
    return host(VENDOR, 0)[1:] == INTEL


def of(host: Cpuid) -> Cpuid:
    """CPUID of `host`, as a processor of Intel's would answer; `host` itself if it is one."""
    return host if is_intel(host) else IntelCpu(host)


def brand(cpuid: Cpuid) -> str:
    """The name of the processor, from leaves 0x80000002 to 0x80000004."""
    text = b"".join(r.to_bytes(4, "little") for leaf in range(EXTENDED + 2, EXTENDED + 5) for r in cpuid(leaf, 0))
    return text.split(b"\0")[0].decode("latin-1").strip()


class IntelCpu:
    """CPUID of Intel's, from that of somebody else's processor."""

    def __init__(self, host: Cpuid) -> None:
        self._host = host
        self._highest = host(VENDOR, 0)[0]
        self._highest_extended = host(EXTENDED, 0)[0]

    def __call__(self, leaf: int, subleaf: int) -> Registers:
        if HYPERVISOR <= leaf < HYPERVISOR + 0x1_0000:
            return self._host(leaf, subleaf)
        if leaf >= EXTENDED:
            return self._extended(leaf) if leaf <= HIGHEST_EXTENDED else NOTHING
        if leaf == VENDOR:
            return max(self._highest, HIGHEST), *INTEL
        if leaf == DESCRIPTORS:
            return IN_LEAF_4
        if leaf == CACHES:
            return self._cache(subleaf)
        if leaf > self._highest:
            return self._topology(subleaf) if leaf == TOPOLOGY else NOTHING
        eax, ebx, ecx, edx = registers = self._host(leaf, subleaf)
        if leaf == FEATURES:
            return self._signature(ecx), ebx, ecx, edx
        if leaf == EXTENDED_FEATURES and subleaf == 0:
            return eax, ebx & ~ERMS, ecx, edx & ~FSRM
        if leaf == TOPOLOGY and not self._host(TOPOLOGY, 0)[1]:
            return self._topology(subleaf)
        return registers

    def _signature(self, features: int) -> int:
        _, ebx, ecx, _ = self._host(EXTENDED_FEATURES, 0) if self._highest >= EXTENDED_FEATURES else NOTHING
        return next(
            signature
            for signature, *needed in SIGNATURES
            if all(have & need == need for have, need in zip((features, ebx, ecx), needed, strict=True))
        )

    def _of_extended(self, leaf: int, subleaf: int = 0) -> Registers:
        """What the host says; nothing where it has no such leaf."""
        return self._host(leaf, subleaf) if leaf <= self._highest_extended else NOTHING

    def _extended(self, leaf: int) -> Registers:
        if leaf == EXTENDED:
            return HIGHEST_EXTENDED, 0, 0, 0
        eax, _ebx, ecx, edx = self._of_extended(leaf)
        match leaf - EXTENDED:
            case 1:
                return 0, 0, ecx & EXTENDED_ECX, edx & EXTENDED_EDX
            case 2 | 3 | 4:
                a, b, c, d = struct.unpack_from("<4I", BRAND.encode().ljust(48, b"\0"), (leaf - EXTENDED - 2) * 16)
                return a, b, c, d
            case 6:
                return 0, 0, ecx & 0xFFFF_F0FF, 0  # L2; what AMD calls lines per tag is reserved
            case 7:
                return 0, 0, 0, edx & INVARIANT_TSC
            case 8:
                return eax & 0xFFFF, self._of_extended(leaf)[1] & WBNOINVD, 0, 0
        return NOTHING

    # Threads, cores, caches.

    @property
    def _topology_extensions(self) -> bool:
        return bool(self._of_extended(EXTENDED + 1)[2] & TOPOEXT)

    @property
    def _threads(self) -> int:
        """Logical processors of the package."""
        _, ebx, _, edx = self._host(FEATURES, 0)
        counted = (self._of_extended(EXTENDED + 8)[2] & 0xFF) + 1
        return max(counted, ebx >> 16 & 0xFF) if edx & HTT else 1

    @property
    def _threads_of_core(self) -> int:
        if not self._topology_extensions:
            return 1
        return min((self._of_extended(AMD_TOPOLOGY)[1] >> 8 & 0xFF) + 1, self._threads)

    def _topology(self, subleaf: int) -> Registers:
        """Leaf 0xB: threads of a core, logical processors of the package."""
        apic_id = self._host(FEATURES, 0)[1] >> 24
        of_core, of_package = self._threads_of_core, self._threads
        if subleaf == 0:
            return _bits(of_core), of_core, SMT_LEVEL << 8, apic_id
        if subleaf == 1:
            told = self._of_extended(EXTENDED + 8)[2] >> 12 & 0xF
            return max(told, _bits(of_package)), of_package, CORE_LEVEL << 8 | 1, apic_id
        return 0, 0, subleaf & 0xFF, apic_id

    def _cache(self, subleaf: int) -> Registers:
        """Leaf 4: the host's own, or AMD's leaf of caches, which has its form but for the cores of the package."""
        if self._highest >= CACHES and self._host(CACHES, 0)[0] & 0x1F:
            return self._host(CACHES, subleaf)
        cores = min(1 << _bits(self._threads // self._threads_of_core), 64)
        if self._topology_extensions and self._of_extended(AMD_CACHES)[0] & 0x1F:
            eax, ebx, ecx, edx = self._of_extended(AMD_CACHES, subleaf)
            return (eax & 0x03FF_FFFF | (cores - 1) << 26, ebx, ecx, edx) if eax & 0x1F else NOTHING
        caches = list(self._told_caches()) or LEAST
        return caches[subleaf].registers(cores) if subleaf < len(caches) else NOTHING

    def _told_caches(self) -> Iterator[Cache]:
        """From 0x80000005 and 0x80000006, which know nothing of who shares what."""
        first, other = self._of_extended(EXTENDED + 5), self._of_extended(EXTENDED + 6)
        for kind, register in ((DATA, first[2]), (INSTRUCTIONS, first[3])):
            size, ways, line = register >> 24 << 10, register >> 16 & 0xFF, register & 0xFF
            if size and ways and line:
                yield Cache(kind, 1, size, size // line if ways == 0xFF else ways, line, self._threads_of_core)
        second, third = other[2], other[3]
        for level, register, size, sharing in (
            (2, second, second >> 16 << 10, self._threads_of_core), (3, third, third >> 18 << 19, self._threads)
        ):  # fmt: skip
            associativity, line = WAYS.get(register >> 12 & 0xF), register & 0xFF
            if size and associativity and line:
                yield Cache(UNIFIED, level, size, associativity, line, sharing)


def _bits(count: int) -> int:
    """How many tell so many things apart."""
    return (count - 1).bit_length()
