"""What advice the kernel takes about an enclave's mapping.

sgx_mmap() gives it VM_IO | VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP, and it is shared.  The memory that stands for it
here has none of these, so the host kernel would take all.  Kernel: mm/madvise.c, arch/x86/kernel/cpu/sgx/driver.c.
"""

from __future__ import annotations

import errno

from enclu.base.abi import MADV_DONTDUMP, MADV_DONTFORK

MADV_HWPOISON, MADV_SOFT_OFFLINE = 100, 101
INJECT_ERROR = (MADV_HWPOISON, MADV_SOFT_OFFLINE)
"""madvise_inject_error() pins each page, of which an enclave has none to pin."""

ADVICE = {
    0: 0,  # MADV_NORMAL
    1: 0,  # MADV_RANDOM
    2: 0,  # MADV_SEQUENTIAL
    3: 0,  # MADV_WILLNEED
    4: errno.EINVAL,  # MADV_DONTNEED: VM_PFNMAP (madvise_dontneed_free_valid_vma())
    8: errno.EINVAL,  # MADV_FREE: likewise
    9: errno.ENODEV,  # MADV_REMOVE: vfs_fallocate() knows no character devices
    MADV_DONTFORK: 0,
    11: errno.EINVAL,  # MADV_DOFORK: VM_IO
    12: 0,  # MADV_MERGEABLE: not heeded (vma_ksm_compatible())
    13: 0,  # MADV_UNMERGEABLE
    14: 0,  # MADV_HUGEPAGE
    15: 0,  # MADV_NOHUGEPAGE
    MADV_DONTDUMP: 0,
    17: errno.EINVAL,  # MADV_DODUMP: VM_SPECIAL
    18: errno.EINVAL,  # MADV_WIPEONFORK: VM_SHARED
    19: 0,  # MADV_KEEPONFORK
    20: errno.EINVAL,  # MADV_COLD: VM_PFNMAP (can_madv_lru_vma())
    21: errno.EINVAL,  # MADV_PAGEOUT: likewise
    22: errno.EINVAL,  # MADV_POPULATE_READ: check_vma_flags()
    23: errno.EINVAL,  # MADV_POPULATE_WRITE
    24: errno.EINVAL,  # MADV_DONTNEED_LOCKED: VM_PFNMAP
    25: errno.EINVAL,  # MADV_COLLAPSE: VM_NO_KHUGEPAGED
    MADV_HWPOISON: errno.EFAULT,
    MADV_SOFT_OFFLINE: errno.EFAULT,
    102: errno.EINVAL,  # MADV_GUARD_INSTALL: VM_SPECIAL (is_valid_guard_vma())
    103: errno.EINVAL,  # MADV_GUARD_REMOVE: likewise
}
"""Advice -> errno for an enclave's mapping; 0 where the host kernel may take it, as no memory is lost by it."""


def refusal(advice: int) -> int:
    """errno for an enclave's mapping, or 0.  Advice that is not known here is refused, as most of it is."""
    return ADVICE.get(advice, errno.EINVAL)
