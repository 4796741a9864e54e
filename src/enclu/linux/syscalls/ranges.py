"""System calls that do something to ranges of memory other than mapping it, where these hold enclaves.

The memory that stands for an enclave is ordinary to the host kernel, which would discard, lock, guard or tell what is
none of a program's business with a mapping of /dev/sgx_enclave.  Handlers as the package tells.
"""

from __future__ import annotations

import errno
import itertools
import struct
from typing import TYPE_CHECKING

from enclu.base.abi import MADV_DONTFORK, MCL_CURRENT, MS_ASYNC, NR, PIDFD_SELF, signed
from enclu.linux import madvise
from enclu.linux.mm import TASK_SIZE
from enclu.linux.syscalls.memory import is_range, own, page_align
from enclu.sgx.epc import PAGE_SIZE

if TYPE_CHECKING:
    from enclu.linux.mm import MM
    from enclu.linux.task import Task

IOVEC = struct.Struct("<QQ")
UIO_MAXIOV = 1024
UFFD = "anon_inode:[userfaultfd]"


class RangeCalls:
    """Answers madvise and its relatives."""

    CALLS = "madvise process_madvise mseal msync mincore mlock mlock2 munlock mlockall"

    def madvise(self, task: Task) -> int | None:
        """do_madvise(): one mapping after the other, to the first that refuses; gaps are ENOMEM at last."""
        regs, mm = task.regs, task.mm
        start, length, advice = regs.rdi, page_align(regs.rsi), signed(regs.rdx)
        if not is_range(start, length):
            return None
        task.mm.kernel.processors.give_way(task.space, start, start + length)
        refusal = madvise.refusal(advice)
        if refusal and own(task.space, start, start + length) and not mm.overlaps(start, length):
            return self._before(task, start, task.space.own_memory[0], -errno.EPERM, advice)
        first = _first_of_enclave(mm, start, length)
        if first is None:
            return None
        if not refusal:
            if advice == MADV_DONTFORK:
                mm.dont_copy(start, start + length)
            return None
        if advice in madvise.INJECT_ERROR:
            # What the host kernel says without a page: EFAULT, or that it does not do this, or not for everybody.
            return task.host_call(NR["madvise"], TASK_SIZE, PAGE_SIZE, advice)
        return self._before(task, start, first, -refusal, advice)

    @staticmethod
    def _before(task: Task, start: int, end: int, result: int, last: int) -> int:
        """`result`, unless the call at hand has another for what lies before: gaps do not end it."""
        if start < end:
            before = task.host_call(task.regs.orig_rax, start, end - start, last)
            if before not in (0, -errno.ENOMEM):
                return before
        return result

    def process_madvise(self, task: Task) -> int | None:
        """As madvise, range by range: the bytes of those before the first that is refused, or its error."""
        regs = task.regs
        pidfd, vector, count, advice, flags = signed(regs.rdi), regs.rsi, regs.rdx, signed(regs.r10), regs.r8
        mm = self._mm_of(task, pidfd)
        if mm is None or not madvise.refusal(advice) or count > UIO_MAXIOV:
            return None
        try:
            ranges = list(IOVEC.iter_unpack(task.space.read(vector, count * IOVEC.size)))
        except OSError:
            return None
        done = list(itertools.takewhile(lambda r: not _refused(task, mm, r[0], page_align(r[1])), ranges))
        if len(done) == len(ranges):
            return None
        start, length = ranges[len(done)]
        error = madvise.refusal(advice) if _first_of_enclave(mm, start, page_align(length)) is not None else errno.EPERM
        result = task.host_call(NR["process_madvise"], pidfd, vector, len(done), advice, flags)
        return result if result < sum(length for _, length in done) or result else -error

    @staticmethod
    def _mm_of(task: Task, pidfd: int) -> MM | None:
        """The memory map of the process that a pidfd names, if it is the caller's own.

        Of others the kernel takes only advice that the host kernel may follow, too (process_madvise_remote_valid()).
        """
        if pidfd in PIDFD_SELF:
            return task.mm
        try:
            return task.mm if task.process_behind(pidfd) == task.tgid else None
        except OSError:
            return None

    def mseal(self, task: Task) -> int | None:
        """do_mseal().  Mappings of enclaves are sealed to the program; the machine goes on changing them."""
        regs, mm = task.regs, task.mm
        start, length = regs.rdi, page_align(regs.rsi)
        if regs.rdx or not is_range(start, length) or not mm.overlaps(start, length):
            return None
        result = task.host_call(NR["mseal"], start, 0, 0)
        if result < 0:
            return result
        result = task.host_call(NR["msync"], start, length, MS_ASYNC)  # which does nothing but find gaps
        if result < 0:
            return result
        for low, high, vma in mm.segments(start, start + length):
            if vma is None:
                result = task.host_call(NR["mseal"], low, high - low, 0)
                if result < 0:
                    return result
            else:
                mm.seal(low, high)
        return 0

    def msync(self, task: Task) -> int | None:
        """MS_SYNC: vfs_fsync_range() of a device that has no fsync."""
        regs = task.regs
        start, length = regs.rdi, page_align(regs.rsi)
        first = _first_of_enclave(task.mm, start, length) if is_range(start, length) else None
        if first is None or regs.rdx & ~7 or regs.rdx & MS_ASYNC:
            return None
        return self._before(task, start, first, -errno.EINVAL, regs.rdx)

    def mincore(self, task: Task) -> int | None:
        """No page of a VM_PFNMAP mapping is in the page cache."""
        regs, space = task.regs, task.space
        start, length = regs.rdi, page_align(regs.rsi)
        if not is_range(start, length) or not task.mm.overlaps(start, length):
            return None
        result = task.host_call(NR["mincore"], start, regs.rsi, regs.rdx)
        if result == 0:
            try:
                for low, high, vma in task.mm.segments(start, start + length):
                    if vma is not None:
                        space.write(regs.rdx + (low - start >> 12), bytes(high - low >> 12))
            except OSError:
                return -errno.EFAULT
        return result

    def mlock(self, task: Task) -> int | None:
        """mlock_fixup() leaves VM_SPECIAL mappings as they are."""
        regs, mm = task.regs, task.mm
        start = regs.rdi & ~0xFFF
        length = page_align(regs.rsi + regs.rdi - start)
        if not is_range(start, length) or not mm.overlaps(start, length):
            return None
        nr = regs.orig_rax
        result = task.host_call(nr, start, 0, regs.rdx)  # may it at all?
        for low, high, vma in mm.segments(start, start + length):
            if vma is None and result == 0:
                result = task.host_call(nr, low, high - low, regs.rdx)
        return result

    mlock2 = munlock = mlock

    def mlockall(self, task: Task) -> int | None:
        ranges = task.mm.enclave_ranges()
        if not task.regs.rdi & MCL_CURRENT or not ranges:
            return None
        result = task.host_call(NR["mlockall"], task.regs.rdi)
        if result == 0:
            for start, end in ranges:
                task.host_call(NR["munlock"], start, end - start)
        return result

    def uffdio_register(self, task: Task) -> int | None:
        """vma_can_userfault(): not of a device."""
        regs, space = task.regs, task.space
        try:
            start, length = IOVEC.unpack(space.read(regs.rdx, IOVEC.size))
            is_uffd = task.name_of(signed(regs.rdi)) == UFFD
        except OSError:
            return None
        end = start + length
        return -errno.EINVAL if is_uffd and (task.mm.overlaps(start, length) or own(task.space, start, end)) else None


def _refused(task: Task, mm: MM, start: int, length: int) -> bool:
    """Advice that no mapping of an enclave takes is not for the range: there is one, or memory of the machine's own."""
    return _first_of_enclave(mm, start, length) is not None or own(task.space, start, start + length)


def _first_of_enclave(mm: MM, start: int, length: int) -> int | None:
    """The lowest address in the range that an enclave's mapping holds."""
    return next((low for low, _, vma in mm.segments(start, start + length) if vma is not None), None)
