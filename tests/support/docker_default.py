"""Run a command as in a container that Docker starts without options: `docker_default COMMAND...`.

What counts here of its default seccomp profile on x86-64 and Linux 4.8 or newer, and of the capabilities that are left
to root.  Namespaces, AppArmor and control groups are not imitated.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import subprocess
import sys

from tests.support import filters

ALLOWED = """
read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 sendfile copy_file_range splice tee vmsplice
open openat openat2 creat close close_range dup dup2 dup3 fcntl ioctl lseek fallocate fadvise64 readahead flock
truncate ftruncate sync syncfs fsync fdatasync sync_file_range pipe pipe2 memfd_create memfd_secret cachestat
stat fstat lstat newfstatat statx statfs fstatfs access faccessat faccessat2 readlink readlinkat getcwd chdir fchdir
chroot getdents getdents64 mkdir mkdirat rmdir mknod mknodat link linkat symlink symlinkat unlink unlinkat
rename renameat renameat2 chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat umask
utime utimes utimensat futimesat getxattr lgetxattr fgetxattr setxattr lsetxattr fsetxattr listxattr llistxattr
flistxattr removexattr lremovexattr fremovexattr getxattrat setxattrat listxattrat removexattrat name_to_handle_at
statmount listmount inotify_init inotify_init1 inotify_add_watch inotify_rm_watch fanotify_mark
landlock_create_ruleset landlock_add_rule landlock_restrict_self

brk mmap munmap mremap mprotect pkey_mprotect pkey_alloc pkey_free madvise mincore msync mlock mlock2 mlockall munlock
munlockall mseal map_shadow_stack remap_file_pages membarrier process_vm_readv process_vm_writev process_mrelease

fork vfork execve execveat exit exit_group wait4 waitid ptrace prctl arch_prctl modify_ldt seccomp rseq
set_tid_address set_robust_list get_robust_list set_thread_area get_thread_area restart_syscall uretprobe
futex futex_wait futex_wake futex_requeue futex_waitv pidfd_open pidfd_send_signal
getpid getppid gettid getpgid getpgrp setpgid getsid setsid getpriority setpriority ioprio_get ioprio_set
getrlimit setrlimit prlimit64 getrusage times sysinfo uname getcpu getrandom capget capset
sched_yield sched_getaffinity sched_setaffinity sched_getattr sched_setattr sched_getparam sched_setparam
sched_getscheduler sched_setscheduler sched_get_priority_max sched_get_priority_min sched_rr_get_interval
getuid geteuid getgid getegid getresuid getresgid getgroups setuid setgid setreuid setregid setresuid setresgid
setfsuid setfsgid setgroups

kill tkill tgkill pause alarm rt_sigaction rt_sigprocmask rt_sigpending rt_sigreturn rt_sigsuspend rt_sigtimedwait
rt_sigqueueinfo rt_tgsigqueueinfo sigaltstack signalfd signalfd4 eventfd eventfd2
time gettimeofday adjtimex nanosleep clock_gettime clock_getres clock_nanosleep clock_adjtime getitimer setitimer
timer_create timer_delete timer_settime timer_gettime timer_getoverrun timerfd_create timerfd_settime timerfd_gettime

select pselect6 poll ppoll epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 epoll_ctl_old
epoll_wait_old io_setup io_submit io_cancel io_getevents io_pgetevents io_destroy
socketpair bind listen accept accept4 connect shutdown getsockname getpeername getsockopt setsockopt sendto recvfrom
sendmsg recvmsg sendmmsg recvmmsg
shmget shmat shmctl shmdt semget semop semctl semtimedop msgget msgsnd msgrcv msgctl
mq_open mq_unlink mq_timedsend mq_timedreceive mq_notify mq_getsetattr
"""
"""Whatever their arguments are.  All else is EPERM, but for what follows."""
NEW_NAMESPACES = 0x7E02_0000
"""CLONE_NEW* that clone(2) must not have; clone3(2), whose flags no filter sees, does not exist."""
PERSONALITIES = (0, 8, 0x2_0000, 0x2_0008, 0xFFFF_FFFF)
AF_ALG, AF_VSOCK = 38, 40
CAPABILITIES = (0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31)
"""CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP, NET_BIND_SERVICE, NET_RAW, SYS_CHROOT, MKNOD,
AUDIT_WRITE, SETFCAP."""
PR_CAPBSET_DROP, CAP_LAST = 24, 63


def numbers() -> dict[str, int]:
    """System calls that the C library's headers know."""
    source = "#include <asm/unistd_64.h>\n"
    done = subprocess.run(["gcc", "-dM", "-E", "-"], input=source, capture_output=True, text=True, check=True)
    return {name: int(number) for name, number in re.findall(r"#define __NR_(\w+) (\d+)", done.stdout)}


def profile() -> bytes:
    nr, allow, deny = numbers(), filters.verdict(filters.ALLOW), filters.verdict(filters.ERRNO | errno.EPERM)
    argument = filters.load(filters.FIRST_ARGUMENT)
    program = filters.load(filters.NUMBER)
    program += b"".join(filters.if_equal(nr[name], allow) for name in ALLOWED.split() if name in nr)
    program += filters.if_equal(
        nr["clone"], argument + filters.mask(NEW_NAMESPACES) + filters.if_equal(0, allow) + deny
    )
    program += filters.if_equal(nr["clone3"], filters.verdict(filters.ERRNO | errno.ENOSYS))
    program += filters.if_equal(
        nr["personality"], argument + b"".join(filters.if_equal(value, allow) for value in PERSONALITIES) + deny
    )
    families = b"".join(filters.if_equal(family, deny) for family in (AF_ALG, AF_VSOCK))
    program += filters.if_equal(nr["socket"], argument + families + allow)
    return program + deny


if __name__ == "__main__":
    libc = ctypes.CDLL(None)
    for capability in set(range(CAP_LAST + 1)) - set(CAPABILITIES):
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    filters.install(profile())
    os.execvp(sys.argv[1], sys.argv[1:])
