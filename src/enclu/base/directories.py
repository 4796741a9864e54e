"""The user's directories (XDG Base Directory Specification), and files that appear in them whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING

from enclu.base.files import Refused

if TYPE_CHECKING:
    import tempfile
    from pathlib import Path


class NoHome(OSError):
    """Neither the environment nor the password database says where the user's files are."""


class NoTemporary(OSError):
    """No directory for temporary files can be written to."""


def _base(variable: str, default: str) -> str:
    """Relative paths, and empty ones, are ignored: so says the specification, and HOME is no better."""
    given = os.environ.get(variable, "")
    if given.startswith("/"):
        return given
    home = os.environ.get("HOME", "")
    if not home.startswith("/"):
        try:
            import pwd  # for those who have no HOME

            home = pwd.getpwuid(os.getuid()).pw_dir
        except KeyError:
            home = ""
    if not home.startswith("/"):
        raise NoHome(errno.ENOENT, f"no home directory; set HOME or {variable}")
    return f"{home}/{default}"


def state() -> Path:
    """What is to stay: $XDG_STATE_HOME/enclu.  Raises NoHome."""
    from pathlib import Path

    return Path(_base("XDG_STATE_HOME", ".local/state"), "enclu")


def cache() -> Path:
    """What can be found out again: $XDG_CACHE_HOME/enclu.  Raises NoHome."""
    from pathlib import Path

    return Path(cached())


def cached(*names: str) -> str:
    """What is below `cache`, for who looks there at every start and needs no Path.  Raises NoHome."""
    return os.path.join(_base("XDG_CACHE_HOME", ".cache"), "enclu", *names)


def temporary(prefix: str) -> tempfile.TemporaryDirectory[str]:
    """A directory for a while.  Raises NoTemporary."""
    import tempfile  # not for a start of `enclu run`

    try:
        return tempfile.TemporaryDirectory(prefix=prefix)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        why = f"nowhere for temporary files: {where}{error.strerror}; set TMPDIR to a directory that can be written to"
        raise NoTemporary(error.errno, why) from None


def make(directory: Path) -> None:
    """Make the directory and those above it, all for the user alone.

    Raises OSError, Refused for one that another user owns, who could put anything there.
    """
    _make(directory)
    owner = directory.stat().st_uid
    if owner not in (0, os.geteuid()):
        raise Refused(directory, f"belongs to another user, {owner}")


def _make(directory: Path) -> None:
    if not directory.is_dir():
        _make(directory.parent)
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


def replace(path: Path, content: bytes) -> None:
    """The file with this content, whatever file, FIFO or link was there.  Raises OSError."""
    fresh = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    create(fresh, content)
    try:
        os.replace(fresh, path)
    except OSError:
        fresh.unlink()
        raise


def _create_by_name(path: Path, content: bytes) -> None:
    """For file systems without nameless files."""
    fresh = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
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
