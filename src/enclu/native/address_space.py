"""The memory of a traced process, as user memory and as page tables.

Implements `sgx.processor.UserMemory` and `PageTables`: native protections are changed by mprotect and mmap
calls made in a stopped thread of the process.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from typing import TYPE_CHECKING

from enclu.base import console
from enclu.base.abi import MADV_DONTDUMP, MAP_FIXED, MAP_SHARED, MS_ASYNC, NR
from enclu.base.protocol import Protocol
from enclu.native import proc, ptrace
from enclu.native.sites import Sites

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from enclu.native.in_process import InProcess
    from enclu.native.thread import Thread
    from enclu.sgx.processor import KernelSide

VDSO_BASE = 0x7E90_0000_0000
"""Where every traced process has its vDSO: fixed, because the seccomp filter, older than the process's image,
must know it; in a part of the address space that neither mmap nor the sanitizers use."""
VDSO_AREA = 0x1_0000
"""Bytes set aside for the image, and for the slots of `native.path_calls` behind it."""
OWN_TEXT = (VDSO_BASE, VDSO_BASE + VDSO_AREA // 2)
"""Addresses from which no system call stops."""
SCRATCH = VDSO_BASE + VDSO_AREA
SCRATCH_SIZE = 0x1_0000
INT3 = 0xCC
OWN_MEMORY = (VDSO_BASE, SCRATCH + SCRATCH_SIZE)
"""What the machine keeps in the program: sealed, as a vDSO is by CONFIG_MSEAL_SYSTEM_MAPPINGS, but for the image."""
VDSO_IMAGE = (VDSO_BASE, VDSO_BASE + 0x3000)
"""The image alone: a debugger in the program may write breakpoints into it, as into the kernel's."""
MAX_MAP_COUNT = (
    "the program has as many mappings as vm.max_map_count allows, and its enclaves need one for each range of pages "
    "with a protection of its own; sysctl -w vm.max_map_count=N allows more"
)


def _address(buffer: bytearray | memoryview) -> int:
    """Where the buffer is, while it is.  An array of ctypes would need a type for each size."""
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


_small = memoryview(bytearray(256))
"""Where little is read: every ioctl reads structures."""
_SMALL = _address(_small)


class Image(Protocol):
    """The vDSO image that programs get."""

    @property
    def data(self) -> bytes:
        """As it was built, for no address yet."""

    @property
    def symbols(self) -> dict[str, int]:
        """Names to offsets, those of the machine's own functions included."""

    @property
    def syscall_stub(self) -> int:
        """Offset of `syscall; int3`."""

    def build(self, base: int, host: int, host_functions: dict[str, int]) -> bytes:
        """The bytes to have at address `base`, with the host's vDSO, at `host`, behind it."""


class AddressSpace:
    """One mm.  `inject` is how to have a system call made in it by whoever can.

    `protect` is how to have many mprotect calls made at once: False if that cannot be, or one of them failed.
    """

    kernel: KernelSide
    """Who says what of enclaves is there; set before any thread runs in it."""

    def __init__(
        self, pid: int, image: Image, inject: Callable[..., int],
        protect: Callable[[AddressSpace, Sequence[tuple[int, int]], int], bool] = lambda space, ranges, prot: False,
    ) -> None:  # fmt: skip
        self.pid = pid
        """A thread last seen alive: a process whose first thread has ended is not reached by its own number."""
        self.image = image
        self.syscall_stub = VDSO_BASE + image.syscall_stub
        self._inject, self._protect = inject, protect
        self.installed = False
        """The vDSO image is there."""
        self.memory = -1
        self.sites = Sites()
        self.breakpoints: dict[int, int] = {}
        """A debugger's: by address, the byte that INT3 is in place of."""
        self.poked: dict[int, int] = {}
        """Where instructions were replaced while threads ran (`native.text_poke`), and how many bytes."""
        self.path_slots = 0
        """Slots in use, of `native.path_calls`."""
        self.clone_copies: dict[int, Thread] = {}
        """Who uses the copies of `native.clone_calls`, by index."""
        self.enclu_sites: set[int] = set()
        """Addresses at which an ENCLU has been seen since the memory map last changed."""
        self.own_leaves: frozenset[int] | None = None
        """Leaves of CPUID that the machine does not answer as the host's processor does; None: that may be all."""
        self.in_process: InProcess | None = None
        """What it has of `native.in_process`, if it takes part."""
        self.undumpable = False
        """What the program believes (see `native.dumpable`)."""
        self._told = False

    def open_memory(self, pid: int) -> None:
        """(Re)open /proc/PID/mem: after exec the old descriptor means the old memory.

        The memory of a process that is not dumpable (prctl(2)), as after exec of an unreadable file, is shown only to
        the privileged.  It runs on the host's processor, without SGX.
        """
        self.close_memory()
        self.pid = pid
        with contextlib.suppress(PermissionError):
            self.memory = proc.memory(pid)

    @property
    def visible(self) -> bool:
        """Whether there is access to the memory."""
        return self.memory >= 0

    @property
    def intact(self) -> bool:
        """What the machine keeps there is still there, if it has ever been."""
        return not self.installed or (
            self.peek(self.syscall_stub, 3) == b"\x0f\x05\xcc" and len(self.peek(SCRATCH, SCRATCH_SIZE)) == SCRATCH_SIZE
        )

    def answers(self, leaf: int | None) -> bool:
        """CPUID for the leaf, or (None) for one that is not known beforehand, is not to be the host's."""
        return leaf is None or self.own_leaves is None or leaf in self.own_leaves

    def close_memory(self) -> None:
        if self.memory >= 0:
            os.close(self.memory)
            self.memory = -1

    own_memory, own_image = OWN_MEMORY, VDSO_IMAGE

    # UserMemory.

    def read(self, address: int, size: int) -> bytes:
        """Bytes at `address` as the program itself may read them.  Raises OSError EFAULT."""
        if size > len(_small):
            buffer = bytearray(size)
            self.read_into(address, memoryview(buffer))
            return bytes(buffer)
        if size and ptrace.vm_read(self.pid, address, _SMALL, size) != size:
            raise OSError(errno.EFAULT, f"cannot read {size} bytes at {address:#x}")
        self.sites.give_originals(address, _small[:size])
        return bytes(_small[:size])

    def read_into(self, address: int, view: memoryview) -> None:
        """Fill `view`, of bytes, from `address`.  Raises OSError EFAULT."""
        if view and ptrace.vm_read(self.pid, address, _address(view), len(view)) != len(view):
            raise OSError(errno.EFAULT, f"cannot read {len(view)} bytes at {address:#x}")
        self.give_originals(address, view)

    def give_originals(self, address: int, view: memoryview) -> None:
        """Correct what was read from the address on, where instructions were changed."""
        for at, byte in self.breakpoints.items():
            if 0 <= at - address < len(view) and view[at - address] == INT3:
                view[at - address] = byte
        self.sites.give_originals(address, view)

    def untouched(self, start: int, end: int) -> Callable[[int, int], bool]:
        """Who says which whole pages [low, high) of [start, end) nobody has ever touched: they read as zero."""
        from enclu.native.untouched import Untouched  # for large enclaves alone

        return Untouched(self.pid, start, end)

    def write(self, address: int, data: bytes) -> None:
        """Store bytes where the program itself may write.  Raises OSError EFAULT."""
        buffer = bytearray(data)
        if buffer and ptrace.vm_write(self.pid, address, _address(buffer), len(data)) != len(data):
            raise OSError(errno.EFAULT, f"cannot write {len(data)} bytes at {address:#x}")

    def string(self, address: int, limit: int = 4096) -> bytes:
        """A NUL-terminated string.  Raises OSError EFAULT."""
        out = b""
        while len(out) < limit:
            size = min(256, 4096 - (address + len(out)) % 4096)
            chunk = self.read(address + len(out), size)
            end = chunk.find(b"\0")
            if end >= 0:
                return out + chunk[:end]
            out += chunk
        raise OSError(errno.ENAMETOOLONG, "string too long")

    # Supervisor's own access: any page, whatever its protection, and as it is.

    def peek(self, address: int, size: int) -> bytes:
        """Bytes at `address`, fewer or none where nothing is mapped."""
        try:
            return os.pread(self.memory, size, address)
        except (OSError, OverflowError):  # the upper half is the kernel's, and no offset of a file
            return b""

    def poke(self, address: int, data: bytes) -> None:
        """Write through any protection (private pages are copied first).  Raises OSError."""
        try:
            os.pwrite(self.memory, data, address)
        except OverflowError:
            raise OSError(errno.EIO, f"no memory of the program at {address:#x}") from None

    # PageTables.

    def protect(self, start: int, end: int, prot: int) -> None:
        """mprotect [start, end)."""
        self.enclu_sites -= {site for site in self.enclu_sites if start <= site < end}
        result = self._inject(self, NR["mprotect"], start, end - start, prot)
        if result == -errno.ENOMEM and self._inject(self, NR["msync"], start, end - start, MS_ASYNC) < 0:
            return  # not the limit: part of it is not mapped any more, by a call that nobody saw
        if result < 0:
            self._check_limit(result)
            raise OSError(-result, f"mprotect({start:#x}, {end - start:#x}, {prot}): {os.strerror(-result)}")

    def protect_all(self, ranges: Sequence[tuple[int, int]], prot: int) -> None:
        """mprotect each."""
        if len(ranges) > 1 and self._protect(self, ranges, prot):
            self.enclu_sites.clear()
            return
        for start, end in ranges:
            self.protect(start, end, prot)

    def _check_limit(self, result: int) -> None:
        """Say once what ENOMEM of a call that splits mappings means."""
        if result == -errno.ENOMEM and not self._told:
            self._told = True
            console.say(f"{MAX_MAP_COUNT}: pages of an enclave cannot be shown (SIGBUS)")

    def remap(self, start: int, end: int, fd: int, offset: int) -> None:
        """Map [start, end), a part of ELRANGE, on the enclave's memory; no access yet."""
        flags = MAP_SHARED | MAP_FIXED
        result = self._inject(self, NR["mmap"], start, end - start, 0, flags, fd, offset, files=True)
        if result < 0:
            self._check_limit(result)
            raise OSError(-result, os.strerror(-result))
        self._inject(self, NR["madvise"], start, end - start, MADV_DONTDUMP)

    def reachable(self, address: int) -> bool:
        """The host kernel has a page at the address: it is still mapped, and no guard region (MADV_GUARD_INSTALL)."""
        return bool(self.peek(address, 1))

    def executable(self, address: int) -> bool:
        """/proc/PID/maps has the address with "x"."""
        for line in proc.lines(self.pid, "maps"):
            bounds, permissions, _ = line.split(maxsplit=2)
            start, end = (int(bound, 16) for bound in bounds.split("-"))
            if start <= address < end:
                return "x" in permissions
        return False
