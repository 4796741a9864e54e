"""System calls that the supervisor answers or changes, by number; here those of the device, and what is left over.

Handlers give what `calls` tells of.
"""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING

from enclu.base.abi import (
    NR,
    PR_SET_CHILD_SUBREAPER,
    PR_SET_SECCOMP,
    PR_SET_SYSCALL_USER_DISPATCH,
    SGX_MAGIC,
    UFFDIO_REGISTER,
    signed,
)
from enclu.base.events import Ioctl, IoctlRefused
from enclu.linux.syscalls.memory import MemoryCalls
from enclu.linux.syscalls.ranges import RangeCalls
from enclu.linux.uapi import (
    ENCLU_SGX_IOC_DEBUG_ACCESS,
    ENCLU_SGX_IOC_DROP_EPC,
    SGX_IOC_ENCLAVE_ADD_PAGES,
    STEPPING,
    ioctl_name,
)
from enclu.native import calls, compat_calls, dumpable, ptrace, seccomp, signals, user_dispatch
from enclu.native.clone_calls import CloneCalls
from enclu.native.inject import call_again, finish, inject
from enclu.native.resume import resume
from enclu.native.signal_calls import SignalCalls
from enclu.run.device_files import DeviceFiles
from enclu.run.placement import unpin

if TYPE_CHECKING:
    from enclu.run.supervisor import Supervisor
    from enclu.run.task import Task


class Interceptor:
    """Answers the system calls at which the seccomp filters stop a thread."""

    CALLS = "ioctl ptrace sched_getaffinity sched_setaffinity prctl seccomp"

    def __init__(self, supervisor: Supervisor) -> None:
        self._sup = supervisor
        self.files = DeviceFiles(supervisor)
        self._ranges = RangeCalls()
        ends, memory = supervisor.ends, MemoryCalls(supervisor.kernel, self.files)
        groups = (self, self.files, memory, self._ranges, SignalCalls(), CloneCalls(), ends)
        self._handlers: dict[int, calls.Handler] = {
            NR[name]: getattr(group, name) for group in groups for name in group.CALLS.split()
        }
        self._ending = {NR[name]: getattr(ends, name) for name in ends.ENDING.split()}
        self._told: set[str] = set()
        self._blindly = frozenset(NR[name] for name in f"{ends.CALLS} {CloneCalls.CALLS} prctl seccomp".split())
        """Those that are answered though the process's memory is hidden."""

    def handle(self, thread: Task) -> None:
        """The thread is about to make a system call that some rule names; resumes it, or lets it end."""
        regs, data = thread.regs, ptrace.event_message(thread.tid)
        if data == seccomp.TRACE_DATA and regs.orig_rax in self._ending:
            self._ending[regs.orig_rax](thread, regs.rdi)
            return
        if data == seccomp.COMPAT_DATA and compat_calls.NATIVE.get(regs.orig_rax) in self._ending:
            self._ending[compat_calls.NATIVE[regs.orig_rax]](thread, regs.rbx)
            return
        thread.call_abandoned = False
        outcome = self._asked(thread, data)
        if isinstance(outcome, calls.Instead):
            registers = compat_calls.ARGUMENTS if data == seccomp.COMPAT_DATA else compat_calls.NATIVE_ARGUMENTS
            calls.replace(thread, registers, outcome)
        elif isinstance(outcome, calls.Again):
            call_again(thread)
        elif outcome is not None:
            finish(thread, outcome)
        elif thread.call_abandoned:
            call_again(thread)  # and is asked about again
        resume(thread)

    def _asked(self, thread: Task, data: int) -> calls.Outcome:
        """What becomes of the call, by SECCOMP_RET_DATA of the filter that stopped it."""
        match data:
            case seccomp.TRACE_DATA:
                return self._answer(thread)
            case seccomp.COMPAT_DATA:
                return self._by_int80(thread)
            case seccomp.X32_DATA:
                return self._refused(thread, "a system call of x32 was made")
            case _:  # another filter, the program's own, wants it traced, and to the program nobody traces it
                return -errno.ENOSYS

    def _answer(self, thread: Task) -> calls.Outcome:
        nr = thread.regs.orig_rax
        if not thread.space.visible and nr not in self._blindly:
            return None
        thread.space.enclu_sites.clear()
        thread.space.pid = thread.tid
        return self._handlers[nr](thread)

    def _by_int80(self, thread: Task) -> calls.Outcome:
        regs = thread.regs
        if regs.orig_rax == compat_calls.IPC and regs.rbx & 0xFFFF != compat_calls.IPCOP_SHMAT:
            return None
        if regs.orig_rax in compat_calls.REFUSED:
            return self._refused(thread, f"{compat_calls.REFUSED[regs.orig_rax]}(2) was called by INT 80H")
        try:
            arguments = compat_calls.arguments(thread)
        except OSError:
            return -errno.EFAULT
        with compat_calls.as_native(thread, arguments):
            return self._answer(thread)

    def _refused(self, thread: Task, what: str) -> int:
        """Say so once for each call."""
        if what not in self._told:
            self._told.add(what)
            self._sup.message(f"process {thread.process.tgid}: {what}, and gets ENOSYS; "
                              "enclu follows only the one of x86-64, by SYSCALL")  # fmt: skip
        return -errno.ENOSYS

    def ioctl(self, thread: Task) -> int | None:
        regs = thread.regs
        if regs.rsi & 0xFFFF_FFFF == UFFDIO_REGISTER:
            return self._ranges.uffdio_register(thread)
        fd = signed(regs.rdi)
        encl = self.files.enclave(thread, fd)
        if encl is None:
            return None
        from enclu.linux.ioctl import sgx_ioctl  # for enclaves alone

        cmd, argument = regs.rsi & 0xFFFF_FFFF, regs.rdx
        space = thread.space
        if cmd in STEPPING:
            return self._stepping(thread, cmd, argument)
        events, name = self._sup.events, ioctl_name(cmd)
        try:
            result = 0
            self.files.watch(thread)
            if cmd == ENCLU_SGX_IOC_DROP_EPC:
                self._sup.kernel.drop_epc()
            elif cmd == ENCLU_SGX_IOC_DEBUG_ACCESS:
                from enclu.linux.debug import debug_access

                debug_access(thread.mm, space, argument)
            elif cmd >> 8 & 0xFF == SGX_MAGIC and cmd & 0xFF >= 0x20:
                result = self._sup.delivery.ioctl(thread.mm, thread, space, cmd, argument)
            else:
                result = sgx_ioctl(encl, thread.mm, space, cmd, argument, fd=fd,
                                   provision=lambda n: self.files.of(thread, signed(n)) in self.files.provisions,
                                   interrupted=lambda: signals.pending(thread))  # fmt: skip
        except OSError as error:
            number = error.errno or errno.EINVAL
            result = -number
            events.emit(IoctlRefused, encl.eid, name, errno.errorcode[number], error.strerror or str(error))
        else:
            events.emit(Ioctl, encl.eid, name, result)
            if cmd == SGX_IOC_ENCLAVE_ADD_PAGES:
                self._sup.transitions.added(thread, encl, argument)
        return result

    def _stepping(self, thread: Task, cmd: int, argument: int) -> int:
        """Of a host that steps through its enclaves: no part of what the program does, so nobody is told of it."""
        from enclu.run.stepping.ioctls import ioctl  # seldom needed

        try:
            self.files.watch(thread)
            return ioctl(self._sup, thread, cmd, argument)
        except OSError as error:
            number = error.errno or errno.EINVAL
            why = error.strerror or str(error)
            self._sup.events.emit(IoctlRefused, 0, ioctl_name(cmd), errno.errorcode[number], why)
            return -number

    def ptrace(self, thread: Task) -> None:
        """Nested tracing cannot work; the host kernel answers EPERM, and we say why."""
        with contextlib.suppress(OSError):
            self._sup.warn_ptrace(thread)

    def sched_getaffinity(self, thread: Task) -> None:
        """The program is not to see, nor to change, where the supervisor has put a busy thread for a while."""
        target = self._sup.threads.get(signed(thread.regs.rdi) or thread.tid)
        if target is not None:
            unpin(target)

    sched_setaffinity = sched_getaffinity

    def prctl(self, thread: Task) -> int | None:
        option = thread.regs.rdi & 0xFFFF_FFFF
        if option == PR_SET_CHILD_SUBREAPER:
            thread.process.subreaper |= bool(thread.regs.rsi)
        elif option == PR_SET_SECCOMP:
            self.seccomp(thread)
        elif not thread.space.visible:
            return None
        elif option == PR_SET_SYSCALL_USER_DISPATCH:
            return self._set_user_dispatch(thread)
        else:
            return dumpable.prctl(thread)
        return None

    def seccomp(self, thread: Task) -> None:
        """Whatever the filter is, it may forbid calls that the machine's code would make in the program's threads."""
        thread.process.filtered = True

    def _set_user_dispatch(self, thread: Task) -> int:
        """EINVAL, as of a kernel that has none, where a tracer cannot change it (before Linux 6.4)."""
        regs = thread.regs
        try:
            user_dispatch.config(thread.tid)
        except OSError:
            return -errno.EINVAL
        self._sup.transitions.withdraw(thread)
        result = inject(thread, NR["prctl"], regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8)
        if result == 0:
            thread.user_dispatch = user_dispatch.config(thread.tid)
            thread.dispatching = bool(thread.user_dispatch)
        return result
