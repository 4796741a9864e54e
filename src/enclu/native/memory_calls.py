"""System calls that change memory maps, where those are of enclaves or of memory that a delivery design watches."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from enclu.base.abi import NR, signed
from enclu.base.events import MappingRefused
from enclu.native import text
from enclu.native.inject import finish, inject

if TYPE_CHECKING:
    from enclu.linux.mm import MM
    from enclu.native.device_files import DeviceFiles
    from enclu.native.thread import Thread
    from enclu.run.supervisor import Supervisor


MAP_PRIVATE, MAP_TYPE, MAP_FIXED, MAP_FIXED_NOREPLACE, MAP_ANONYMOUS = 2, 0xF, 0x10, 0x100000, 0x20
MREMAP_FIXED, MREMAP_DONTUNMAP = 2, 4
PROT_EXEC = 4


class MemoryCalls:
    """Answers mmap and its relatives, so that `linux.mm` knows what is mapped where."""

    CALLS = "mmap mprotect pkey_mprotect munmap mremap madvise"

    def __init__(self, supervisor: Supervisor, files: DeviceFiles) -> None:
        self._sup = supervisor
        self._files = files

    def mmap(self, thread: Thread) -> None:
        regs = thread.regs
        address, length, prot, flags, fd = regs.rdi, regs.rsi, regs.rdx, regs.r10, signed(regs.r8)
        encl = None
        if fd >= 0 and not flags & MAP_ANONYMOUS:
            file = self._files.of(thread, fd)
            encl = self._files.enclaves.get(file) if file else None
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
        thread.space.device_fd = fd
        length = length + 0xFFF & ~0xFFF
        try:
            self._files.watch(thread)
            if flags & MAP_TYPE == MAP_PRIVATE or length == 0:
                raise OSError(errno.EINVAL, "MAP_PRIVATE")
            fixed = bool(flags & (MAP_FIXED | MAP_FIXED_NOREPLACE))
            if fixed:
                mm.check_mmap(encl, address, length, prot, flags)
            # PROT_NONE first: accessible only as far as `MM` finds each page to be.
            placed = fixed and encl.created and encl.base <= address < encl.base + encl.size
            offset = address - encl.base if placed else 0
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
            if encl.created and not placed:
                mm.place(encl, result, result + length)
            self._sup.delivery.on_unmap(mm, result, result + length)
        except OSError as error:
            result = self._refused("mmap", error)
        finish(thread, result)

    def mprotect(self, thread: Thread) -> None:
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
            result = self._refused("mprotect", error)
        finish(thread, result)

    pkey_mprotect = mprotect

    def munmap(self, thread: Thread) -> None:
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

    def _refused(self, call: str, error: OSError) -> int:
        """The result of a call that the driver refused."""
        number = error.errno or errno.EINVAL
        self._sup.events.emit(MappingRefused, call, errno.errorcode[number], error.strerror or str(error))
        return -number

    def _shoot_down(self, thread: Thread, start: int, length: int) -> None:
        """The TLB shootdown of a changed mapping interrupts processors: threads in its enclaves leave by an AEX."""
        for encl in {v.encl for v in thread.space.mm.vmas if v.start < start + length and start < v.end}:
            if encl is not None:
                self._sup.halter.kick(encl)

    def _matters(self, mm: MM, start: int, length: int) -> bool:
        """An enclave, or memory that the delivery design watches, is mapped in the range."""
        return mm.overlaps(start, length) or self._sup.delivery.watches(mm, start, start + length)

    def _unmapped(self, mm: MM, start: int, length: int) -> None:
        """What was mapped in the range is so no more."""
        mm.munmap(start, length)
        self._sup.delivery.on_unmap(mm, start, start + length)
        if any(not encl.mms for encl in self._files.enclaves.values()):
            self._sup.release_unreferenced()

    def mremap(self, thread: Thread) -> None:
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

    def madvise(self, thread: Thread) -> None:
        regs = thread.regs
        if regs.rdx in (4, 8, 9, 20, 21) and thread.space.mm.overlaps(regs.rdi, regs.rsi or 1):
            finish(thread, -errno.EINVAL)  # DONTNEED, FREE, REMOVE, COLD, PAGEOUT on VM_PFNMAP
        else:
            thread.resume()
