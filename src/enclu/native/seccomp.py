"""The two seccomp filters of a traced program: which system calls stop for the supervisor.

Every program carries the first from its start.  The second is added when a process opens an SGX device: only
then do memory maps and signal masks matter, so that ordinary programs run at full speed.  Kernel:
Documentation/userspace-api/seccomp_filter.rst, include/uapi/linux/seccomp.h.
"""

from __future__ import annotations

import ctypes
import os
import struct
from dataclasses import dataclass

from enclu.base.abi import MS_SYNC, NR, PR_SET_SYSCALL_USER_DISPATCH, SHM_REMAP, UFFDIO_REGISTER

RET_TRACE = 0x7FF00000
TRACE_DATA = 0x0567
"""SECCOMP_RET_DATA of our filters: tells their stops from those that a filter of the program's own asks for."""
RET_ALLOW = 0x7FFF0000
AUDIT_ARCH_X86_64 = 0xC000003E
PR_GET_DUMPABLE, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS = 3, 4, 38
SET_MODE_FILTER, GET_ACTION_AVAIL = 1, 2
FLAG_TSYNC = 1

_LD_ABS, _JEQ, _JGE, _JSET, _JA, _RET, _AND = 0x20, 0x15, 0x35, 0x45, 0x05, 0x06, 0x54
_NR, _ARCH, _IP = 0, 4, 8


def _arg(n: int) -> int:
    return 16 + 8 * n


SGX_MAGIC = 0xA4
PROT_EXEC = 4
WNOHANG = 1
MAP_SHARED, MAP_FIXED, MAP_ANONYMOUS = 1, 0x10, 0x20


@dataclass(frozen=True)
class Rule:
    """Stop at system call `nr`: always, or if the argument's low half, masked, equals `equals`.

    `nonzero` asks instead that any bit of the 64-bit argument be set.
    """

    nr: int
    arg: int | None = None
    mask: int = 0xFFFF_FFFF
    equals: int | None = None
    nonzero: bool = False


PATH_CALLS = {
    NR[name]: register
    for register, names in {
        "rdi": ("open", "stat", "lstat", "access", "readlink", "getxattr", "lgetxattr", "listxattr", "llistxattr"),
        "rsi": ("openat", "openat2", "newfstatat", "statx", "faccessat", "faccessat2", "readlinkat"),
    }.items()
    for name in names
}
"""System calls that name a path -> the register that points to it."""
EVERY_PROGRAM = (
    *(Rule(nr) for nr in PATH_CALLS),
    Rule(NR["ioctl"], arg=1, mask=0xFF00, equals=SGX_MAGIC << 8),
    Rule(NR["mmap"], arg=2, mask=PROT_EXEC, equals=PROT_EXEC),
    Rule(NR["mmap"], arg=3, mask=MAP_SHARED | MAP_ANONYMOUS, equals=MAP_SHARED),  # of an enclave passed on, perhaps
    *(Rule(NR[name]) for name in ("exit", "exit_group", "execve", "execveat", "ptrace")),
    Rule(NR["wait4"], arg=2, mask=WNOHANG, equals=WNOHANG),
    Rule(NR["waitid"], arg=3, mask=WNOHANG, equals=WNOHANG),
    Rule(NR["prctl"], arg=0, equals=PR_GET_DUMPABLE),
    Rule(NR["prctl"], arg=0, equals=PR_SET_DUMPABLE),
    Rule(NR["prctl"], arg=0, equals=PR_SET_SYSCALL_USER_DISPATCH),
)  # fmt: skip
SGX_PROGRAM = (
    *(Rule(NR[name]) for name in
      ("mprotect", "pkey_mprotect", "munmap", "mremap", "madvise", "rt_sigaction", "rt_sigprocmask",
       "rt_sigreturn", "sched_getaffinity", "sched_setaffinity", "remap_file_pages", "process_madvise",
       "mseal", "mincore", "mlock", "mlock2", "munlock", "mlockall")),
    Rule(NR["msync"], arg=2, mask=MS_SYNC, equals=MS_SYNC),
    Rule(NR["shmat"], arg=2, mask=SHM_REMAP, equals=SHM_REMAP),
    Rule(NR["ioctl"], arg=1, equals=UFFDIO_REGISTER),
    Rule(NR["mmap"], arg=3, mask=MAP_FIXED, equals=MAP_FIXED),  # MAP_FIXED may replace part of an enclave's range
    Rule(NR["mmap"], arg=4, mask=0x8000_0000, equals=0),  # a file, which may be an enclave
)  # fmt: skip


def program(rules: tuple[Rule, ...], own_text: tuple[int, int]) -> bytes:
    """The filter as struct sock_filter[]; calls made from within `own_text` (start, end) never stop.

    Calls that no rule names are allowed after looking at their number alone, which lets the kernel cache the
    verdict (seccomp_cache_prepare).
    """
    by_nr: dict[int, list[Rule]] = {}
    for rule in rules:
        by_nr.setdefault(rule.nr, []).append(rule)
    out: list[list[int | str]] = []
    labels: dict[str, int] = {}

    def emit(code: int, k: int, true: str = "", false: str = "") -> None:
        out.append([code, k, true, false])

    emit(_LD_ABS, _ARCH)
    emit(_JEQ, AUDIT_ARCH_X86_64, "", "allow")
    emit(_LD_ABS, _NR)
    for nr in by_nr:
        emit(_JEQ, nr, f"nr{nr}", "")
    emit(_RET, RET_ALLOW)
    for nr, group in by_nr.items():
        labels[f"nr{nr}"] = len(out)
        for i, rule in enumerate(group):
            following = f"nr{nr}.{i}"
            if rule.arg is None:
                emit(_JA, 0, "ip")
            elif rule.nonzero:
                emit(_LD_ABS, _arg(rule.arg))
                emit(_JSET, 0xFFFF_FFFF, "ip", "")
                emit(_LD_ABS, _arg(rule.arg) + 4)
                emit(_JSET, 0xFFFF_FFFF, "ip", following)
            else:
                emit(_LD_ABS, _arg(rule.arg))
                emit(_AND, rule.mask)
                emit(_JEQ, rule.equals or 0, "ip", following)
            labels[following] = len(out)
        emit(_RET, RET_ALLOW)
    labels["ip"] = len(out)
    start, end = own_text
    emit(_LD_ABS, _IP + 4)
    emit(_JEQ, start >> 32, "", "trace")
    emit(_LD_ABS, _IP)
    emit(_JGE, start & 0xFFFF_FFFF, "", "trace")
    emit(_JGE, end & 0xFFFF_FFFF, "trace", "allow")
    labels["trace"] = len(out)
    emit(_RET, RET_TRACE | TRACE_DATA)
    labels["allow"] = len(out)
    emit(_RET, RET_ALLOW)

    def offset(label: int | str, here: int) -> int:
        return labels[str(label)] - here - 1 if label else 0

    packed = bytearray()
    for here, (code, k, true, false) in enumerate(out):
        if code == _JA:
            packed += struct.pack("<HBBI", code, 0, 0, offset(true, here))
        else:
            packed += struct.pack("<HBBI", code, offset(true, here), offset(false, here), int(k))
    return bytes(packed)


def install(filter_bytes: bytes) -> None:
    """Put the filter on the calling thread (the child, just before exec).  Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    raw = ctypes.create_string_buffer(filter_bytes, len(filter_bytes))
    fprog = ctypes.create_string_buffer(struct.pack("<HxxxxxxQ", len(filter_bytes) // 8, ctypes.addressof(raw)))
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 or libc.syscall(
        NR["seccomp"], SET_MODE_FILTER, 0, ctypes.byref(fprog)
    ):
        error = ctypes.get_errno()
        raise OSError(error, f"seccomp: {os.strerror(error)}")
