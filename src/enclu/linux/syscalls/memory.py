"""System calls that map, unmap, move and protect memory, where that is of enclaves or watched by a delivery design.

Handlers as the package tells.
"""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Generic, TypeVar

from enclu.base.abi import (
    IPC_STAT,
    MADV_DONTDUMP,
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_FIXED_NOREPLACE,
    MAP_HUGETLB,
    MAP_PRIVATE,
    MAP_TYPE,
    MREMAP_DONTUNMAP,
    MREMAP_FIXED,
    MREMAP_MAYMOVE,
    NR,
    PROT_EXEC,
    PROT_READ,
    SHM_REMAP,
    signed,
)
from enclu.base.events import MappingRefused
from enclu.base.protocol import Protocol
from enclu.linux.mm import TASK_SIZE, check_mmap, may_map
from enclu.sgx.epc import PAGE_SIZE

if TYPE_CHECKING:
    from enclu.linux.encl import Encl
    from enclu.linux.kernel import Kernel
    from enclu.linux.mm import MM
    from enclu.linux.task import Task
    from enclu.sgx.processor import AddressSpace

T = TypeVar("T", bound="Task")
T_contra = TypeVar("T_contra", bound="Task", contravariant=True)
WORD = (1 << 64) - 1
PROT_SEM, PROT_GROWS = 8, 0x0300_0000
READ_IMPLIES_EXEC = 0x40_0000
SHMID_DS = struct.Struct("<48xQ56x")
"""struct shmid64_ds, of which shm_segsz is wanted."""


def page_align(length: int) -> int:
    """PAGE_ALIGN(), which wraps around."""
    return length + 0xFFF & ~0xFFF & WORD


def is_range(start: int, length: int) -> bool:
    """A range of user memory by whole pages; what is none the host kernel refuses."""
    return not start & 0xFFF and 0 < length <= TASK_SIZE and start <= TASK_SIZE - length


def own(space: AddressSpace, start: int, end: int) -> bool:
    """The range holds memory of the machine's own."""
    low, high = space.own_memory
    return start < high and low < end


def _stays_executable(space: AddressSpace, start: int, end: int, prot: int) -> bool:
    """Of the machine's memory only the vDSO image is in the range, and system calls can be made there afterwards."""
    low, high = space.own_image
    return low <= start and end <= high and bool(prot & PROT_READ and prot & PROT_EXEC)


def _check_personality(task: Task) -> None:
    """sgx_encl_may_map(): not for a task whose memory may be executed where it may be read.  Raises OSError EACCES."""
    if task.personality & READ_IMPLIES_EXEC:
        raise OSError(
            errno.EACCES, "READ_IMPLIES_EXEC (personality(2)) would have pages executed that were not added so"
        )


def _sgx_mmap(task: Task, encl: Encl, start: int, length: int, prot: int) -> None:
    """The driver's part of mmap.  Raises OSError EACCES."""
    may_map(encl, start, start + length, prot & 7)
    _check_personality(task)


class Devices(Protocol[T_contra]):
    """Whoever knows which descriptors of programs are of the machine's devices."""

    def opened(self, task: T_contra, fd: int) -> Encl | None:
        """The enclave that the descriptor is of.  Raises OSError where the program keeps itself from using it."""

    def unmapped(self) -> None:
        """There may be an enclave now that nobody has a reference to."""


class MemoryCalls(Generic[T]):
    """Answers mmap and its relatives, so that `linux.mm` knows what is mapped where."""

    CALLS = "mmap mprotect pkey_mprotect munmap mremap remap_file_pages shmat"

    def __init__(self, kernel: Kernel, devices: Devices[T]) -> None:
        self._kernel = kernel
        self._devices = devices

    def mmap(self, task: T) -> int | None:
        regs = task.regs
        address, length, prot, flags, fd = regs.rdi, page_align(regs.rsi), regs.rdx, regs.r10, signed(regs.r8)
        if flags & (MAP_FIXED | MAP_FIXED_NOREPLACE) and is_range(address, length):
            if flags & MAP_FIXED and self._sealed(task, address, length):
                return -errno.EPERM
            self._give_way(task, address, length)
        if fd >= 0 and not flags & MAP_ANONYMOUS:
            try:
                encl = self._devices.opened(task, fd)
                if encl is not None:
                    return self._map_enclave(task, encl, address, length, prot, flags, fd)
            except OSError as error:
                return self._refused("mmap", error)
        # Not a shared mapping: what is patched there would be written into the file.
        private_file = fd >= 0 and not flags & MAP_ANONYMOUS and flags & MAP_TYPE == MAP_PRIVATE
        return self._map_other(task, address, length, patch=bool(prot & PROT_EXEC and private_file))

    def _map_other(self, task: Task, address: int, length: int, *, patch: bool) -> int | None:
        """What is no enclave, over one perhaps."""
        regs = task.regs
        arguments = (address, regs.rsi, regs.rdx, regs.r10, signed(regs.r8), regs.r9)
        over = bool(regs.r10 & MAP_FIXED) and self._matters(task.mm, address, length)
        if not patch and not over:
            return None
        if over:
            result = self._replacing(task, address, length, NR["mmap"], *arguments)
        else:
            result = task.host_call(NR["mmap"], *arguments)
        if result >= 0 and patch:
            task.text_mapped(result, regs.rsi, arguments[4], regs.r9)
        return result

    def _map_enclave(
        self, task: Task, encl: Encl, address: int, length: int, prot: int, flags: int, fd: int
    ) -> int:  # fmt: skip
        """mmap of the device, as do_mmap() has it.  Raises OSError."""
        mm, asked = task.mm, task.regs.r9
        if asked & 0xFFF or flags & MAP_HUGETLB:  # sys_mmap(), ksys_mmap_pgoff()
            raise OSError(errno.EINVAL, f"an offset of {asked:#x}, flags {flags:#x}")
        if length == 0:  # or so large that PAGE_ALIGN() has wrapped around
            raise OSError(errno.ENOMEM if task.regs.rsi else errno.EINVAL, f"a length of {task.regs.rsi:#x}")
        if length > TASK_SIZE:  # get_unmapped_area()
            raise OSError(errno.ENOMEM, f"a length of {length:#x}")
        if flags & MAP_TYPE == MAP_PRIVATE:  # sgx_get_unmapped_area()
            raise OSError(errno.EINVAL, "MAP_PRIVATE")
        fixed = bool(flags & MAP_FIXED) and not flags & MAP_FIXED_NOREPLACE
        if fixed:
            if address > TASK_SIZE - length:
                raise OSError(errno.ENOMEM, "beyond the end of user memory")
            if address & 0xFFF:
                raise OSError(errno.EINVAL, f"an address of {address:#x}")
            check_mmap(encl, length, prot, flags, asked)
            try:
                _sgx_mmap(task, encl, address, length, prot)
            except OSError:  # mmap_region() has unmapped what was there by then
                self._replacing(task, address, length, NR["munmap"], address, length)
                raise
        # PROT_NONE first: accessible only as far as `MM` finds each page to be.
        wanted = bool(flags & (MAP_FIXED | MAP_FIXED_NOREPLACE))
        placed = wanted and encl.created and encl.base <= address < encl.base + encl.size
        offset = address - encl.base if placed else 0
        result = task.host_call(NR["mmap"], address, length, 0, flags, fd, offset)
        if result < 0:
            raise OSError(-result, "mmap")
        if not fixed:
            try:
                check_mmap(encl, length, prot, flags, asked)
                _sgx_mmap(task, encl, result, length, prot)
            except OSError:
                task.host_call(NR["munmap"], result, length)
                raise
        task.host_call(NR["madvise"], result, length, MADV_DONTDUMP)  # sgx_mmap()
        mm.munmap(result, length)
        mm.mmap(encl, result, length, prot)
        if encl.created and not placed:
            mm.place(encl, result, result + length, fd)
        self._kernel.delivery.on_unmap(mm, result, result + length)
        return result

    def mprotect(self, task: Task) -> int | None:
        """do_mprotect_pkey(): one mapping after the other, to the first that refuses."""
        regs, mm = task.regs, task.mm
        start, length, prot = regs.rdi, page_align(regs.rsi), regs.rdx & ~PROT_GROWS
        if not is_range(start, length) or prot & ~(7 | PROT_SEM):
            return None
        if own(task.space, start, start + length) and not _stays_executable(task.space, start, start + length, prot):
            return -errno.EPERM
        self._give_way(task, start, length)
        if not mm.overlaps(start, length):
            return None
        nr = regs.orig_rax
        if nr == NR["pkey_mprotect"]:
            # Where nothing can be mapped, only the key can be wrong.
            result = task.host_call(nr, TASK_SIZE, PAGE_SIZE, 0, regs.r10)
            if result == -errno.EINVAL:
                return result
        self._shoot_down(task, start, length)
        for low, high, vma in mm.segments(start, start + length):
            try:
                if vma is None:
                    result = task.host_call(nr, low, high - low, regs.rdx, regs.r10)
                    if result < 0:
                        return result
                else:
                    if vma.encl is not None:
                        _check_personality(task)
                    mm.mprotect(low, high, prot)
            except OSError as error:
                return self._refused("mprotect", error)
        return 0

    pkey_mprotect = mprotect

    def munmap(self, task: Task) -> int | None:
        regs, mm = task.regs, task.mm
        start, length = regs.rdi, page_align(regs.rsi)
        if not is_range(start, length):
            return None
        if self._sealed(task, start, length):
            return -errno.EPERM
        self._give_way(task, start, length)
        if not self._matters(mm, start, length):
            return None
        return self._replacing(task, start, length, NR["munmap"], start, length)

    def _give_way(self, task: Task, start: int, length: int) -> None:
        self._kernel.processors.give_way(task.space, start, start + length)

    def _replacing(self, task: Task, start: int, length: int, nr: int, *arguments: int) -> int:
        """A call that unmaps a range, or maps something else there."""
        self._shoot_down(task, start, length)
        result = task.host_call(nr, *arguments)
        if result >= 0:
            self._unmapped(task.mm, start, length)
        return result

    def _refused(self, call: str, error: OSError) -> int:
        """The result of a call that the driver refused."""
        number = error.errno or errno.EINVAL
        self._kernel.events.emit(MappingRefused, call, errno.errorcode[number], error.strerror or str(error))
        return -number

    def _shoot_down(self, task: Task, start: int, length: int) -> None:
        """The TLB shootdown of a changed mapping interrupts processors: threads in its enclaves leave by an AEX."""
        for encl in {v.encl for v in task.mm.vmas if v.start < start + length and start < v.end}:
            if encl is not None:
                self._kernel.processors.revoke(encl.eid, ((start, start + length),))
                self._kernel.processors.kick(encl.eid)

    def _matters(self, mm: MM, start: int, length: int) -> bool:
        """An enclave, or memory that the delivery design watches, is mapped in the range."""
        return mm.overlaps(start, length) or self._kernel.delivery.watches(mm, start, start + length)

    @staticmethod
    def _sealed(task: Task, start: int, length: int) -> bool:
        """EPERM: an enclave's mapping that the program sealed, or memory of the machine's own."""
        return task.mm.sealed(start, start + length) or own(task.space, start, start + length)

    def _unmapped(self, mm: MM, start: int, length: int) -> None:
        """What was mapped in the range is so no more."""
        mm.munmap(start, length)
        self._kernel.delivery.on_unmap(mm, start, start + length)
        if any(not encl.mms for encl in self._kernel.enclaves()):
            self._devices.unmapped()

    def mremap(self, task: Task) -> int | None:
        """Kernel: mm/mremap.c.  What VM_DONTEXPAND | VM_PFNMAP forbids, the host kernel would do to a memfd."""
        regs, mm = task.regs, task.mm
        start, length, new_length = regs.rdi, page_align(regs.rsi), page_align(regs.rdx)
        flags, place = regs.r10, regs.r8
        if not _mremap_valid(start, length, new_length, flags, place):
            return None
        self._give_way(task, start, length or 1)
        if flags & MREMAP_FIXED:
            self._give_way(task, place, new_length)
        over = bool(flags & MREMAP_FIXED) and (
            self._matters(mm, place, new_length) or own(task.space, place, place + new_length)
        )
        if not over and not self._matters(mm, start, length or 1) and not own(task.space, start, start + (length or 1)):
            return None
        if self._sealed(task, start, length or 1) or (over and self._sealed(task, place, new_length)):
            return -errno.EPERM
        if mm.find_vma(start) is not None:
            if flags & MREMAP_DONTUNMAP:
                return -errno.EINVAL
            if new_length > length:
                return -errno.EFAULT
        self._shoot_down(task, start, length or 1)
        if over:
            self._shoot_down(task, place, new_length)
        mm.hide(start, start + length)  # which makes one mapping of it for the host kernel, too
        result = task.host_call(NR["mremap"], start, regs.rsi, regs.rdx, flags, place)
        if result < 0:
            return result
        if over:
            self._unmapped(mm, place, new_length)
        if result == start:
            if new_length < length:
                self._unmapped(mm, start + new_length, length - new_length)
        elif length:
            kept = min(length, new_length)
            mm.move(start, start + kept, result)
            self._unmapped(mm, start, length)
        return result

    def remap_file_pages(self, task: Task) -> int | None:
        """The device once more where it is mapped already: sgx_mmap() asks for no offset, so that nothing changes."""
        regs, mm = task.regs, task.mm
        start, size, pgoff = regs.rdi & ~0xFFF, regs.rsi & ~0xFFF, regs.r10
        first = mm.find_vma(start)
        if first is None or regs.rdx or start + size >> 64 or not size or pgoff + (size >> 12) >> 64:
            return None
        if self._sealed(task, start, size):
            return -errno.EPERM
        kind = (first.encl, first.prot, first.dontcopy)
        for _, _, vma in mm.segments(start, start + size):
            if vma is None or (vma.encl, vma.prot, vma.dontcopy) != kind:
                return -errno.EINVAL
        if first.encl is not None:
            try:
                _check_personality(task)
                may_map(first.encl, start, start + size, first.prot)
            except OSError as error:
                return -(error.errno or errno.EACCES)
        self._shoot_down(task, start, size)
        return 0

    def shmat(self, task: Task) -> int | None:
        """SHM_REMAP replaces what is mapped there, as MAP_FIXED does (do_shmat() in ipc/shm.c)."""
        regs, mm = task.regs, task.mm
        start = regs.rsi
        found = bytearray(SHMID_DS.size)
        if task.host_call(NR["shmctl"], regs.rdi, IPC_STAT, found) < 0:
            return task.host_call(NR["shmat"], regs.rdi, start, regs.rdx)
        (size,) = SHMID_DS.unpack(found)
        low, length = start & ~0xFFF, page_align(size)
        if regs.rdx & SHM_REMAP and is_range(low, length) and self._sealed(task, low, length):
            return -errno.EPERM
        self._give_way(task, low, length)
        if not self._matters(mm, low, length):
            return task.host_call(NR["shmat"], regs.rdi, start, regs.rdx)
        return self._replacing(task, low, length, NR["shmat"], regs.rdi, start, regs.rdx)


def _mremap_valid(start: int, length: int, new_length: int, flags: int, place: int) -> bool:
    """check_mremap_params()."""
    if start & 0xFFF or flags & ~(MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP) or not 0 < new_length <= TASK_SIZE:
        return False
    if not flags & (MREMAP_FIXED | MREMAP_DONTUNMAP):
        return True
    if not flags & MREMAP_MAYMOVE or (flags & MREMAP_DONTUNMAP and length != new_length) or place & 0xFFF:
        return False
    if place > TASK_SIZE - new_length:
        return False
    return not (start + length > place and place + new_length > start)
