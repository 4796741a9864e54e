"""Files that gdb asks for, to read only: programs and libraries with their symbols, and what `/proc` tells.

GDB manual, appendix "File-I/O Remote Protocol Extension", sections "Host I/O Packets" and "struct stat".
"""

from __future__ import annotations

import errno
import os
import stat
import struct

from enclu.run.gdb.packets import escaped, plain

_STAT = struct.Struct(">7I3Q3I")
_ERRNO = {errno.EPERM, errno.ENOENT, errno.EINTR, errno.EIO, errno.EBADF, errno.EACCES, errno.EFAULT, errno.EBUSY,
          errno.EEXIST, errno.ENODEV, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.ENFILE, errno.EMFILE,
          errno.EFBIG, errno.ENOSPC, errno.ESPIPE, errno.EROFS}  # fmt: skip
_UNKNOWN, _NAME_TOO_LONG = 9999, 91
_WORD = 0xFFFF_FFFF


class Files:
    """Those that one debugger has open."""

    def __init__(self) -> None:
        self._open: set[int] = set()

    def close(self) -> None:
        """The debugger has gone."""
        while self._open:
            os.close(self._open.pop())

    def answer(self, request: bytes) -> bytes:
        """To what follows vFile: in a packet; empty for a request that is not known."""
        name, _, rest = request.partition(b":")
        arguments = rest.split(b",")
        try:
            match name:
                case b"setfs":
                    return b"F0"
                case b"open":
                    path = bytes.fromhex(arguments[0].decode())
                    if int(arguments[1], 16) & 3:
                        raise OSError(errno.EROFS, "files are only read")
                    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
                    self._open.add(fd)
                    return b"F%x" % fd
                case b"close":
                    fd = self._fd(arguments[0])
                    self._open.remove(fd)
                    os.close(fd)
                    return b"F0"
                case b"pread":
                    fd, count, offset = self._fd(arguments[0]), int(arguments[1], 16), int(arguments[2], 16)
                    return _attached(os.pread(fd, min(count, 0x1E00), offset))
                case b"fstat":
                    return _attached(_packed(os.fstat(self._fd(arguments[0]))))
                case b"readlink":
                    return _attached(os.readlink(bytes.fromhex(plain(arguments[0]).decode())))
        except OSError as error:
            number = error.errno or errno.EIO
            number = _NAME_TOO_LONG if number == errno.ENAMETOOLONG else number
            return b"F-1,%x" % (number if number in (*_ERRNO, _NAME_TOO_LONG) else _UNKNOWN)
        return b""

    def _fd(self, text: bytes) -> int:
        fd = int(text, 16)
        if fd not in self._open:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return fd


def _attached(data: bytes) -> bytes:
    return b"F%x;" % len(data) + escaped(data)


def _packed(status: os.stat_result) -> bytes:
    kind = status.st_mode & (stat.S_IFMT(status.st_mode) | 0o777)
    return _STAT.pack(
        status.st_dev & _WORD, status.st_ino & _WORD, kind, status.st_nlink & _WORD, status.st_uid, status.st_gid,
        status.st_rdev & _WORD, status.st_size, status.st_blksize, status.st_blocks,
        int(status.st_atime) & _WORD, int(status.st_mtime) & _WORD, int(status.st_ctime) & _WORD,
    )  # fmt: skip
