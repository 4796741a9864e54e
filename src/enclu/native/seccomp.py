"""The two seccomp filters of a traced program: which system calls stop for the supervisor.

Every program carries the first from its start.  The second is added when a process opens an SGX device: only
then do memory maps and signal masks matter, so that ordinary programs run at full speed.  Kernel:
Documentation/userspace-api/seccomp_filter.rst, include/uapi/linux/seccomp.h.
"""

from __future__ import annotations

import ctypes
import os
import struct
from typing import TYPE_CHECKING, NamedTuple

from enclu.base.abi import (
    CLONE_UNTRACED,
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_FIXED_NOREPLACE,
    MAP_SHARED,
    MS_SYNC,
    NAME,
    NR,
    PR_GET_DUMPABLE,
    PR_SET_CHILD_SUBREAPER,
    PR_SET_DUMPABLE,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_SECCOMP,
    PR_SET_SYSCALL_USER_DISPATCH,
    PROT_EXEC,
    SGX_MAGIC,
    SHM_REMAP,
    UFFDIO_REGISTER,
    WALL,
    WCLONE,
    WNOHANG,
)
from enclu.native import compat_calls

if TYPE_CHECKING:
    from collections.abc import Iterator

RET_TRACE = 0x7FF00000
TRACE_DATA = 0x0567
"""SECCOMP_RET_DATA of our filters: tells their stops from those that a filter of the program's own asks for."""
RET_ALLOW = 0x7FFF0000
COMPAT_DATA, X32_DATA = 0x0568, 0x0569
"""Likewise, of calls by INT 80H, and of those of x32."""
AUDIT_ARCH_X86_64, AUDIT_ARCH_I386 = 0xC000003E, 0x40000003
SET_MODE_FILTER, GET_ACTION_AVAIL = 1, 2
FLAG_TSYNC = 1

_LD_ABS, _JEQ, _JGE, _JSET, _JA, _RET, _AND = 0x20, 0x15, 0x35, 0x45, 0x05, 0x06, 0x54
_NR, _ARCH, _IP = 0, 4, 8


def _arg(n: int) -> int:
    return 16 + 8 * n


class Rule(NamedTuple):
    """Stop at system call `nr`: always, or if the argument's low half, masked, equals `equals`.

    `nonzero` asks instead that any bit of the 64-bit argument be set.  Not where another argument, `unless` (its number
    and a mask), has a bit of the mask.
    """

    nr: int
    arg: int | None = None
    mask: int = 0xFFFF_FFFF
    equals: int | None = None
    nonzero: bool = False
    unless: tuple[int, int] | None = None


PATH_CALLS = {
    NR[name]: register
    for register, names in {
        "rdi": ("open", "stat", "lstat", "access", "readlink", "getxattr", "lgetxattr", "listxattr", "llistxattr"),
        "rsi": ("openat", "openat2", "newfstatat", "statx", "faccessat", "faccessat2", "readlinkat"),
    }.items()
    for name in names
}
"""System calls that name a path -> the register that points to it."""
WAIT_OPTIONS = (WNOHANG, WALL, WCLONE)
"""Those with which a wait for children stops: the end may be one that only the supervisor has been told of, or the
child one of the machine's own (`run.syscall_tasks`)."""
EVERY_PROGRAM = (
    *(Rule(nr) for nr in PATH_CALLS),
    Rule(NR["ioctl"], arg=1, mask=0xFF00, equals=SGX_MAGIC << 8),
    Rule(NR["mmap"], arg=2, mask=PROT_EXEC, equals=PROT_EXEC, unless=(3, MAP_ANONYMOUS)),  # code to be patched
    Rule(NR["mmap"], arg=3, mask=MAP_SHARED | MAP_ANONYMOUS, equals=MAP_SHARED),  # of an enclave passed on, perhaps
    *(Rule(NR[name]) for name in ("exit", "exit_group", "execve", "execveat", "ptrace")),
    *(Rule(NR["wait4"], arg=2, mask=option, equals=option) for option in WAIT_OPTIONS),
    *(Rule(NR["waitid"], arg=3, mask=option, equals=option) for option in WAIT_OPTIONS),
    Rule(NR["seccomp"]),
    Rule(NR["prctl"], arg=0, equals=PR_SET_SECCOMP),
    Rule(NR["prctl"], arg=0, equals=PR_GET_DUMPABLE),
    Rule(NR["prctl"], arg=0, equals=PR_SET_DUMPABLE),
    Rule(NR["prctl"], arg=0, equals=PR_SET_SYSCALL_USER_DISPATCH),
    Rule(NR["prctl"], arg=0, equals=PR_SET_CHILD_SUBREAPER),
    Rule(NR["clone"], arg=0, mask=CLONE_UNTRACED, equals=CLONE_UNTRACED),
    Rule(NR["clone3"]),
)  # fmt: skip
SGX_PROGRAM = (
    *(Rule(NR[name]) for name in
      ("mprotect", "pkey_mprotect", "munmap", "mremap", "madvise", "rt_sigaction", "rt_sigprocmask",
       "rt_sigreturn", "sched_getaffinity", "sched_setaffinity", "remap_file_pages", "process_madvise",
       "mseal", "mincore", "mlock", "mlock2", "munlock", "mlockall")),
    Rule(NR["msync"], arg=2, mask=MS_SYNC, equals=MS_SYNC),
    Rule(NR["shmat"], arg=1, nonzero=True),
    Rule(NR["ioctl"], arg=1, equals=UFFDIO_REGISTER),
    Rule(NR["mmap"], arg=3, mask=MAP_FIXED, equals=MAP_FIXED),  # MAP_FIXED may replace part of an enclave's range
    # Nothing of the machine's is to be in the way.
    Rule(NR["mmap"], arg=3, mask=MAP_FIXED_NOREPLACE, equals=MAP_FIXED_NOREPLACE),
    Rule(NR["mmap"], arg=4, mask=0x8000_0000, equals=0),  # a file, which may be an enclave
)  # fmt: skip


COMPAT_EVERY_PROGRAM = (
    Rule(compat_calls.OLD_MMAP),
    *(Rule(compat_calls.WAITPID, arg=2, mask=option, equals=option) for option in WAIT_OPTIONS),
    Rule(compat_calls.CLONE3),
)
COMPAT_SGX_PROGRAM = (
    *(Rule(nr) for nr in compat_calls.REFUSED if nr not in (compat_calls.IPC, compat_calls.CLONE3)),
    Rule(compat_calls.IPC, arg=2, mask=SHM_REMAP, equals=SHM_REMAP),
)
"""Rules for calls by INT 80H that are no call of x86-64's, or not answered as one."""


def _by_int80(rules: tuple[Rule, ...]) -> Iterator[Rule]:
    """The same for the same calls made by INT 80H."""
    for rule in rules:
        name = NAME[rule.nr]
        if name == "mmap":
            yield rule._replace(nr=compat_calls.MMAP2)
        elif name in compat_calls.SAME:
            yield rule._replace(nr=compat_calls.SAME[name])


def every_program(own_text: tuple[int, int]) -> bytes:
    """The filter that each program carries from its start."""
    return program(EVERY_PROGRAM, (*_by_int80(EVERY_PROGRAM), *COMPAT_EVERY_PROGRAM), own_text)


def sgx_program(own_text: tuple[int, int]) -> bytes:
    """The filter that is added when a process opens an SGX device."""
    return program(SGX_PROGRAM, (*_by_int80(SGX_PROGRAM), *COMPAT_SGX_PROGRAM), own_text)


class _Assembler:
    """Instructions of classic BPF with jumps to labels."""

    def __init__(self) -> None:
        self._out: list[tuple[int, int | str, str, str]] = []
        self._labels: dict[str, int] = {}

    def emit(self, code: int, k: int | str = 0, true: str = "", false: str = "") -> None:
        """Jumps without a label go on behind the instruction."""
        self._out.append((code, k, true, false))

    def label(self, name: str) -> None:
        self._labels[name] = len(self._out)

    def _offset(self, label: str, here: int) -> int:
        return self._labels[label] - here - 1 if label else 0

    def __bytes__(self) -> bytes:
        packed = bytearray()
        for here, (code, k, true, false) in enumerate(self._out):
            if isinstance(k, str):
                k = self._offset(k, here)
            packed += struct.pack("<HBBI", code, self._offset(true, here), self._offset(false, here), k)
        return bytes(packed)


def program(rules: tuple[Rule, ...], by_int80: tuple[Rule, ...], own_text: tuple[int, int]) -> bytes:
    """The filter as struct sock_filter[]; calls made from within `own_text` (start, end) never stop.

    Calls that no rule names are allowed after looking at their number alone, which lets the kernel cache the
    verdict (seccomp_cache_prepare).
    """
    out = _Assembler()
    out.emit(_LD_ABS, _ARCH)
    out.emit(_JEQ, AUDIT_ARCH_X86_64, "native", "")
    out.emit(_JEQ, AUDIT_ARCH_I386, "", "allow")
    out.emit(_JA, "int80")
    out.label("allow")
    out.emit(_RET, RET_ALLOW)
    out.label("native")
    out.emit(_LD_ABS, _NR)
    out.emit(_JGE, compat_calls.X32_BIT, "", "x86-64")
    out.emit(_JGE, compat_calls.X32_END, "x86-64", "")
    out.emit(_RET, RET_TRACE | X32_DATA)
    out.label("x86-64")
    _choose(out, rules, "ip")
    out.label("ip")
    start, end = own_text
    out.emit(_LD_ABS, _IP + 4)
    out.emit(_JEQ, start >> 32, "", "trace")
    out.emit(_LD_ABS, _IP)
    out.emit(_JGE, start & 0xFFFF_FFFF, "", "trace")
    out.emit(_JGE, end & 0xFFFF_FFFF, "trace", "")
    out.emit(_RET, RET_ALLOW)
    out.label("trace")
    out.emit(_RET, RET_TRACE | TRACE_DATA)
    out.label("int80")
    out.emit(_LD_ABS, _NR)
    _choose(out, by_int80, "compat")
    out.label("compat")
    out.emit(_RET, RET_TRACE | COMPAT_DATA)
    return bytes(out)


def _choose(out: _Assembler, rules: tuple[Rule, ...], chosen: str) -> None:
    """Go on at the label for calls that a rule names, and allow all others.  The number is loaded."""
    by_nr: dict[int, list[Rule]] = {}
    for rule in rules:
        by_nr.setdefault(rule.nr, []).append(rule)
    for nr in by_nr:
        out.emit(_JEQ, nr, f"{chosen}{nr}", "")
    out.emit(_RET, RET_ALLOW)
    for nr, group in by_nr.items():
        out.label(f"{chosen}{nr}")
        for i, rule in enumerate(group):
            following = f"{chosen}{nr}.{i}"
            if rule.unless is not None:
                arg, mask = rule.unless
                out.emit(_LD_ABS, _arg(arg))
                out.emit(_JSET, mask, following, "")
            if rule.arg is None:
                out.emit(_JA, chosen)
            elif rule.nonzero:
                out.emit(_LD_ABS, _arg(rule.arg))
                out.emit(_JSET, 0xFFFF_FFFF, chosen, "")
                out.emit(_LD_ABS, _arg(rule.arg) + 4)
                out.emit(_JSET, 0xFFFF_FFFF, chosen, following)
            else:
                out.emit(_LD_ABS, _arg(rule.arg))
                out.emit(_AND, rule.mask)
                out.emit(_JEQ, rule.equals or 0, chosen, following)
            out.label(following)
        out.emit(_RET, RET_ALLOW)


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
