"""The file of a core: the user's alone, and with its name only once it is whole."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
from collections.abc import Sequence

from enclu.linux.coredump import PAGE, head
from enclu.run.cores.memory import Segment

_ZEROS = bytes(PAGE)
_FLAGS = os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
_NO_NAMELESS = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL)


class NewFile:
    """A file to be in a directory.  A context manager: nothing is left of one that has not been named."""

    def __init__(self, directory: int) -> None:
        """Raises OSError."""
        self._directory = directory
        self._name = ""
        try:
            self.fd = os.open(".", os.O_TMPFILE | _FLAGS, 0o600, dir_fd=directory)
        except OSError as error:
            if error.errno not in _NO_NAMELESS:
                raise
            self._name = f".core.{os.urandom(8).hex()}"
            self.fd = os.open(self._name, os.O_CREAT | os.O_EXCL | _FLAGS, 0o600, dir_fd=directory)

    def name(self, name: str) -> None:
        """Have the file appear.  Raises OSError, FileExistsError where there is anything of this name already."""
        if self._name:
            os.link(self._name, name, src_dir_fd=self._directory, dst_dir_fd=self._directory)
        else:
            os.link(f"/proc/self/fd/{self.fd}", name, dst_dir_fd=self._directory, follow_symlinks=True)

    def name_first_free(self, name: str) -> str:
        """The same, with a number behind the name if it is taken; what it is called now."""
        for number in itertools.count(1):
            tried = name if number == 1 else f"{name}.{number}"
            with contextlib.suppress(FileExistsError):
                self.name(tried)
                return tried
        raise AssertionError("numbers do not end")

    def __enter__(self) -> NewFile:
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self.fd)
        if self._name:
            with contextlib.suppress(OSError):
                os.unlink(self._name, dir_fd=self._directory)


def write(fd: int, notes: bytes, segments: Sequence[Segment]) -> int:
    """Write a core, with holes where the memory is zero; its size.  Raises OSError."""
    loads = [segment.load for segment in segments]
    beginning, offsets = head(notes, loads)
    _write(fd, beginning, 0)
    size = offsets[-1] + loads[-1].in_file if loads else len(beginning)
    os.ftruncate(fd, size)
    for segment, offset in zip(segments, offsets, strict=True):
        for start, end in segment.runs:
            for address, data in segment.blocks(start, end):
                _write_sparsely(fd, data, offset + address - segment.load.start)
    return size


def _write(fd: int, data: bytes | memoryview, offset: int) -> None:
    while data:
        done = os.pwrite(fd, data, offset)
        data, offset = data[done:], offset + done


def _write_sparsely(fd: int, data: bytes, offset: int) -> None:
    view, start, zero = memoryview(data), 0, True
    for at in range(0, len(data), PAGE):
        now = data[at : at + PAGE] == _ZEROS
        if now != zero:
            if now:
                _write(fd, view[start:at], offset + start)
            start, zero = at, now
    if not zero:
        _write(fd, view[start:], offset + start)
