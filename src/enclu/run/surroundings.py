"""System calls that enclu depends on, and that a seccomp filter around it may deny.

Containers and service managers have such filters.  They are inherited: what holds for the process that starts the
program holds for the supervisor and for the program, in which the supervisor has calls made (`inject`), too.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
from collections.abc import Callable, Iterable
from typing import NamedTuple

from enclu.base.abi import NR
from enclu.native import ptrace
from enclu.native.seccomp import GET_ACTION_AVAIL, RET_TRACE

_libc = ctypes.CDLL(None, use_errno=True)
_NO_DESCRIPTOR = -1
_SCARCE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""Errors of calls that are not denied; what needs what is scarce will tell."""
ALLOW = "docker run --cap-add=SYS_PTRACE --security-opt seccomp=unconfined, or SystemCallFilter= of systemd, allows it"


class Need(NamedTuple):
    """A system call; `attempt` makes it so that nothing happens, and gives its errno."""

    call: str
    purpose: str
    attempt: Callable[[], int]
    allowed: tuple[int, ...] = (0,)


class Denial(NamedTuple):
    """A call that is denied by an error, or (None) kills who makes it."""

    need: Need
    error: int | None

    @property
    def fatal(self) -> bool:
        """Without threads enclu can do; not where it would be killed for trying."""
        return self.need is not THREADS or self.error is None

    def __str__(self) -> str:
        how = "kills the process" if self.error is None else os.strerror(self.error)
        return f"{self.need.purpose} ({self.need.call}(2): {how})"


def _errno_of(call: str, *arguments: object) -> int:
    # The seventh argument of syscall(3) is on the stack, where the upper half of an int is whatever was there.
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return ctypes.get_errno() if _libc.syscall(NR[call], *words) == -1 else 0


def _memfd_create() -> int:
    try:
        os.close(os.memfd_create("enclu", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING))
    except OSError as error:
        return error.errno or errno.EINVAL
    return 0


THREADS = Need("clone3", "create threads", lambda: _errno_of("clone3", None, 0), (errno.EINVAL, errno.ENOSYS))
"""C libraries make do without it where it does not exist, which is what ENOSYS says; any other error they pass on."""
NEEDS = (
    Need("ptrace", "trace the program", lambda: _errno_of("ptrace", ptrace.CONT, 0, None, None), (errno.ESRCH,)),
    Need("seccomp", "filter system calls",
         lambda: _errno_of("seccomp", GET_ACTION_AVAIL, 0, ctypes.byref(ctypes.c_uint32(RET_TRACE)))),
    Need("process_vm_readv", "read memory of the program",
         lambda: _errno_of("process_vm_readv", os.getpid(), None, 0, None, 0, 0)),
    Need("process_vm_writev", "write memory of the program",
         lambda: _errno_of("process_vm_writev", os.getpid(), None, 0, None, 0, 0)),
    Need("tgkill", "send signals to threads", lambda: _errno_of("tgkill", os.getpid(), os.getpid(), 0)),
    Need("memfd_create", "create the memory of enclaves", _memfd_create),
    Need("ftruncate", "size the memory of enclaves", lambda: _errno_of("ftruncate", _NO_DESCRIPTOR, 0), (errno.EBADF,)),
    Need("fallocate", "give back memory of enclaves",
         lambda: _errno_of("fallocate", _NO_DESCRIPTOR, 0, 0, 1), (errno.EBADF,)),
    THREADS,
)  # fmt: skip


def _denied(need: Need) -> Denial | None:
    error = need.attempt()
    return None if error in need.allowed or error in _SCARCE else Denial(need, error)


def try_here(needs: Iterable[Need] = NEEDS) -> list[Denial]:
    """All needs tried in this process, which dies where a filter kills instead of denying.  It never dumps core."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    return [denial for need in needs if (denial := _denied(need)) is not None]


def try_each() -> list[Denial]:
    """Each need tried in a process of its own.  Raises OSError where there can be no more processes."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # if ignored, nobody could be waited for
    found = []
    for need in NEEDS:
        child = os.fork()
        if child == 0:
            try:
                denials = try_here((need,))
                os._exit(min(denials[0].error or 0, 255) if denials else 0)
            finally:
                os._exit(errno.EINVAL)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status:
            found.append(Denial(need, status if status > 0 else None))
    return found


def refusal(denials: Iterable[Denial]) -> str:
    """What to say about calls without which there is no machine."""
    what = ", nor ".join(map(str, denials))
    return f"may not {what}: a seccomp filter, of a container perhaps, or the kernel denies it"


def thread_note(denial: Denial) -> tuple[str, str]:
    """What to say about threads that cannot be created, by enclu and by programs, and the way out."""
    return (
        f'no threads can be created: a seccomp filter answers clone3(2) with "{os.strerror(denial.error or 0)}", '
        "not with ENOSYS, after which C libraries use clone(2)",
        "use a newer container runtime, or another seccomp profile",
    )
