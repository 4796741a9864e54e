"""The system calls that change, replace or look at mappings, and what each does to those of enclaves.

Whoever finds a new one in the kernel's tables says here what becomes of an enclave's mapping.
"""

from __future__ import annotations

import enum


class Effect(enum.Enum):
    """What a call may do to an enclave's mapping."""

    ANSWERED = "the machine answers as for an enclave's mapping, or follows what the host kernel did"
    FREE_RANGE = "the call takes only addresses where nothing is mapped, or mappings of its own kind"
    KEEPS = "nothing that an enclave or its program could tell"
    REFUSED = "the host kernel refuses it of a traced program, or to one without privileges over another"
    UNSEEN = "nobody sees the call: docs/fidelity.md tells what that means"


MAPPING_CALLS = {
    "mmap": Effect.ANSWERED,
    "mprotect": Effect.ANSWERED,
    "pkey_mprotect": Effect.ANSWERED,
    "munmap": Effect.ANSWERED,
    "mremap": Effect.ANSWERED,
    "remap_file_pages": Effect.ANSWERED,
    "shmat": Effect.ANSWERED,
    "madvise": Effect.ANSWERED,
    "process_madvise": Effect.ANSWERED,
    "mseal": Effect.ANSWERED,
    "msync": Effect.ANSWERED,
    "mincore": Effect.ANSWERED,
    "mlock": Effect.ANSWERED,
    "mlock2": Effect.ANSWERED,
    "munlock": Effect.ANSWERED,
    "mlockall": Effect.ANSWERED,
    "munlockall": Effect.KEEPS,
    "userfaultfd": Effect.ANSWERED,  # at UFFDIO_REGISTER
    "brk": Effect.FREE_RANGE,
    "shmdt": Effect.FREE_RANGE,
    "map_shadow_stack": Effect.FREE_RANGE,
    "io_setup": Effect.FREE_RANGE,
    "pkey_alloc": Effect.KEEPS,
    "pkey_free": Effect.KEEPS,
    "mbind": Effect.KEEPS,
    "set_mempolicy": Effect.KEEPS,
    "set_mempolicy_home_node": Effect.KEEPS,
    "get_mempolicy": Effect.KEEPS,
    "migrate_pages": Effect.KEEPS,
    "move_pages": Effect.KEEPS,
    "memfd_create": Effect.KEEPS,
    "memfd_secret": Effect.KEEPS,
    "membarrier": Effect.KEEPS,
    "process_mrelease": Effect.KEEPS,  # of a process that is dying
    "process_vm_readv": Effect.KEEPS,
    "process_vm_writev": Effect.KEEPS,
    "ptrace": Effect.REFUSED,
    "io_uring_setup": Effect.UNSEEN,
    "io_uring_enter": Effect.UNSEEN,
    "io_uring_register": Effect.UNSEEN,
}
"""Name -> effect."""

REVIEWED = 470
"""The last number of arch/x86/entry/syscalls/syscall_64.tbl that this table was made from: calls without an entry have
nothing to do with mappings."""
