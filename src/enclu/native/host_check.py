"""What `enclu run` needs of the host, found out by trying it."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass

from enclu.native import cpuid, launch, ptrace
from enclu.native.syscalls import NR

AT_HWCAP2, HWCAP2_FSGSBASE = 26, 2
ARCH_GET_CPUID, ARCH_SET_CPUID = 0x1011, 0x1012
SYS_ARCH_PRCTL = 158
YAMA = "/proc/sys/kernel/yama/ptrace_scope"


@dataclass(frozen=True)
class Finding:
    """One answer: True is good, False stops enclu, None is worth knowing."""

    name: str
    good: bool | None
    text: str
    repair: str = ""


def findings() -> Iterator[Finding]:
    """Every check in order."""
    if platform.machine() == "x86_64" and platform.system() == "Linux":
        yield Finding("host", True, "x86-64 Linux")
    else:
        yield Finding("host", False, f"{platform.system()} on {platform.machine()}", "enclu needs x86-64 Linux.")
        return
    yield _ptrace()
    yield _yama()
    libc = ctypes.CDLL(None, use_errno=True)
    libc.getauxval.restype = ctypes.c_ulong
    fsgsbase = bool(libc.getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE)
    yield Finding("FSGSBASE", True if fsgsbase else None,
                  "user mode may use WRFSBASE" if fsgsbase else "enclaves that use WRFSBASE get #UD",
                  "" if fsgsbase else "Linux 5.9 or newer, booted without nofsgsbase, has it.")  # fmt: skip
    faulting = libc.syscall(SYS_ARCH_PRCTL, ARCH_SET_CPUID, 1) == 0
    yield Finding("CPUID faulting", True if faulting else None,
                  "the host can make CPUID fault" if faulting else
                  "not available: CPUID in programs is patched where it can be told from data")  # fmt: skip
    sgx = cpuid.host(7, 0)[1] >> 2 & 1 if cpuid.host(0, 0)[0] >= 7 else 0
    device = os.path.exists("/dev/sgx_enclave")
    yield Finding(
        "real SGX",
        None,
        {(0, False): "none: the machine is all software"}.get(
            (sgx, device),
            f"processor {'yes' if sgx else 'no'}, device {'yes' if device else 'no'}; enclu does not use it",
        ),
    )


def _ptrace() -> Finding:
    true = shutil.which("true")
    if true is None:
        return Finding("ptrace", None, "not tried: there is no `true` in PATH")
    try:
        pid = launch.start(true, ["true"])
    except launch.LaunchError as error:
        return Finding(
            "ptrace",
            False,
            str(error),
            "In a container: docker run --cap-add=SYS_PTRACE --security-opt seccomp=unconfined",
        )
    os.kill(pid, 9)
    os.waitpid(pid, ptrace.WALL)
    return Finding("ptrace and seccomp", True, f"a child can be traced and filtered (seccomp is call {NR['seccomp']})")


def _yama() -> Finding:
    try:
        with open(YAMA) as file:
            scope = int(file.read())
    except OSError:
        return Finding("yama", True, "not in this kernel")
    if scope <= 2:
        return Finding("yama", True, f"ptrace_scope {scope}: children may be traced")
    repair = f"echo 1 | sudo tee {YAMA}; at 3 reboot first"
    return Finding("yama", False, f"ptrace_scope {scope}: nobody may trace", repair)
