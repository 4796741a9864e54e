"""Numbers of the kernel's interface on x86-64, each once: system calls, and the flags of their arguments.

Kernel: arch/x86/entry/syscalls/syscall_64.tbl, arch/x86/include/uapi/asm/signal.h, include/uapi/asm-generic/
mman-common.h and siginfo.h, include/uapi/linux/auxvec.h, fcntl.h, futex.h, memfd.h, mman.h, prctl.h,
sched.h and wait.h.
"""

from __future__ import annotations

NR = {
    "read": 0, "write": 1, "open": 2, "close": 3, "stat": 4, "lstat": 6, "mmap": 9, "mprotect": 10, "munmap": 11,
    "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "ioctl": 16, "readv": 19, "writev": 20, "access": 21,
    "mremap": 25, "msync": 26, "mincore": 27, "madvise": 28, "shmat": 30, "shmctl": 31, "getpid": 39, "connect": 42,
    "accept": 43, "sendto": 44, "recvfrom": 45, "sendmsg": 46, "recvmsg": 47, "clone": 56, "fork": 57, "vfork": 58,
    "execve": 59, "exit": 60, "wait4": 61, "semop": 65, "msgsnd": 69, "msgrcv": 70, "ftruncate": 77, "chdir": 80,
    "readlink": 89, "ptrace": 101, "setsid": 112, "rt_sigpending": 127, "rt_sigtimedwait": 128, "rt_sigsuspend": 130,
    "sigaltstack": 131, "mlock": 149, "munlock": 150, "mlockall": 151, "prctl": 157, "arch_prctl": 158,
    "getxattr": 191, "lgetxattr": 192, "listxattr": 194, "llistxattr": 195, "futex": 202, "sched_setaffinity": 203,
    "sched_getaffinity": 204, "io_getevents": 208, "remap_file_pages": 216, "semtimedop": 220, "exit_group": 231,
    "epoll_wait": 232, "tgkill": 234, "waitid": 247, "openat": 257, "newfstatat": 262, "readlinkat": 267,
    "faccessat": 269, "pselect6": 270, "ppoll": 271, "epoll_pwait": 281, "signalfd": 282, "fallocate": 285,
    "accept4": 288, "signalfd4": 289, "dup3": 292, "recvmmsg": 299, "sendmmsg": 307, "process_vm_readv": 310,
    "process_vm_writev": 311, "seccomp": 317, "memfd_create": 319, "execveat": 322, "membarrier": 324, "mlock2": 325,
    "pkey_mprotect": 329, "statx": 332, "io_pgetevents": 333, "io_uring_enter": 426, "clone3": 435, "close_range": 436,
    "openat2": 437, "faccessat2": 439, "process_madvise": 440, "epoll_pwait2": 441, "mseal": 462,
}  # fmt: skip
"""System calls by name."""
NAME = {number: name for name, number in NR.items()}


PROT_NONE, PROT_READ, PROT_WRITE, PROT_EXEC = 0, 1, 2, 4
MAP_SHARED, MAP_PRIVATE, MAP_SHARED_VALIDATE, MAP_TYPE = 1, 2, 3, 0xF
MAP_FIXED, MAP_ANONYMOUS, MAP_NORESERVE, MAP_HUGETLB, MAP_FIXED_NOREPLACE = 0x10, 0x20, 0x4000, 0x4_0000, 0x10_0000
LEGACY_MAP_MASK = 0x7C07_F9F3
"""Flags that mmap(2) knows of old (include/linux/mman.h): with MAP_SHARED_VALIDATE there may be no other."""
FMODE_READ, FMODE_WRITE = 1, 2
MREMAP_MAYMOVE, MREMAP_FIXED, MREMAP_DONTUNMAP = 1, 2, 4
MCL_CURRENT, MS_ASYNC, MS_SYNC = 1, 1, 4
SHM_REMAP, IPC_STAT = 0x4000, 2
PIDFD_SELF = (-10000, -10001)
"""PIDFD_SELF_THREAD and PIDFD_SELF_THREAD_GROUP."""
UFFDIO_REGISTER = 0xC020_AA00
MFD_CLOEXEC, MFD_ALLOW_SEALING = 1, 2
CLONE_VM, CLONE_FILES, CLONE_SIGHAND, CLONE_THREAD, CLONE_UNTRACED = 0x100, 0x400, 0x800, 0x1_0000, 0x80_0000
CLONE_CLEAR_SIGHAND = 0x1_0000_0000
CLOSE_RANGE_UNSHARE = 2
WNOHANG, WALL, WCLONE = 1, 0x4000_0000, 0x8000_0000
"""Options of wait4(2); the last two, __WALL and __WCLONE, find children of clone(2) that send no SIGCHLD."""
SIG_DFL, SIG_IGN = 0, 1
SA_SIGINFO, SA_RESTORER, SA_RESTART, SA_NODEFER, SA_RESETHAND = 4, 0x0400_0000, 0x1000_0000, 0x4000_0000, 0x8000_0000
SI_KERNEL, SI_TKILL = 0x80, -6
MADV_DONTFORK, MADV_DONTDUMP = 10, 16
ILL_ILLOPC, ILL_ILLOPN, BUS_ADRALN, BUS_ADRERR = 1, 2, 1, 2
FPE_INTDIV, FPE_FLTDIV, FPE_FLTOVF, FPE_FLTUND, FPE_FLTRES, FPE_FLTINV = 1, 3, 4, 5, 6, 7
SEGV_MAPERR, SEGV_ACCERR, TRAP_TRACE = 1, 2, 2
FUTEX_WAIT, FUTEX_WAKE = 0, 1
PR_SET_PDEATHSIG = 1
PR_GET_DUMPABLE, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, PR_SET_PTRACER = 3, 4, 22, 38, 0x5961_6D61
PR_SET_NAME, PR_SET_CHILD_SUBREAPER, PR_GET_CHILD_SUBREAPER, PR_SET_SYSCALL_USER_DISPATCH = 15, 36, 37, 59
AT_NULL, AT_HWCAP2, AT_SYSINFO_EHDR = 0, 26, 33
"""Keys of the auxiliary vector."""
AT_FDCWD = -100
SGX_MAGIC = 0xA4
"""Of the ioctls of the SGX driver (arch/x86/include/uapi/asm/sgx.h)."""


def signed(value: int) -> int:
    """An argument that the kernel takes as an int: a descriptor, say."""
    value &= 0xFFFF_FFFF  # C libraries leave anything in the upper half
    return value - (1 << 32) if value & 0x8000_0000 else value
