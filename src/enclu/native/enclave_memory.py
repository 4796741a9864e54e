"""The memory of one enclave: a memfd that the program maps and the supervisor maps too."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import signal
from typing import TYPE_CHECKING

from enclu.base import console
from enclu.base.workers import worker
from enclu.native import limits
from enclu.sgx.processor import WINDOW

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

_FALLOC_KEEP_SIZE, _FALLOC_PUNCH_HOLE = 1, 2
_libc = ctypes.CDLL(None, use_errno=True)


class MemfdMemory:
    """Implements `sgx.processor.EnclaveMemory` on the memfd that stands for one open of the device."""

    def __init__(self, fd: int, counted: bool) -> None:
        """`fd` is the supervisor's own open file; `counted` says that the kernel counts the program's as a writer."""
        self.fd = fd
        self.counted = counted
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)  # which nobody minds, where a lease is in somebody's way
        self._size = 0
        self._windows: dict[int, memoryview] = {}
        self._under_way: list[Future[None]] = []

    def resize(self, size: int) -> None:
        """Make it `size` bytes, all zero.  Raises OSError."""
        try:
            os.ftruncate(self.fd, size)
        except OSError as error:
            if error.errno == errno.EFBIG:
                console.say(f"no enclave of {size:,} bytes can be created: the limit of file sizes is "
                            f"{limits.file_size():,} bytes; {limits.RAISE_FILE_SIZE}")  # fmt: skip
            raise
        # The supervisor would die of SIGBUS where the program took away what it has mapped.
        fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        self._size = size

    def view(self, offset: int, size: int) -> memoryview:
        """Bytes of it, in a window that is mapped when it is first needed.  Raises OSError."""
        index, at = divmod(offset, WINDOW)
        window = self._windows.get(index)
        if window is None:
            start = index * WINDOW
            mapped = mmap.mmap(self.fd, min(WINDOW, self._size - start), offset=start)
            window = self._windows[index] = memoryview(mapped)
        return window[at : at + size]

    def write(self, offset: int, data: memoryview) -> Callable[[], object]:
        """Store bytes, beside the caller's work: done once `settle`, or what this gives, has returned.

        Only then may `data` change.  Cheaper than through the view where nothing is yet, as no page is faulted in and
        cleared.
        """
        write = worker("enclave memory").submit(self._write, offset, data)
        self._under_way.append(write)
        return write.exception  # waits, and raises nothing: that is for `settle`

    def _write(self, offset: int, data: memoryview) -> None:
        while data:
            done = os.pwrite(self.fd, data, offset)
            data, offset = data[done:], offset + done

    def settle(self) -> None:
        """Wait for every `write`.  Raises OSError if one failed."""
        under_way, self._under_way = self._under_way, []
        for write in under_way:
            write.result()

    def discard(self, offset: int, size: int) -> None:
        """Give the bytes back to the system; they read as zero afterwards."""
        flags = _FALLOC_PUNCH_HOLE | _FALLOC_KEEP_SIZE
        if _libc.fallocate(self.fd, flags, ctypes.c_long(offset), ctypes.c_long(size)):
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))

    @property
    def referenced(self) -> bool:
        """The program's open file, which is `counted`, is still there: in a descriptor, mapping or message of a socket.

        Kernel: check_conflicting_open() in fs/locks.c grants a write lease to the only writer of a file.
        """
        try:
            fcntl.fcntl(self.fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):  # EACCES: the program has changed its user since
                return True
            raise
        fcntl.fcntl(self.fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        return False

    def close(self) -> None:
        """Free the memory.  The program's own mappings of it, if any are left, read as zero."""
        if self.fd < 0:
            return
        if self._size:  # never truncate: a late touch of our own mapping would be a SIGBUS
            self.discard(0, self._size)
        self._windows.clear()  # EPC pages may still hold slices; a mapping goes with the last of them
        os.close(self.fd)
        self.fd = -1
