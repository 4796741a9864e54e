"""System calls that the supervisor answers or changes, by number; here those of the device, and what is left over."""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING

from enclu.base.abi import NR, PR_SET_SYSCALL_USER_DISPATCH, UFFDIO_REGISTER, signed
from enclu.base.events import Ioctl, IoctlRefused
from enclu.linux.debug import debug_access
from enclu.linux.ioctl import sgx_ioctl
from enclu.linux.uapi import ENCLU_SGX_IOC_DEBUG_ACCESS, ENCLU_SGX_IOC_DROP_EPC, SGX_MAGIC, ioctl_name
from enclu.native import dumpable, ptrace, seccomp, signals, user_dispatch
from enclu.native.device_files import DeviceFiles
from enclu.native.inject import answering, finish, inject
from enclu.native.memory_calls import MemoryCalls
from enclu.native.range_calls import RangeCalls
from enclu.native.signal_calls import SignalCalls

if TYPE_CHECKING:
    from enclu.linux.encl import Encl
    from enclu.run.supervisor import Supervisor
    from enclu.run.task import Task as Thread


class Interceptor:
    """Answers the system calls at which the seccomp filters stop a thread."""

    CALLS = "ioctl ptrace sched_getaffinity sched_setaffinity prctl"

    def __init__(self, supervisor: Supervisor) -> None:
        self._sup = supervisor
        self.files = DeviceFiles(supervisor)
        ranges = RangeCalls()
        groups = (self, self.files, SignalCalls(), supervisor.ends)
        self._handlers = {NR[name]: getattr(group, name) for group in groups for name in group.CALLS.split()}
        for answers in (MemoryCalls(supervisor, self.files), ranges):
            self._handlers |= {NR[name]: answering(getattr(answers, name)) for name in answers.CALLS.split()}
        self._uffdio_register = answering(ranges.uffdio_register)
        self._of_ends = frozenset(NR[name] for name in supervisor.ends.CALLS.split())

    def handle(self, thread: Thread) -> None:
        """The thread is about to make a system call that some rule names; resumes it."""
        if ptrace.event_message(thread.tid) != seccomp.TRACE_DATA:
            # The program's own filter wants it traced, and to the program nobody traces it.
            finish(thread, -errno.ENOSYS)
            return
        if not thread.space.visible and thread.regs.orig_rax not in self._of_ends:
            thread.resume()
            return
        thread.space.enclu_sites.clear()
        thread.space.pid = thread.tid
        self._handlers[thread.regs.orig_rax](thread)

    def ioctl(self, thread: Thread) -> None:
        regs = thread.regs
        if regs.rsi & 0xFFFF_FFFF == UFFDIO_REGISTER:
            self._uffdio_register(thread)
            return
        fd = signed(regs.rdi)
        file = self.files.of(thread, fd)
        encl = self.files.enclaves.get(file) if file else None
        if encl is None:
            thread.resume()
            return
        cmd, argument = regs.rsi & 0xFFFF_FFFF, regs.rdx
        space = thread.space
        space.device_fd = fd
        events, name = self._sup.events, ioctl_name(cmd)
        try:
            result = 0
            self.files.watch(thread)
            if cmd == ENCLU_SGX_IOC_DROP_EPC:
                self._sup.kernel.drop_epc()
            elif cmd == ENCLU_SGX_IOC_DEBUG_ACCESS:
                debug_access(thread.mm, space, argument)
            elif cmd >> 8 & 0xFF == SGX_MAGIC and cmd & 0xFF >= 0x20:
                result = self._sup.delivery.ioctl(thread.mm, thread, space, cmd, argument)
            else:
                result = sgx_ioctl(encl, thread.mm, space, cmd, argument,
                                   provision=lambda n: self.files.of(thread, signed(n)) in self.files.provisions,
                                   interrupted=lambda: signals.pending(thread))  # fmt: skip
        except OSError as error:
            number = error.errno or errno.EINVAL
            result = -number
            events.emit(IoctlRefused, _eid(encl), name, errno.errorcode[number], error.strerror or str(error))
        else:
            events.emit(Ioctl, _eid(encl), name, result)
        finish(thread, result)

    def ptrace(self, thread: Thread) -> None:
        """Nested tracing cannot work; the host kernel answers EPERM, and we say why."""
        with contextlib.suppress(OSError):
            self._sup.warn_ptrace(thread)
        thread.resume()

    def sched_getaffinity(self, thread: Thread) -> None:
        """The program is not to see, nor to change, where the supervisor has put a busy thread for a while."""
        target = self._sup.threads.get(signed(thread.regs.rdi) or thread.tid)
        if target is not None:
            target.unpin()
        thread.resume()

    sched_setaffinity = sched_getaffinity

    def prctl(self, thread: Thread) -> None:
        if thread.regs.rdi & 0xFFFF_FFFF == PR_SET_SYSCALL_USER_DISPATCH:
            self._set_user_dispatch(thread)
        else:
            dumpable.prctl(thread)

    def _set_user_dispatch(self, thread: Thread) -> None:
        """EINVAL, as of a kernel that has none, where a tracer cannot change it (before Linux 6.4)."""
        regs = thread.regs
        try:
            user_dispatch.config(thread.tid)
        except OSError:
            finish(thread, -errno.EINVAL)
            return
        result = inject(thread, NR["prctl"], regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8)
        if result == 0:
            thread.user_dispatch = user_dispatch.config(thread.tid)
            thread.dispatching = bool(thread.user_dispatch)
        finish(thread, result)


def _eid(encl: Encl) -> int:
    return encl.secs.eid if encl.secs is not None else 0
