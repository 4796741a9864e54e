"""The user's directories (XDG Base Directory Specification), and files that appear in them whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from pathlib import Path


class NoHome(OSError):
    """Neither the environment nor the password database says where the user's files are."""


def _base(variable: str, default: str) -> Path:
    given = os.environ.get(variable, "")
    if given.startswith("/"):  # relative ones are to be ignored, says the specification
        return Path(given)
    try:
        return Path.home() / default
    except RuntimeError:
        raise NoHome(errno.ENOENT, f"no home directory; set HOME or {variable}") from None


def state() -> Path:
    """What is to stay: $XDG_STATE_HOME/enclu.  Raises NoHome."""
    return _base("XDG_STATE_HOME", ".local/state") / "enclu"


def cache() -> Path:
    """What can be found out again: $XDG_CACHE_HOME/enclu.  Raises NoHome."""
    return _base("XDG_CACHE_HOME", ".cache") / "enclu"


def make(directory: Path) -> None:
    """Make the directory and those above it, all for the user alone.  Raises OSError."""
    if not directory.is_dir():
        make(directory.parent)
        with contextlib.suppress(FileExistsError):
            directory.mkdir(mode=0o700)


def create(path: Path, content: bytes) -> None:
    """Create a file with its content, at once, in a directory made for it.  Raises OSError, also FileExistsError.

    The file has no name until it is complete, so that nothing is left of it when enclu is killed.
    """
    make(path.parent)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fd = os.open(".", os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=directory)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
                raise
            _create_by_name(path, content)
            return
        try:
            _write(fd, content)
            os.link(f"/proc/self/fd/{fd}", path, src_dir_fd=directory, follow_symlinks=True)
        finally:
            os.close(fd)
    finally:
        os.close(directory)


def _create_by_name(path: Path, content: bytes) -> None:
    """For file systems without nameless files."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    fd = os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        _write(fd, content)
        os.link(fresh, path)
    finally:
        os.close(fd)
        fresh.unlink()


def _write(fd: int, content: bytes) -> None:
    while content:
        content = content[os.write(fd, content) :]
