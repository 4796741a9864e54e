"""Limits of resources that are meant for the program, under which its machine shall not suffer (getrlimit(2)).

RLIMIT_FSIZE holds for the memory of enclaves, too: a memfd cannot grow beyond it.  Kernel: inode_newsize_ok().
"""

from __future__ import annotations

import contextlib
import resource

_LIMITS = (resource.RLIMIT_NOFILE, resource.RLIMIT_AS, resource.RLIMIT_DATA, resource.RLIMIT_FSIZE, resource.RLIMIT_CPU)
_UNLIMITED = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
_RESERVE = 16
"""Descriptors for processes to come, and for what is looked up in /proc."""
RAISE_DESCRIPTORS = "each device that a program has open takes one of enclu's: raise `ulimit -Hn` before enclu"
RAISE_FILE_SIZE = "raise `ulimit -Hf` before enclu, or give it CAP_SYS_RESOURCE"


def let_go() -> None:
    """Take of every limit as much as there is; files may have any size where that takes no more than a capability."""
    for limit in _LIMITS:
        hard = resource.getrlimit(limit)[1]
        resource.setrlimit(limit, (hard, hard))
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_FSIZE, _UNLIMITED)


def is_spare(fd: int) -> bool:
    """There are descriptors beyond this one, the last that this process has opened, for what the machine must do.

    The kernel gives the lowest number that is free.
    """
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return fd < most - min(_RESERVE, most // 4)


def file_size() -> int | None:
    """How large this process may make files; None if there is no limit."""
    soft = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return None if soft == resource.RLIM_INFINITY else soft


def file_size_of_supervisor() -> int | None:
    """How large files may be made after `let_go`; nothing changes here."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before[0], resource.RLIM_INFINITY))
    except (ValueError, OSError):
        return before[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    return None
