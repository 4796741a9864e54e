"""The files of the machine that a program opens or asks about: devices, what /proc and /sys say of SGX."""

from __future__ import annotations

import errno
import functools
import os
import re
import stat
import struct
from typing import TYPE_CHECKING

from enclu.base.abi import AT_FDCWD, MFD_ALLOW_SEALING, MFD_CLOEXEC, NR, signed
from enclu.base.events import DeviceOpened
from enclu.native import calls, cpuid, limits, proc, scratch, seccomp, signals
from enclu.native.address_space import OWN_TEXT, VDSO_BASE
from enclu.native.device_paths import AUXV, CPUINFO, DEV, ENCLAVE, NODE_BYTES, PROVISION, VEPC, dev, named
from enclu.native.inject import MachineGone, inject
from enclu.sgx.encls.svn import SvnUpdate

if TYPE_CHECKING:
    from enclu.linux.encl import Encl
    from enclu.run.supervisor import Supervisor
    from enclu.run.task import Task


MISC_MAJOR = 10
MINOR_ENCLAVE, MINOR_PROVISION = 125, 126
File = tuple[int, int]
"""st_dev and st_ino: what a descriptor stays, however it is duplicated or passed on."""


@functools.cache
def _watch_filter() -> bytes:
    """The second filter: of a process that uses SGX."""
    return seccomp.sgx_program(OWN_TEXT)


class DeviceFiles:
    """Answers the calls that name a path, and knows the descriptors of devices again."""

    CALLS = (
        "open openat openat2 stat lstat newfstatat statx access faccessat faccessat2 readlink readlinkat "
        "getxattr lgetxattr listxattr llistxattr"
    )

    def __init__(self, supervisor: Supervisor) -> None:
        self._sup = supervisor
        self.enclaves: dict[File, Encl] = {}
        self.provisions: set[File] = set()
        self._told: set[str] = set()
        dev()  # before the program changes what is there

    # Descriptors.

    def of(self, thread: Task, fd: int) -> File | None:
        try:
            return proc.file_of(thread.tid, fd)
        except OSError:
            return None

    def enclave(self, thread: Task, fd: int) -> Encl | None:
        """The enclave that the descriptor is of."""
        file = self.of(thread, fd)
        return self.enclaves.get(file) if file else None

    def file_of(self, encl: Encl) -> File | None:
        return next((f for f, e in self.enclaves.items() if e is encl), None)

    def referenced(self, encl: Encl) -> bool:
        from enclu.native.enclave_memory import MemfdMemory

        memory = encl.memory
        assert isinstance(memory, MemfdMemory)
        if memory.counted:
            return memory.referenced
        # What is under way in a socket is not found here.
        file = self.file_of(encl)
        return any(self.of(thread, fd) == file for thread in self._sup.threads.values()
                   for fd in proc.descriptors(thread.tid))  # fmt: skip

    def opened(self, thread: Task, fd: int) -> Encl | None:
        """The enclave that the descriptor is of, which the call at hand is about to map.

        Raises OSError as `watch` does, ENODEV where it is of /dev/sgx_provision, which cannot be mapped.
        """
        if not self.enclaves and not self.provisions:  # so that programs without SGX are not asked what they map
            return None
        file = self.of(thread, fd)
        encl = self.enclaves.get(file) if file else None
        if file in self.provisions:
            raise OSError(errno.ENODEV, "/dev/sgx_provision has nothing to map")
        if encl is not None:
            self.watch(thread)
            self._sup.syscall_tasks.provide(thread)
        return encl

    def unmapped(self) -> None:
        self._sup.release_unreferenced()

    def forget(self, encl: Encl) -> None:
        file = self.file_of(encl)
        if file is not None:
            del self.enclaves[file]

    def watch(self, thread: Task) -> None:
        """The process uses SGX: from now on its maps and signal masks matter.

        Raises OSError where a seccomp filter of the program's own does not let it be watched.
        """
        process = thread.process
        if process.watches_maps:
            self._sup.opened(thread)
            return
        program = _watch_filter()
        fprog = struct.pack("<HxxxxxxQ", len(program) // 8, scratch.FIRST + 16)
        result = inject(thread, NR["seccomp"], seccomp.SET_MODE_FILTER, seccomp.FLAG_TSYNC, fprog + program)
        if result > 0:  # FLAG_TSYNC: the thread of that number has a filter that this one has not
            self._refused(thread, "its threads have different seccomp filters")
            raise OSError(errno.EACCES, "seccomp filters differ")
        if result < 0:
            self._denied(thread, "seccomp", -result)
            raise OSError(-result, "seccomp denied")
        process.watches_maps = True
        signals.watch_handlers(thread)
        for other in list(process.threads.values()):
            if other is thread:
                signals.watch(thread)
            elif other.started:
                signals.watch_running(other)
        self._sup.opened(thread)

    def _denied(self, thread: Task, call: str, error: int) -> None:
        self._refused(thread, f"a seccomp filter of its own denies {call}(2) ({os.strerror(error)})")

    def _refused(self, thread: Task, why: str) -> None:
        """Say once for each reason why a program that asks for SGX does not get it."""
        self._say_once(why, f"process {thread.process.tgid} cannot use SGX: {why}")

    def _say_once(self, what: str, line: str) -> None:
        if what not in self._told:
            self._told.add(what)
            self._sup.message(line)

    # Paths.

    def _text_file(self, thread: Task, path: str) -> bytes | None:
        """What the program shall read in a file under /proc or /sys; None where the real one is right."""
        node = re.fullmatch(NODE_BYTES, path)
        if node is not None:  # sgx_total_bytes_show(); all of the EPC is at the first
            return b"%d\n" % (0 if int(node["number"]) else self._sup.machine.epc_size)
        if path == CPUINFO:
            with open(CPUINFO) as real:
                return self._cpuinfo(real.read()).encode()
        match = re.fullmatch(AUXV, path)
        if match is None:
            return None
        tid = self._thread_called(thread, int(match[1])) if match[1].isdigit() else thread.tid
        if tid not in self._sup.threads:
            return None
        from enclu.linux import procfs  # few programs look

        with os.fdopen(proc.follow(tid, "auxv", os.O_RDONLY), "rb") as vector:
            return procfs.auxv(vector.read(), VDSO_BASE)

    def _thread_called(self, thread: Task, number: int) -> int | None:
        """The thread that has this number in the /proc that `thread` sees: ours, or its own PID namespace's."""
        if proc.is_seen_by(thread.tid):
            return number
        return next((tid for tid in self._sup.threads if proc.is_called(tid, number, thread.tid)), None)

    def _cpuinfo(self, real: str) -> str:
        from enclu.linux import procfs

        sup = self._sup
        if sup.processor is not cpuid.host:
            real = procfs.as_intel(real, sup.cpuid)
        return procfs.cpuinfo(real)

    def open(self, thread: Task) -> calls.Outcome:
        return self._open_path(thread, AT_FDCWD, thread.regs.rdi, thread.regs.rsi)

    def openat(self, thread: Task) -> calls.Outcome:
        return self._open_path(thread, signed(thread.regs.rdi), thread.regs.rsi, thread.regs.rdx)

    def openat2(self, thread: Task) -> calls.Outcome:
        from enclu.native.lookup import OPEN_HOW  # few programs call it

        regs = thread.regs
        how = thread.space.peek(regs.rdx, min(regs.r10, 4096))
        if len(how) < OPEN_HOW.size or any(how[OPEN_HOW.size :]):
            return None  # EINVAL, EFAULT or E2BIG
        flags, _, resolve = OPEN_HOW.unpack_from(how)
        return self._open_path(thread, signed(regs.rdi), regs.rsi, flags, resolve)

    def _open_path(self, thread: Task, dirfd: int, pointer: int, flags: int, resolve: int = 0) -> calls.Outcome:
        path = named(thread, dirfd, pointer, resolve)
        is_text = path is not None and not path.startswith(f"{DEV}/")
        content = self._text_file(thread, path) if path is not None and is_text else None
        if path == VEPC:
            why = f"process {thread.process.tgid} asks for {VEPC}, EPC for virtual machines: there is none (ENOENT)"
            self._say_once(VEPC, why)
        if path is None or path == VEPC or (is_text and (content is None or not self._fits(content, path))):
            return None
        if is_text and path.startswith("/sys/") and flags & os.O_ACCMODE != os.O_RDONLY:
            return -errno.EACCES
        if flags & os.O_DIRECTORY:
            return -errno.ENOTDIR
        if flags & os.O_EXCL and flags & os.O_CREAT:
            return -errno.EEXIST
        self._sup.release_unreferenced()  # closing an enclave is no event that we see
        if path in ENCLAVE and self._sup.machine.svn_update is not SvnUpdate.NONE:
            if any(not encl.mms and not self.referenced(encl) for encl in self._sup.kernel.enclaves()):
                return calls.Again()  # when it is released
            try:
                self._sup.kernel.use()
            except OSError as error:
                self._refused(thread, str(error.strerror))
                return -(error.errno or errno.EIO)
        cloexec = MFD_CLOEXEC if flags & os.O_CLOEXEC else 0
        fd = inject(thread, NR["memfd_create"], path.encode() + b"\0", MFD_ALLOW_SEALING | cloexec)
        if fd == -errno.EFAULT:
            raise MachineGone(thread, f"memfd_create cannot read a name at {scratch.FIRST:#x}")
        if fd < 0:
            if -fd not in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
                self._denied(thread, "memfd_create", -fd)
            return fd
        counted = path in ENCLAVE and self._reopen(thread, fd, flags & os.O_CLOEXEC)
        try:
            ours = self._ours(thread, fd)
        except OSError as error:
            inject(thread, NR["close"], fd)
            if any(not encl.mms and not self.referenced(encl) for encl in self._sup.kernel.enclaves()):
                return None  # once more, when what nobody refers to is gone
            if error.errno == errno.EMFILE:
                self._refused(thread, f"out of file descriptors; {limits.RAISE_DESCRIPTORS}")
            else:
                self._refused(thread, f"what stands for {path} cannot be opened: {error.strerror}")
            return -errno.ENFILE
        file = proc.identity(os.fstat(ours))
        if content is None:
            self._sup.events.emit(DeviceOpened, path)
        if content is not None:
            os.pwrite(ours, content, 0)
            os.close(ours)
        elif path in PROVISION:
            self.provisions.add(file)
            os.close(ours)
        else:
            try:
                self.watch(thread)
            except OSError as error:
                os.close(ours)
                inject(thread, NR["close"], fd)
                return -(error.errno or errno.EACCES)
            from enclu.native.enclave_memory import MemfdMemory  # for enclaves alone

            self.enclaves[file] = self._sup.kernel.open_enclave(MemfdMemory(ours, counted), flags)
        return fd

    @staticmethod
    def _ours(thread: Task, fd: int) -> int:
        """The supervisor's own descriptor of a file of the thread's.  Raises OSError, EMFILE if too few are left."""
        ours = proc.follow(thread.tid, f"fd/{fd}", os.O_RDWR)
        if not limits.is_spare(ours):
            os.close(ours)
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return ours

    def _fits(self, content: bytes, path: str) -> bool:
        """Files may be large enough for it here; said once if not: the program reads the host's file."""
        limit = limits.file_size()
        if limit is None or len(content) <= limit:
            return True
        why = (f"{path} is shown as the host has it: the limit of file sizes, {limit:,} bytes, is too low; "
               f"{limits.RAISE_FILE_SIZE}")  # fmt: skip
        self._say_once(why, why)
        return False

    def _reopen(self, thread: Task, fd: int, cloexec: int) -> bool:
        """Open the memfd `fd` as a file, under the same number: the kernel counts only files that were opened."""
        again = inject(thread, NR["openat"], AT_FDCWD, f"/proc/self/fd/{fd}".encode() + b"\0", os.O_RDWR)
        if again < 0:  # no /proc here
            return False
        same = self.of(thread, again) == self.of(thread, fd)  # else it is something else that is called /proc here
        if same:
            inject(thread, NR["dup3"], again, fd, cloexec)
        inject(thread, NR["close"], again)
        return same

    def _stat_answer(self, path: str) -> tuple[int, int] | None:
        """(mode, minor) of one of our device nodes, or of a file of ours that the host has not (minor 0)."""
        if path in ENCLAVE:
            return stat.S_IFCHR | 0o666, MINOR_ENCLAVE
        if path in PROVISION:
            return stat.S_IFCHR | 0o666, MINOR_PROVISION
        if re.fullmatch(NODE_BYTES, path):
            return stat.S_IFREG | 0o444, 0
        if path.startswith("/sys/"):
            return stat.S_IFDIR | 0o755, 0
        return None

    def _stat_path(self, thread: Task, dirfd: int, pointer: int, buffer: int, extended: bool = False) -> int | None:
        path = named(thread, dirfd, pointer)
        answer = self._stat_answer(path) if path else None
        if answer is None:
            return None
        mode, minor = answer
        major, size = (
            (MISC_MAJOR, 0) if minor else (0, 0 if stat.S_ISDIR(mode) else 4096)
        )  # an attribute of sysfs: a page
        if extended:
            data = struct.pack(
                "<IIQIIIHxxQQQQ64xIIII112x",
                0x7FF, 4096, 0, 1, 0, 0, mode, 0x5000 + minor, size, 0, 0, major, minor, 0, 5,
            )  # fmt: skip
        else:
            data = struct.pack(
                "<QQQIII4xQQQQ72x", 5, 0x5000 + minor, 1, mode, 0, 0, os.makedev(major, minor), size, 4096, 0
            )
        try:
            thread.space.write(buffer, data)
        except OSError:
            return -errno.EFAULT
        return 0

    def stat(self, thread: Task) -> int | None:
        return self._stat_path(thread, AT_FDCWD, thread.regs.rdi, thread.regs.rsi)

    lstat = stat

    def newfstatat(self, thread: Task) -> int | None:
        regs = thread.regs
        return self._stat_path(thread, signed(regs.rdi), regs.rsi, regs.rdx)

    def statx(self, thread: Task) -> int | None:
        regs = thread.regs
        return self._stat_path(thread, signed(regs.rdi), regs.rsi, regs.r8, extended=True)

    def _access_path(self, thread: Task, dirfd: int, pointer: int, mode: int) -> int | None:
        return self._answer_path(thread, dirfd, pointer, -errno.EACCES if mode & os.X_OK else 0)

    def access(self, thread: Task) -> int | None:
        return self._access_path(thread, AT_FDCWD, thread.regs.rdi, thread.regs.rsi)

    def faccessat(self, thread: Task) -> int | None:
        regs = thread.regs
        return self._access_path(thread, signed(regs.rdi), regs.rsi, regs.rdx)

    faccessat2 = faccessat

    def _answer_path(self, thread: Task, dirfd: int, pointer: int, result: int) -> int | None:
        path = named(thread, dirfd, pointer)
        if path is None or self._stat_answer(path) is None:
            return None
        return result

    def readlink(self, thread: Task) -> int | None:
        return self._answer_path(thread, AT_FDCWD, thread.regs.rdi, -errno.EINVAL)

    def readlinkat(self, thread: Task) -> int | None:
        return self._answer_path(thread, signed(thread.regs.rdi), thread.regs.rsi, -errno.EINVAL)

    def getxattr(self, thread: Task) -> int | None:
        return self._answer_path(thread, AT_FDCWD, thread.regs.rdi, -errno.ENODATA)

    lgetxattr = getxattr

    def listxattr(self, thread: Task) -> int | None:
        return self._answer_path(thread, AT_FDCWD, thread.regs.rdi, 0)

    llistxattr = listxattr
