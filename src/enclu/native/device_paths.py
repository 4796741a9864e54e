"""Which of the machine's files a path names to a thread: a device, or one under /proc or /sys.

The devices are in the directory that is /dev to enclu, under whatever path a thread comes to it.  In a root directory
or a mount namespace of its own it has them if the same file system is mounted there, as it would have real ones.
"""

from __future__ import annotations

import functools
import os
import re
from typing import TYPE_CHECKING

from enclu.base.abi import AT_FDCWD
from enclu.native import proc

if TYPE_CHECKING:
    from enclu.native.thread import Thread

DEV = "/dev"
ENCLAVE = frozenset((f"{DEV}/sgx_enclave", f"{DEV}/sgx/enclave"))
PROVISION = frozenset((f"{DEV}/sgx_provision", f"{DEV}/sgx/provision"))
VEPC = f"{DEV}/sgx_vepc"
"""EPC for virtual machines, which there is none of."""
CPUINFO = "/proc/cpuinfo"
# Texts, which `re` compiles when there is something to match.
AUXV = r"/proc/(self|thread-self|\d+)(/task/\d+)?/auxv"
NODE_X86 = r"(?P<node>/sys/devices/system/node/node(?P<number>\d+))/x86"
"""A directory, which the host may not have."""
NODE_BYTES = f"{NODE_X86}/sgx_total_bytes"
_LAST = r"(?s)(?:(?P<parent>.*)/)?(?P<name>sgx_enclave|sgx_provision|sgx_vepc|sgx/[./]*(enclave|provision))"
"""A path that may name a device: the directory that is to be /dev, and the rest."""


def named(thread: Thread, dirfd: int, pointer: int, resolve: int = 0) -> str | None:
    """The machine's own name of what a call's path names; None of what is none of its files."""
    try:
        path = os.fsdecode(thread.space.string(pointer))
        if path.endswith(("cpuinfo", "auxv")):
            return _under_proc(thread, dirfd, path)
        if path.endswith(("sgx_total_bytes", "/x86")):
            return _under_sys(thread, dirfd, path)
        match = re.fullmatch(_LAST, path)
        if match is None:
            return None
        parent = "." if match["parent"] is None else f"{match['parent']}/"
        name = os.path.normpath(match["name"])
        from enclu.native import lookup  # few programs look for a device

        with lookup.directory(thread.tid, dirfd, parent, resolve) as found:
            return f"{DEV}/{name}" if proc.identity(os.fstat(found)) == dev() else None
    except OSError:
        return None  # there is no such path: the host kernel says so, too


@functools.cache
def dev() -> tuple[int, int] | None:
    """The directory in which the machine has its devices: /dev as it was at first; None where there was none."""
    try:
        return proc.identity(os.stat(DEV))
    except OSError:
        return None


def _absolute(thread: Thread, dirfd: int, path: str) -> str:
    from enclu.native import lookup

    return os.path.normpath(os.path.join(lookup.beneath_root(thread.tid, dirfd), path) if path[:1] != "/" else path)


def _under_sys(thread: Thread, dirfd: int, path: str) -> str | None:
    """Of a node that the thread has, by a path without symbolic links."""
    from enclu.native import lookup

    path = _absolute(thread, dirfd, path)
    match = re.fullmatch(f"{NODE_X86}(/sgx_total_bytes)?", path)
    if match is None:
        return None
    with lookup.directory(thread.tid, AT_FDCWD, match["node"]):
        return path


def _under_proc(thread: Thread, dirfd: int, path: str) -> str | None:
    from enclu.native import lookup

    path = _absolute(thread, dirfd, path)
    if path != CPUINFO and not re.fullmatch(AUXV, path):
        return None
    with lookup.directory(thread.tid, AT_FDCWD, "/proc") as found:
        return path if lookup.on_procfs(found) else None
