"""Files of which anybody may have made something else: read without waiting, and only as far as they can be meant.

What enclu keeps for itself, in the user's directories, is nobody else's: `read_own`.  What a user names, a key or a
quote, may well be a pipe or belong to somebody else: `read_named`.
"""

from __future__ import annotations

import errno
import os
import select
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_KINDS = {
    stat.S_IFIFO: "a FIFO", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a directory", stat.S_IFLNK: "a symbolic link",
}  # fmt: skip
_CHUNK = 1 << 20
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Refused(OSError):
    """A file that is not read, and why: `strerror` has it in words."""

    def __init__(self, path: str | Path, why: str) -> None:
        super().__init__(errno.EPERM, why, str(path))


class TooLarge(Refused):
    """One with more bytes than it can be meant to have."""

    def __init__(self, path: str | Path, limit: int) -> None:
        super().__init__(path, f"has more than {limit} bytes")


def check_own(path: str | Path) -> None:
    """Whether `read_own` would read it, whatever its size.  Raises OSError, Refused."""
    _check_own(path, os.lstat(path), None)


def _check_own(path: str | Path, status: os.stat_result, limit: int | None) -> None:
    kind = stat.S_IFMT(status.st_mode)
    if kind != stat.S_IFREG:
        raise Refused(path, f"is {_KINDS.get(kind, 'no file')}, not a regular file")
    if status.st_uid not in (0, os.geteuid()):
        raise Refused(path, f"belongs to another user, {status.st_uid}")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise Refused(path, "others may write to it; chmod go-w")
    if limit is not None and status.st_size > limit:
        raise TooLarge(path, limit)


def read_own(path: str | Path, limit: int) -> bytes:
    """A file that enclu has put there itself: a regular one, the user's or root's, and no link to one.

    Raises OSError, Refused for anything else and for more than `limit` bytes.
    """
    # Looked at before it is opened, as opening a device may do something; and after, as it may be another one by then.
    _check_own(path, os.lstat(path), limit)
    fd = os.open(path, _FLAGS | os.O_NOFOLLOW)
    try:
        _check_own(path, os.fstat(fd), limit)
        return _read(fd, path, limit)
    finally:
        os.close(fd)


def read_named(path: str | Path, limit: int) -> bytes:
    """A file that the user has named; of a pipe, what somebody writes into it.

    Raises OSError, Refused for more than `limit` bytes and for a FIFO that nobody writes to.
    """
    fd = os.open(path, _FLAGS)
    try:
        content = _read(fd, path, limit)
        if not content and stat.S_ISFIFO(os.fstat(fd).st_mode):
            raise Refused(path, "is a FIFO, and nobody writes to it")
        return content
    finally:
        os.close(fd)


def _read(fd: int, path: str | Path, limit: int) -> bytes:
    content = b""
    while len(content) <= limit:
        try:
            more = os.read(fd, min(_CHUNK, limit + 1 - len(content)))
        except BlockingIOError:
            select.select([fd], [], [])
            continue
        if not more:
            return content
        content += more
    raise TooLarge(path, limit)
