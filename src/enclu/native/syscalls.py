"""System call numbers that the supervisor knows.  Kernel: arch/x86/entry/syscalls/syscall_64.tbl."""

from __future__ import annotations

NR = {
    "open": 2, "close": 3, "stat": 4, "lstat": 6, "mmap": 9, "mprotect": 10, "munmap": 11, "rt_sigaction": 13,
    "rt_sigprocmask": 14, "rt_sigreturn": 15, "ioctl": 16, "access": 21, "mremap": 25, "madvise": 28, "getpid": 39,
    "clone": 56, "fork": 57, "vfork": 58, "execve": 59, "exit": 60, "wait4": 61, "ftruncate": 77, "readlink": 89,
    "ptrace": 101, "rt_sigsuspend": 130, "prctl": 157, "arch_prctl": 158, "getxattr": 191, "lgetxattr": 192,
    "listxattr": 194, "llistxattr": 195, "futex": 202, "sched_setaffinity": 203, "sched_getaffinity": 204,
    "exit_group": 231, "tgkill": 234, "waitid": 247, "openat": 257, "newfstatat": 262, "readlinkat": 267,
    "faccessat": 269, "ppoll": 271, "epoll_pwait": 281, "fallocate": 285, "dup3": 292, "process_vm_readv": 310,
    "process_vm_writev": 311, "seccomp": 317, "memfd_create": 319, "execveat": 322, "pkey_mprotect": 329,
    "statx": 332, "clone3": 435, "openat2": 437, "faccessat2": 439,
}  # fmt: skip
NAME = {number: name for name, number in NR.items()}


def signed(value: int) -> int:
    """An argument that the kernel takes as an int: a descriptor, say."""
    value &= 0xFFFF_FFFF  # C libraries leave anything in the upper half
    return value - (1 << 32) if value & 0x8000_0000 else value
