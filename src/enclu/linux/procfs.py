"""What /proc says about SGX.  Kernel: arch/x86/kernel/cpu/proc.c, feat_ctl.c, fs/proc/base.c."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING

from enclu.base.abi import AT_SYSINFO_EHDR
from enclu.linux import intel_cpu

if TYPE_CHECKING:
    from enclu.linux.intel_cpu import Cpuid

LEVELS = 8
"""Subleaves of CPUID leaf 4, at most."""

FLAGS = ("sgx", "sgx_lc")
"""Linux has names for no other of SGX's (arch/x86/include/asm/cpufeatures.h): SGX1, SGX2 and the rest are hidden."""
_NOT_INTELS = """
    mp mmxext fxsr_opt 3dnowext 3dnow cmp_legacy svm extapic cr8_legacy sse4a misalignsse osvw ibs xop skinit wdt lwp
    fma4 tce nodeid_msr tbm topoext perfctr_core perfctr_nb bpext ptsc perfctr_llc mwaitx

    overflow_recov succor smca hw_pstate cpb proc_feedback clzero irperf xsaveerptr rdpru amd_ppin virt_ssbd cppc brs

    npt lbrv svm_lock nrip_save tsc_scale vmcb_clean flushbyasid decodeassists pausefilter pfthreshold avic
    v_vmsave_vmload vgif x2avic v_spec_ctrl vnmi

    sme sev vm_page_flush sev_es v_tsc_aux sme_coherent sev_snp debug_swap perfmon_v2 amd_lbr_v2 amd_lbr_pmc_freeze

    vmmcall extd_apicid amd_dcm k8

    erms fsrm"""
NOT_INTELS = frozenset(_NOT_INTELS.split())
"""Flags of what a processor under Intel's name does not announce: CPUID 0x80000001; 0x80000007 and 0x80000008;
0x8000000A; above; what Linux concludes from the vendor; what `intel_cpu` hides of leaf 7.
Kernel: arch/x86/include/asm/cpufeatures.h."""


def cpuinfo(text: str) -> str:
    """/proc/cpuinfo with the flags of a processor that has SGX."""
    out = []
    for line in text.splitlines(keepends=True):
        name, colon, flags = line.partition(":")
        if name.strip() == "flags" and colon:
            have = flags.split()
            line = f"{name}: {' '.join(have + [f for f in FLAGS if f not in have])}\n"
        out.append(line)
    return "".join(out)


def as_intel(text: str, cpuid: Cpuid) -> str:
    """/proc/cpuinfo for a processor that CPUID calls Intel's, on a host of another vendor."""
    signature, caches = cpuid(intel_cpu.FEATURES, 0)[0], dict(_cache_sizes(cpuid))
    values = {
        "vendor_id": "GenuineIntel",
        "cpu family": f"{signature >> 8 & 0xF}",
        "model": f"{signature >> 12 & 0xF0 | signature >> 4 & 0xF}",
        "model name": intel_cpu.brand(cpuid),
        "stepping": f"{signature & 0xF}",
        "cache size": f"{(caches.get(3) or caches.get(2, 0)) >> 10} KB",
        "cpuid level": f"{cpuid(intel_cpu.VENDOR, 0)[0]}",
        "power management": "",
    }
    out = []
    for line in text.splitlines(keepends=True):
        name, colon, value = line.partition(":")
        known = name.strip()
        if known == "TLB size":
            continue  # told on AMD's only
        if known == "flags":
            line = f"{name}: {' '.join(flag for flag in value.split() if flag not in NOT_INTELS)}\n"
        elif colon and known in values:
            line = f"{name}: {values[known]}".rstrip(" ") + "\n"
        out.append(line)
    return "".join(out)


def _cache_sizes(cpuid: Cpuid) -> Iterator[tuple[int, int]]:
    """(level, bytes) of CPUID leaf 4.  Kernel: arch/x86/kernel/cpu/cacheinfo.c, init_intel_cacheinfo."""
    for subleaf in range(LEVELS):
        eax, ebx, ecx, _ = cpuid(intel_cpu.CACHES, subleaf)
        if not eax & 0x1F:
            return
        yield eax >> 5 & 7, ((ebx >> 22) + 1) * ((ebx >> 12 & 0x3FF) + 1) * ((ebx & 0xFFF) + 1) * (ecx + 1)


def auxv(vector: bytes, vdso: int) -> bytes:
    """/proc/PID/auxv of a process whose vDSO lies at `vdso`."""
    return b"".join(
        struct.pack("<QQ", key, vdso if key == AT_SYSINFO_EHDR else value)
        for key, value in struct.iter_unpack("<QQ", vector)
    )
