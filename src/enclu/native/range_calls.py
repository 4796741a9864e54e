"""System calls that do something to ranges of memory other than mapping it, where these hold enclaves.

The memory that stands for an enclave is ordinary to the host kernel, which would discard, lock, guard or tell what is
none of a program's business with a mapping of /dev/sgx_enclave.  Handlers as in `intercept`.
"""

from __future__ import annotations

import errno
import itertools
import struct
from typing import TYPE_CHECKING

from enclu.base.abi import MADV_DONTFORK, MCL_CURRENT, MS_ASYNC, NR, PIDFD_SELF, signed
from enclu.linux import madvise
from enclu.linux.mm import TASK_SIZE
from enclu.native import proc
from enclu.native.address_space import OWN_MEMORY
from enclu.native.inject import inject
from enclu.native.memory_calls import is_range, own, page_align
from enclu.sgx.epc import PAGE_SIZE

if TYPE_CHECKING:
    from enclu.linux.mm import MM
    from enclu.run.task import Task as Thread

IOVEC = struct.Struct("<QQ")
UIO_MAXIOV = 1024
UFFD = "anon_inode:[userfaultfd]"


class RangeCalls:
    """Answers madvise and its relatives."""

    CALLS = "madvise process_madvise mseal msync mincore mlock mlock2 munlock mlockall"

    def madvise(self, thread: Thread) -> int | None:
        """do_madvise(): one mapping after the other, to the first that refuses; gaps are ENOMEM at last."""
        regs, mm = thread.regs, thread.mm
        start, length, advice = regs.rdi, page_align(regs.rsi), signed(regs.rdx)
        if not is_range(start, length):
            return None
        refusal = madvise.refusal(advice)
        if refusal and own(start, start + length) and not mm.overlaps(start, length):
            return self._before(thread, start, OWN_MEMORY[0], -errno.EPERM, advice)
        first = _first_of_enclave(mm, start, length)
        if first is None:
            return None
        if not refusal:
            if advice == MADV_DONTFORK:
                mm.dont_copy(start, start + length)
            return None
        if advice in madvise.INJECT_ERROR:
            # What the host kernel says without a page: EFAULT, or that it does not do this, or not for everybody.
            return inject(thread, NR["madvise"], TASK_SIZE, PAGE_SIZE, advice)
        return self._before(thread, start, first, -refusal, advice)

    @staticmethod
    def _before(thread: Thread, start: int, end: int, result: int, last: int) -> int:
        """`result`, unless the call at hand has another for what lies before: gaps do not end it."""
        if start < end:
            before = inject(thread, thread.regs.orig_rax, start, end - start, last)
            if before not in (0, -errno.ENOMEM):
                return before
        return result

    def process_madvise(self, thread: Thread) -> int | None:
        """As madvise, range by range: the bytes of those before the first that is refused, or its error."""
        regs = thread.regs
        pidfd, vector, count, advice, flags = signed(regs.rdi), regs.rsi, regs.rdx, signed(regs.r10), regs.r8
        mm = self._mm_of(thread, pidfd)
        if mm is None or not madvise.refusal(advice) or count > UIO_MAXIOV:
            return None
        try:
            ranges = list(IOVEC.iter_unpack(thread.space.read(vector, count * IOVEC.size)))
        except OSError:
            return None
        done = list(itertools.takewhile(lambda r: _first_of_enclave(mm, r[0], page_align(r[1])) is None, ranges))
        if len(done) == len(ranges):
            return None
        result = inject(thread, NR["process_madvise"], pidfd, vector, len(done), advice, flags)
        return result if result < sum(length for _, length in done) or result else -madvise.refusal(advice)

    @staticmethod
    def _mm_of(thread: Thread, pidfd: int) -> MM | None:
        """The memory map of the process that a pidfd names, if it is the caller's own.

        Of others the kernel takes only advice that the host kernel may follow, too (process_madvise_remote_valid()).
        """
        if pidfd in PIDFD_SELF:
            return thread.mm
        try:
            with proc.text(thread.tid, f"fdinfo/{pidfd}") as file:
                fields = dict(line.split(":", 1) for line in file if ":" in line)
        except OSError:
            return None
        return thread.mm if fields.get("Pid", "").strip() == str(thread.process.tgid) else None

    def mseal(self, thread: Thread) -> int | None:
        """do_mseal().  Mappings of enclaves are sealed to the program; the machine goes on changing them."""
        regs, mm = thread.regs, thread.mm
        start, length = regs.rdi, page_align(regs.rsi)
        if regs.rdx or not is_range(start, length) or not mm.overlaps(start, length):
            return None
        result = inject(thread, NR["mseal"], start, 0, 0)
        if result < 0:
            return result
        result = inject(thread, NR["msync"], start, length, MS_ASYNC)  # which does nothing but find gaps
        if result < 0:
            return result
        for low, high, vma in mm.segments(start, start + length):
            if vma is None:
                result = inject(thread, NR["mseal"], low, high - low, 0)
                if result < 0:
                    return result
            else:
                mm.seal(low, high)
        return 0

    def msync(self, thread: Thread) -> int | None:
        """MS_SYNC: vfs_fsync_range() of a device that has no fsync."""
        regs = thread.regs
        start, length = regs.rdi, page_align(regs.rsi)
        first = _first_of_enclave(thread.mm, start, length) if is_range(start, length) else None
        if first is None or regs.rdx & ~7 or regs.rdx & MS_ASYNC:
            return None
        return self._before(thread, start, first, -errno.EINVAL, regs.rdx)

    def mincore(self, thread: Thread) -> int | None:
        """No page of a VM_PFNMAP mapping is in the page cache."""
        regs, space = thread.regs, thread.space
        start, length = regs.rdi, page_align(regs.rsi)
        if not is_range(start, length) or not thread.mm.overlaps(start, length):
            return None
        result = inject(thread, NR["mincore"], start, regs.rsi, regs.rdx)
        if result == 0:
            try:
                for low, high, vma in thread.mm.segments(start, start + length):
                    if vma is not None:
                        space.write(regs.rdx + (low - start >> 12), bytes(high - low >> 12))
            except OSError:
                return -errno.EFAULT
        return result

    def mlock(self, thread: Thread) -> int | None:
        """mlock_fixup() leaves VM_SPECIAL mappings as they are."""
        regs, mm = thread.regs, thread.mm
        start = regs.rdi & ~0xFFF
        length = page_align(regs.rsi + regs.rdi - start)
        if not is_range(start, length) or not mm.overlaps(start, length):
            return None
        nr = regs.orig_rax
        result = inject(thread, nr, start, 0, regs.rdx)  # may it at all?
        for low, high, vma in mm.segments(start, start + length):
            if vma is None and result == 0:
                result = inject(thread, nr, low, high - low, regs.rdx)
        return result

    mlock2 = munlock = mlock

    def mlockall(self, thread: Thread) -> int | None:
        ranges = thread.mm.enclave_ranges()
        if not thread.regs.rdi & MCL_CURRENT or not ranges:
            return None
        result = inject(thread, NR["mlockall"], thread.regs.rdi)
        if result == 0:
            for start, end in ranges:
                inject(thread, NR["munlock"], start, end - start)
        return result

    def uffdio_register(self, thread: Thread) -> int | None:
        """vma_can_userfault(): not of a device."""
        regs, space = thread.regs, thread.space
        try:
            start, length = IOVEC.unpack(space.read(regs.rdx, IOVEC.size))
            is_uffd = proc.name_of(thread.tid, f"fd/{signed(regs.rdi)}") == UFFD
        except OSError:
            return None
        end = start + length
        return -errno.EINVAL if is_uffd and (thread.mm.overlaps(start, length) or own(start, end)) else None


def _first_of_enclave(mm: MM, start: int, length: int) -> int | None:
    """The lowest address in the range that an enclave's mapping holds."""
    return next((low for low, _, vma in mm.segments(start, start + length) if vma is not None), None)
