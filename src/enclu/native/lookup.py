"""Looking up a directory as a thread would: from its root, working directory or descriptor, in its mount namespace.

The supervisor does so itself, by what /proc has of the thread, so that no call has to be made in it.
Kernel: Documentation/filesystems/path-lookup.rst, openat2(2).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import struct
from typing import TYPE_CHECKING

from enclu.base.abi import AT_FDCWD, NR
from enclu.native import proc

if TYPE_CHECKING:
    from collections.abc import Iterator

RESOLVE_BENEATH, RESOLVE_IN_ROOT, RESOLVE_CACHED = 8, 16, 32
_libc = ctypes.CDLL(None, use_errno=True)
OPEN_HOW = struct.Struct("<QQQ")
"""struct open_how: flags, mode and resolve."""
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_PROC_SUPER_MAGIC = 0x9FA0


@contextlib.contextmanager
def directory(tid: int, dirfd: int, path: str, resolve: int = 0) -> Iterator[int]:
    """A descriptor (O_PATH) of the directory that `path` names to the thread.  Raises OSError.

    `path` is relative to `dirfd`, or absolute; `resolve` as of openat2(2).
    """
    resolve &= ~RESOLVE_CACHED
    with _closed(_start(tid, dirfd, path, resolve)) as start:
        if resolve & (RESOLVE_BENEATH | RESOLVE_IN_ROOT) or same_root(tid):
            found = _openat2(start, path, resolve)
        else:
            found = _in_other_root(tid, dirfd, start, path, resolve)
    with _closed(found):
        yield found


def _in_other_root(tid: int, dirfd: int, start: int, path: str, resolve: int) -> int:
    """Absolute links and ".." end at the thread's root, not at this process's."""
    if not path.startswith("/"):
        try:
            return _openat2(start, path, resolve | RESOLVE_BENEATH)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
        path = os.path.join(beneath_root(tid, dirfd), path)
    with _closed(proc.follow(tid, "root", _DIRECTORY)) as root:
        return _openat2(root, path, resolve | RESOLVE_IN_ROOT)


def _start(tid: int, dirfd: int, path: str, resolve: int) -> int:
    if path.startswith("/") and not resolve & RESOLVE_IN_ROOT:
        return proc.follow(tid, "root", _DIRECTORY)
    return proc.follow(tid, "cwd" if dirfd == AT_FDCWD else f"fd/{dirfd}", _DIRECTORY)


def beneath_root(tid: int, dirfd: int) -> str:
    """The path from the thread's root to one of its directories.  Raises FileNotFoundError if it is not beneath."""
    root, at = proc.name_of(tid, "root"), proc.name_of(tid, "cwd" if dirfd == AT_FDCWD else f"fd/{dirfd}")
    if root != "/" and at != root and not at.startswith(f"{root}/"):
        raise FileNotFoundError(errno.ENOENT, at)
    return "/" + at.removeprefix(root).lstrip("/")


def same_root(tid: int) -> bool:
    """The thread has the root directory and the mount namespace of this process."""
    return proc.same_file(tid, "root", os.getpid()) and proc.same_file(tid, "ns/mnt", os.getpid())


def _openat2(start: int, path: str, resolve: int) -> int:
    how = ctypes.create_string_buffer(OPEN_HOW.pack(_DIRECTORY, 0, resolve), OPEN_HOW.size)
    fd = int(_libc.syscall(NR["openat2"], start, os.fsencode(path), how, OPEN_HOW.size))
    if fd >= 0:
        return fd
    error = ctypes.get_errno()
    if error in (errno.ENOSYS, errno.EPERM) and not resolve:  # before Linux 5.6, or a seccomp filter around enclu
        return os.open(path, _DIRECTORY, dir_fd=start)
    raise OSError(error, os.strerror(error), path)


def on_procfs(fd: int) -> bool:
    """The file is of some /proc (statfs(2))."""
    buffer = ctypes.create_string_buffer(256)
    return not _libc.fstatfs(fd, buffer) and int.from_bytes(buffer.raw[:8], "little") == _PROC_SUPER_MAGIC


@contextlib.contextmanager
def _closed(fd: int) -> Iterator[int]:
    try:
        yield fd
    finally:
        os.close(fd)
