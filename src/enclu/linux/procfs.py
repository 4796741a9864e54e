"""What /proc says about SGX.  Kernel: arch/x86/kernel/cpu/proc.c, feat_ctl.c, fs/proc/base.c."""

from __future__ import annotations

import struct

AT_SYSINFO_EHDR = 33

FLAGS = ("sgx", "sgx_lc", "sgx1", "sgx2", "sgx_edeccssa")


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


def auxv(vector: bytes, vdso: int) -> bytes:
    """/proc/PID/auxv of a process whose vDSO lies at `vdso`."""
    return b"".join(
        struct.pack("<QQ", key, vdso if key == AT_SYSINFO_EHDR else value)
        for key, value in struct.iter_unpack("<QQ", vector)
    )
