"""System calls that a program makes by INT 80H, as those of i386: other numbers, arguments of 32 bits.

Where the machine answers a call, or follows what the host kernel does, it is the call of x86-64 with the same meaning
(`as_native`).  What it would have to know and does not follow, signals above all, is refused (`REFUSED`).  So are all
calls of x32.  Kernel: arch/x86/entry/syscalls/syscall_32.tbl, arch/x86/entry/syscall_32.c.
"""

from __future__ import annotations

import contextlib
import struct
from typing import TYPE_CHECKING

from enclu.base.abi import MAP_FIXED, MAP_FIXED_NOREPLACE, NR

if TYPE_CHECKING:
    from collections.abc import Iterator

    from enclu.native.thread import Thread

X32_BIT = 0x4000_0000
"""__X32_SYSCALL_BIT: numbers of x32 from here to `X32_END`."""
X32_END = 0x8000_0000
SAME = {
    "exit": 1, "open": 5, "execve": 11, "ptrace": 26, "access": 33, "ioctl": 54, "readlink": 85, "munmap": 91,
    "wait4": 114, "clone": 120, "mprotect": 125, "msync": 144, "mlock": 150, "munlock": 151, "mlockall": 152,
    "mremap": 163, "prctl": 172, "rt_sigprocmask": 175, "mincore": 218, "madvise": 219, "getxattr": 229,
    "lgetxattr": 230, "listxattr": 232, "llistxattr": 233, "sched_setaffinity": 241, "sched_getaffinity": 242,
    "exit_group": 252, "remap_file_pages": 257, "waitid": 284, "openat": 295, "readlinkat": 305, "faccessat": 307,
    "seccomp": 354, "execveat": 358, "mlock2": 376, "pkey_mprotect": 380, "statx": 383, "shmat": 397, "openat2": 437,
    "faccessat2": 439, "mseal": 462,
}  # fmt: skip
"""Calls with the arguments of x86-64, as far as the machine looks at them -> number."""
MMAP2, WAITPID, CLONE3 = 192, 7, 435
OLD_MMAP = 90
"""mmap(2) with its arguments in memory (struct mmap_arg_struct32)."""
FORK, VFORK = 2, 190
"""What makes children besides clone; no call of theirs stops."""
IPC, IPCOP_SHMAT = 117, 21
MASKS = {
    "signal": 48, "sigaction": 67, "ssetmask": 69, "sigsuspend": 72, "sigreturn": 119, "sigprocmask": 126,
    "rt_sigreturn": 173, "rt_sigaction": 174, "rt_sigtimedwait": 177, "rt_sigsuspend": 179, "pselect6": 308,
    "ppoll": 309, "epoll_pwait": 319, "io_pgetevents": 385, "pselect6_time64": 413, "ppoll_time64": 414,
    "io_pgetevents_time64": 416, "rt_sigtimedwait_time64": 421, "io_uring_enter": 426, "epoll_pwait2": 441,
}  # fmt: skip
"""Calls that set signal masks or actions, but for rt_sigprocmask: frames and structures are others."""
REFUSED = {number: name for name, number in MASKS.items()} | {
    IPC: "ipc", 440: "process_madvise", CLONE3: "clone3",
}  # fmt: skip
"""Calls that a program may not make by INT 80H once it uses SGX, clone3 never; of ipc, only shmat(2) with SHM_REMAP."""
NATIVE = {number: NR[name] for name, number in SAME.items()} | {
    MMAP2: NR["mmap"], OLD_MMAP: NR["mmap"], WAITPID: NR["wait4"],
}  # fmt: skip
"""Number -> that of x86-64."""
ARGUMENTS, NATIVE_ARGUMENTS = ("rbx", "rcx", "rdx", "rsi", "rdi", "rbp"), ("rdi", "rsi", "rdx", "r10", "r8", "r9")
"""Registers of the arguments by INT 80H, and by SYSCALL."""
_MMAP_ARGUMENTS = struct.Struct("<6I")
_MAP_32BIT = 0x40


def arguments(thread: Thread) -> list[int]:
    """Those of the call of x86-64 that the thread means by its call.  Raises OSError if they cannot be read."""
    given = [getattr(thread.regs, name) & 0xFFFF_FFFF for name in ARGUMENTS]
    number = thread.regs.orig_rax
    if number == OLD_MMAP:
        given = list(_MMAP_ARGUMENTS.unpack(thread.space.read(given[0], _MMAP_ARGUMENTS.size)))
    elif number == MMAP2:
        given[5] <<= 12
    if NATIVE[number] == NR["mmap"] and not given[3] & (MAP_FIXED | MAP_FIXED_NOREPLACE):
        given[3] |= _MAP_32BIT  # where a 32-bit address reaches
    return given


@contextlib.contextmanager
def as_native(thread: Thread, arguments: list[int]) -> Iterator[None]:
    """The registers are those of the same call of x86-64 meanwhile; the stopped thread itself keeps its own."""
    regs = thread.regs
    saved = bytes(regs)
    try:
        regs.orig_rax = NATIVE[regs.orig_rax]
        for name, value in zip(NATIVE_ARGUMENTS, arguments, strict=True):
            setattr(regs, name, value)
        yield
    finally:
        regs.load(saved)
