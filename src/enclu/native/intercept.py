"""System calls that the supervisor answers or changes: devices, memory maps, signal masks."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
import stat
import struct
from typing import TYPE_CHECKING

from enclu.linux import procfs
from enclu.linux.ioctl import sgx_ioctl
from enclu.linux.uapi import ENCLU_SGX_IOC_DROP_EPC, SGX_MAGIC
from enclu.native import ptrace, seccomp, signals, text
from enclu.native.address_space import OWN_TEXT, SCRATCH, VDSO_BASE, thread_scratch
from enclu.native.enclave_memory import MemfdMemory
from enclu.native.inject import SYNCHRONOUS, finish, inject
from enclu.native.syscalls import NR

if TYPE_CHECKING:
    from enclu.linux.encl import Encl
    from enclu.linux.mm import MM
    from enclu.native.supervisor import Supervisor
    from enclu.native.thread import Thread

ENCLAVE = frozenset(("/dev/sgx_enclave", "/dev/sgx/enclave"))
PROVISION = frozenset(("/dev/sgx_provision", "/dev/sgx/provision"))
CPUINFO = "/proc/cpuinfo"
AUXV = re.compile(r"/proc/(self|thread-self|\d+)(/task/\d+)?/auxv")
AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
MAP_PRIVATE, MAP_TYPE, MAP_FIXED, MAP_FIXED_NOREPLACE, MAP_ANONYMOUS = 2, 0xF, 0x10, 0x100000, 0x20
MFD_CLOEXEC, MFD_ALLOW_SEALING = 1, 2
MREMAP_FIXED, MREMAP_DONTUNMAP = 2, 4
PROT_EXEC = 4
MISC_MAJOR = 10
MINOR_ENCLAVE, MINOR_PROVISION = 125, 126
File = tuple[int, int]
"""st_dev and st_ino: what a descriptor stays, however it is duplicated or passed on."""


def _signed(value: int) -> int:
    return value - (1 << 32) if value & 0x8000_0000 else value & 0x7FFF_FFFF


class Interceptor:
    """Answers the system calls at which the seccomp filters stop a thread."""

    def __init__(self, supervisor: Supervisor) -> None:
        self.sup = supervisor
        self.enclaves: dict[File, Encl] = {}
        self.provisions: set[File] = set()
        self._watch_filter = seccomp.program(seccomp.SGX_PROGRAM, OWN_TEXT)
        names = (
            "open openat openat2 stat lstat newfstatat statx access faccessat faccessat2 readlink readlinkat "
            "getxattr lgetxattr listxattr llistxattr ioctl mmap mprotect pkey_mprotect munmap mremap madvise "
            "rt_sigaction rt_sigprocmask rt_sigreturn rt_sigsuspend ppoll epoll_pwait ptrace "
            "sched_getaffinity sched_setaffinity"
        )
        self._handlers = {NR[name]: getattr(self, "_" + name) for name in names.split()}

    def handle(self, thread: Thread) -> None:
        """The thread is about to make a system call that some rule names; resumes it."""
        if ptrace.event_message(thread.tid) != seccomp.TRACE_DATA:
            # The program's own filter wants it traced, and to the program nobody traces it.
            finish(thread, -errno.ENOSYS)
            return
        if not thread.space.visible:
            thread.resume()
            return
        thread.space.enclu_sites.clear()
        thread.space.pid = thread.tid
        self._handlers[thread.regs.orig_rax](thread)

    def file_of(self, encl: Encl) -> File | None:
        return next((f for f, e in self.enclaves.items() if e is encl), None)

    def referenced(self, encl: Encl) -> bool:
        memory = encl.memory
        assert isinstance(memory, MemfdMemory)
        return memory.referenced

    def forget(self, encl: Encl) -> None:
        file = self.file_of(encl)
        if file is not None:
            del self.enclaves[file]

    # Paths.

    def _path(self, thread: Thread, dirfd: int, pointer: int) -> str | None:
        """The absolute path a call names if it is one of ours."""
        try:
            name = os.fsdecode(thread.space.string(pointer))
        except OSError:
            return None
        if "sgx" not in name and not name.endswith(("cpuinfo", "auxv", "enclave", "provision")):
            return None
        if not name.startswith("/"):
            at = "cwd" if dirfd == AT_FDCWD else f"fd/{dirfd}"
            try:
                name = os.path.join(os.readlink(f"/proc/{thread.tid}/{at}"), name)
            except OSError:
                return None
        name = os.path.normpath(name)
        return name if name in ENCLAVE or name in PROVISION or name == CPUINFO or AUXV.fullmatch(name) else None

    def _proc_file(self, thread: Thread, path: str) -> bytes | None:
        """What the program shall read in a file under /proc; None where the real one is right."""
        if path == CPUINFO:
            with open(CPUINFO) as real:
                return procfs.cpuinfo(real.read()).encode()
        match = AUXV.fullmatch(path)
        if match is None:
            return None
        pid = int(match[1]) if match[1].isdigit() else thread.tid
        if pid not in self.sup.threads:
            return None
        with open(f"/proc/{pid}/auxv", "rb") as vector:
            return procfs.auxv(vector.read(), VDSO_BASE)

    def _open(self, thread: Thread) -> None:
        self._open_path(thread, AT_FDCWD, thread.regs.rdi, thread.regs.rsi)

    def _openat(self, thread: Thread) -> None:
        self._open_path(thread, _signed(thread.regs.rdi), thread.regs.rsi, thread.regs.rdx)

    def _openat2(self, thread: Thread) -> None:
        flags = int.from_bytes(thread.space.peek(thread.regs.rdx, 8), "little")
        self._open_path(thread, _signed(thread.regs.rdi), thread.regs.rsi, flags)

    def _open_path(self, thread: Thread, dirfd: int, pointer: int, flags: int) -> None:
        path = self._path(thread, dirfd, pointer)
        content = self._proc_file(thread, path) if path and path.startswith("/proc/") else None
        if path is None or (content is None and path.startswith("/proc/")):
            thread.resume()
            return
        if flags & os.O_DIRECTORY:
            finish(thread, -errno.ENOTDIR)
            return
        if flags & os.O_EXCL and flags & os.O_CREAT:
            finish(thread, -errno.EEXIST)
            return
        self.sup.release_unreferenced()  # closing an enclave is no event that we see
        thread.space.poke(SCRATCH, path.encode() + b"\0")
        cloexec = MFD_CLOEXEC if flags & os.O_CLOEXEC else 0
        fd = inject(thread, NR["memfd_create"], SCRATCH, MFD_ALLOW_SEALING | cloexec)
        if fd < 0:
            finish(thread, fd)
            return
        counted = path in ENCLAVE and self._reopen(thread, fd, flags & os.O_CLOEXEC)
        try:
            ours = os.open(f"/proc/{thread.tid}/fd/{fd}", os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            self.sup.message(f"cannot open what stands for {path}: {error.strerror}")
            inject(thread, NR["close"], fd)
            finish(thread, -errno.ENFILE)
            return
        status = os.fstat(ours)
        file = (status.st_dev, status.st_ino)
        if content is not None:
            os.pwrite(ours, content, 0)
            os.close(ours)
        elif path in PROVISION:
            self.provisions.add(file)
            os.close(ours)
        else:
            self.enclaves[file] = self.sup.kernel.open_enclave(MemfdMemory(ours, counted))
            self._watch(thread)
        finish(thread, fd)

    def _reopen(self, thread: Thread, fd: int, cloexec: int) -> bool:
        """Open the memfd `fd` as a file, under the same number: the kernel counts only files that were opened."""
        thread.space.poke(SCRATCH, f"/proc/self/fd/{fd}".encode() + b"\0")
        again = inject(thread, NR["openat"], AT_FDCWD, SCRATCH, os.O_RDWR)
        if again < 0:  # no /proc here
            return False
        inject(thread, NR["dup3"], again, fd, cloexec)
        inject(thread, NR["close"], again)
        return True

    def _watch(self, thread: Thread) -> None:
        """The process uses SGX: from now on its maps and signal masks matter."""
        process = thread.process
        if process.watches_maps:
            return
        process.watches_maps = True
        program = self._watch_filter
        fprog = struct.pack("<HxxxxxxQ", len(program) // 8, SCRATCH + 16)
        thread.space.poke(SCRATCH, fprog + program)
        result = inject(thread, NR["seccomp"], seccomp.SET_MODE_FILTER, seccomp.FLAG_TSYNC, SCRATCH)
        if result:
            raise OSError(abs(result), f"cannot watch the memory maps of process {process.tgid}: seccomp {result}")
        signals.watch_handlers(thread)
        for other in list(process.threads.values()):
            if other is thread:
                signals.watch(thread)
            elif other.started:
                self.sup.halter.with_halted(other, signals.watch)

    def _stat_answer(self, path: str) -> tuple[int, int] | None:
        """(mode, minor) of one of our device nodes."""
        if path in ENCLAVE:
            return stat.S_IFCHR | 0o666, MINOR_ENCLAVE
        if path in PROVISION:
            return stat.S_IFCHR | 0o666, MINOR_PROVISION
        return None

    def _stat_path(self, thread: Thread, dirfd: int, pointer: int, buffer: int, extended: bool = False) -> None:
        path = self._path(thread, dirfd, pointer)
        answer = self._stat_answer(path) if path else None
        if answer is None:
            thread.resume()
            return
        mode, minor = answer
        if extended:
            data = struct.pack(
                "<IIQIIIHxxQQQQ64xIIII112x",
                0x7FF, 4096, 0, 1, 0, 0, mode, 0x5000 + minor, 0, 0, 0, MISC_MAJOR, minor, 0, 5,
            )  # fmt: skip
        else:
            data = struct.pack(
                "<QQQIII4xQQQQ72x", 5, 0x5000 + minor, 1, mode, 0, 0, os.makedev(MISC_MAJOR, minor), 0, 4096, 0
            )
        try:
            thread.space.write(buffer, data)
            finish(thread, 0)
        except OSError:
            finish(thread, -errno.EFAULT)

    def _stat(self, thread: Thread) -> None:
        self._stat_path(thread, AT_FDCWD, thread.regs.rdi, thread.regs.rsi)

    _lstat = _stat

    def _newfstatat(self, thread: Thread) -> None:
        regs = thread.regs
        self._stat_path(thread, _signed(regs.rdi), regs.rsi, regs.rdx)

    def _statx(self, thread: Thread) -> None:
        regs = thread.regs
        self._stat_path(thread, _signed(regs.rdi), regs.rsi, regs.r8, extended=True)

    def _access_path(self, thread: Thread, dirfd: int, pointer: int, mode: int) -> None:
        self._answer_path(thread, dirfd, pointer, -errno.EACCES if mode & os.X_OK else 0)

    def _access(self, thread: Thread) -> None:
        self._access_path(thread, AT_FDCWD, thread.regs.rdi, thread.regs.rsi)

    def _faccessat(self, thread: Thread) -> None:
        regs = thread.regs
        self._access_path(thread, _signed(regs.rdi), regs.rsi, regs.rdx)

    _faccessat2 = _faccessat

    def _answer_path(self, thread: Thread, dirfd: int, pointer: int, result: int) -> None:
        path = self._path(thread, dirfd, pointer)
        if path is None or self._stat_answer(path) is None:
            thread.resume()
        else:
            finish(thread, result)

    def _readlink(self, thread: Thread) -> None:
        self._answer_path(thread, AT_FDCWD, thread.regs.rdi, -errno.EINVAL)

    def _readlinkat(self, thread: Thread) -> None:
        self._answer_path(thread, _signed(thread.regs.rdi), thread.regs.rsi, -errno.EINVAL)

    def _getxattr(self, thread: Thread) -> None:
        self._answer_path(thread, AT_FDCWD, thread.regs.rdi, -errno.ENODATA)

    _lgetxattr = _getxattr

    def _listxattr(self, thread: Thread) -> None:
        self._answer_path(thread, AT_FDCWD, thread.regs.rdi, 0)

    _llistxattr = _listxattr

    # The device.

    def _file(self, thread: Thread, fd: int) -> File | None:
        try:
            status = os.stat(f"/proc/{thread.tid}/fd/{fd}")
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def _ioctl(self, thread: Thread) -> None:
        regs = thread.regs
        fd = _signed(regs.rdi)
        file = self._file(thread, fd)
        encl = self.enclaves.get(file) if file else None
        if encl is None:
            thread.resume()
            return
        self._watch(thread)
        regs = thread.regs
        cmd, argument = regs.rsi & 0xFFFF_FFFF, regs.rdx
        space = thread.space
        space.device_fd = fd
        try:
            result = 0
            if cmd == ENCLU_SGX_IOC_DROP_EPC:
                self.sup.kernel.drop_epc()
            elif cmd >> 8 & 0xFF == SGX_MAGIC and cmd & 0xFF >= 0x20:
                result = self.sup.delivery.ioctl(space.mm, thread, space, cmd, argument)
            else:
                result = sgx_ioctl(encl, space.mm, space, cmd, argument,
                                   provision=lambda n: self._file(thread, _signed(n)) in self.provisions,
                                   interrupted=lambda: signals.pending(thread))  # fmt: skip
        except OSError as error:
            result = -(error.errno or errno.EINVAL)
        finish(thread, result)

    # Memory maps.

    def _mmap(self, thread: Thread) -> None:
        regs = thread.regs
        address, length, prot, flags, fd = regs.rdi, regs.rsi, regs.rdx, regs.r10, _signed(regs.r8)
        encl = None
        if fd >= 0 and not flags & MAP_ANONYMOUS:
            file = self._file(thread, fd)
            encl = self.enclaves.get(file) if file else None
        mm = thread.space.mm
        if encl is None:
            # Not a shared mapping: what is patched there would be written into the file.
            patch = prot & PROT_EXEC and fd >= 0 and not flags & MAP_ANONYMOUS and flags & MAP_TYPE == MAP_PRIVATE
            covered = length + 0xFFF & ~0xFFF
            over = flags & MAP_FIXED and self._matters(mm, address, covered)
            if not patch and not over:
                thread.resume()
                return
            if over:
                self._shoot_down(thread, address, length)
            result = inject(thread, NR["mmap"], address, length, prot, flags, fd, regs.r9)
            if result >= 0:
                if over:
                    self._unmapped(mm, address, covered)
                if patch:
                    text.patch_mapping(thread, result, length, fd, regs.r9)
            finish(thread, result)
            return
        self._watch(thread)
        thread.space.device_fd = fd
        length = length + 0xFFF & ~0xFFF
        try:
            if flags & MAP_TYPE == MAP_PRIVATE or length == 0:
                raise OSError(errno.EINVAL, "MAP_PRIVATE")
            fixed = bool(flags & (MAP_FIXED | MAP_FIXED_NOREPLACE))
            if fixed:
                mm.check_mmap(encl, address, length, prot, flags)
            # PROT_NONE first: accessible only as far as `MM.sync` finds each page to be.
            offset = address - encl.base if fixed and encl.base and encl.base <= address else 0
            result = inject(thread, NR["mmap"], address, length, 0, flags, fd, offset)
            if result < 0:
                raise OSError(-result, "mmap")
            if not fixed:
                try:
                    mm.check_mmap(encl, result, length, prot, flags)
                except OSError:
                    inject(thread, NR["munmap"], result, length)
                    raise
            mm.munmap(result, length)
            mm.mmap(encl, result, length, prot)
            self.sup.delivery.on_unmap(mm, result, result + length)
        except OSError as error:
            result = -(error.errno or errno.EINVAL)
        finish(thread, result)

    def _mprotect(self, thread: Thread) -> None:
        regs = thread.regs
        mm = thread.space.mm
        start, length, prot = regs.rdi, regs.rsi + 0xFFF & ~0xFFF, regs.rdx
        if not length or start + length >= 1 << 64 or not mm.overlaps(start, length):
            thread.resume()
            return
        try:
            outside = mm.mprotect(start, length, prot)
            self._shoot_down(thread, start, length)
            result = 0
            for low, high in outside:
                result = result or inject(thread, NR["mprotect"], low, high - low, prot)
        except OSError as error:
            result = -(error.errno or errno.EINVAL)
        finish(thread, result)

    _pkey_mprotect = _mprotect

    def _munmap(self, thread: Thread) -> None:
        regs = thread.regs
        start, length = regs.rdi, regs.rsi + 0xFFF & ~0xFFF
        mm = thread.space.mm
        if not self._matters(mm, start, length):
            thread.resume()
            return
        self._shoot_down(thread, start, length)
        result = inject(thread, NR["munmap"], start, length)
        if result == 0:
            self._unmapped(mm, start, length)
        finish(thread, result)

    def _shoot_down(self, thread: Thread, start: int, length: int) -> None:
        """The TLB shootdown of a changed mapping interrupts processors: threads in its enclaves leave by an AEX."""
        for encl in {v.encl for v in thread.space.mm.vmas if v.start < start + length and start < v.end}:
            if encl is not None:
                self.sup.halter.kick(encl)

    def _matters(self, mm: MM, start: int, length: int) -> bool:
        """An enclave, or memory that the delivery design watches, is mapped in the range."""
        return mm.overlaps(start, length) or self.sup.delivery.watches(mm, start, start + length)

    def _unmapped(self, mm: MM, start: int, length: int) -> None:
        """What was mapped in the range is so no more."""
        mm.munmap(start, length)
        self.sup.delivery.on_unmap(mm, start, start + length)
        if any(not encl.mms for encl in self.enclaves.values()):
            self.sup.release_unreferenced()

    def _mremap(self, thread: Thread) -> None:
        regs = thread.regs
        mm = thread.space.mm
        start, length, new_length = regs.rdi, regs.rsi + 0xFFF & ~0xFFF, regs.rdx + 0xFFF & ~0xFFF
        flags, place = regs.r10, regs.r8
        over = flags & MREMAP_FIXED and self._matters(mm, place, new_length)
        if not over and not self._matters(mm, start, length or 1):
            thread.resume()
            return
        of_enclave = mm.overlaps(start, length or 1)
        if of_enclave and (flags & MREMAP_DONTUNMAP or new_length > length):  # VM_DONTEXPAND
            finish(thread, -errno.EINVAL if flags & MREMAP_DONTUNMAP else -errno.EFAULT)
            return
        self._shoot_down(thread, start, length or 1)
        if over:
            self._shoot_down(thread, place, new_length)
        result = inject(thread, NR["mremap"], start, regs.rsi, regs.rdx, flags, place)
        if result >= 0:
            if over:
                self._unmapped(mm, place, new_length)
            if result != start and length:
                self._unmapped(mm, start, length)
            elif new_length < length:
                self._unmapped(mm, start + new_length, length - new_length)
            if result != start and of_enclave:
                # The pages stay where ELRANGE has them; nothing can be reached through the moved mapping.
                inject(thread, NR["mprotect"], result, new_length, 0)
        finish(thread, result)

    def _madvise(self, thread: Thread) -> None:
        regs = thread.regs
        if regs.rdx in (4, 8, 9, 20, 21) and thread.space.mm.overlaps(regs.rdi, regs.rsi or 1):
            finish(thread, -errno.EINVAL)  # DONTNEED, FREE, REMOVE, COLD, PAGEOUT on VM_PFNMAP
        else:
            thread.resume()

    # Signals.

    def _rt_sigaction(self, thread: Thread) -> None:
        regs, space = thread.regs, thread.space
        signo, new, old, size = regs.rdi, regs.rsi, regs.rdx, regs.r10
        if size != 8 or not 1 <= signo <= 64 or signo in (signal.SIGKILL, signal.SIGSTOP):
            thread.resume()
            return
        shown = thread.process.handlers.actions.get(signo)
        try:
            if new:
                result = signals.set_action(thread, signo, space.read(new, signals.SIGACTION.size))
            else:
                result = inject(thread, NR["rt_sigaction"], signo, 0, SCRATCH + 64, 8)
            if old and result == 0:
                space.write(old, signals.former_action(shown, space.peek(SCRATCH + 64, signals.SIGACTION.size)))
        except OSError:
            result = -errno.EFAULT
        finish(thread, result)

    def _rt_sigreturn(self, thread: Thread) -> None:
        signals.sigreturn(thread)

    def _rt_sigprocmask(self, thread: Thread) -> None:
        regs = thread.regs
        how, new, old, size = regs.rdi & 0xFFFF_FFFF, regs.rsi, regs.rdx, regs.r10
        if size != 8:
            thread.resume()
            return
        before = signals.mask_of(thread)
        try:
            if new:
                given = int.from_bytes(thread.space.read(new, 8), "little")
                given &= ~(signals.bit(signal.SIGKILL) | signals.bit(signal.SIGSTOP))
                if how == signal.SIG_BLOCK:
                    after = before | given
                elif how == signal.SIG_UNBLOCK:
                    after = before & ~given
                elif how == signal.SIG_SETMASK:
                    after = given
                else:
                    raise OSError(errno.EINVAL, "how")
                signals.set_mask(thread, after)
            if old:
                thread.space.write(old, before.to_bytes(8, "little"))
            result = 0
        except OSError as error:
            result = -(error.errno or errno.EINVAL)
        finish(thread, result)

    def _temporary_mask(self, thread: Thread, register: str) -> None:
        """A call that waits with another mask: give it one that leaves the synchronous signals free."""
        regs = thread.regs
        pointer = getattr(regs, register)
        try:
            mask = int.from_bytes(thread.space.read(pointer, 8), "little")
        except OSError:
            thread.resume()
            return
        scratch = thread_scratch(thread)
        thread.space.poke(scratch, (mask & ~SYNCHRONOUS).to_bytes(8, "little"))
        setattr(regs, register, scratch)

        def restore(stopped: Thread) -> None:
            stopped.fetch()
            setattr(stopped.regs, register, pointer)
            stopped.store()

        thread.on_syscall_exit = restore
        thread.store()
        thread.resume()

    def _rt_sigsuspend(self, thread: Thread) -> None:
        self._temporary_mask(thread, "rdi")

    def _ppoll(self, thread: Thread) -> None:
        self._temporary_mask(thread, "r10")

    def _epoll_pwait(self, thread: Thread) -> None:
        self._temporary_mask(thread, "r8")

    def _ptrace(self, thread: Thread) -> None:
        """Nested tracing cannot work; the host kernel answers EPERM, and we say why."""
        with contextlib.suppress(OSError):
            self.sup.warn_ptrace(thread)
        thread.resume()

    # Placement.

    def _sched_getaffinity(self, thread: Thread) -> None:
        """The program is not to see, nor to change, where the supervisor has put a busy thread for a while."""
        target = self.sup.threads.get(_signed(thread.regs.rdi) or thread.tid)
        if target is not None:
            target.unpin()
        thread.resume()

    _sched_setaffinity = _sched_getaffinity
