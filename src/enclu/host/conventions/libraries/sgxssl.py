"""What SGXSSL's enclaves want of its untrusted library: the time, and files for its FIPS provider.

intel-sgx-ssl: Linux/package/include/sgx_tsgxssl.edl, filefunc/sgxssl_file.edl; Linux/sgx/libsgx_usgxssl.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any

from enclu.host.errors import HostError

if TYPE_CHECKING:
    from enclu.host.edl.syntax import Ocall
    from enclu.host.edl.types import Types
    from enclu.host.memory import Memory

TIMEB = struct.Struct("<qHhh2x")
"""struct timeb of <sys/timeb.h>: time, millitm, timezone, dstflag; the last two have long been zero."""
HANDLE = 16
"""Bytes of untrusted memory whose address stands for an open file."""


class SgxSsl:
    """Functions by their names in the EDL files."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._files: dict[int, IO[bytes]] = {}
        self._failed: set[int] = set()
        """Files with their error indicator set, as ferror() tells."""
        self._table: dict[str, tuple[int, Callable[..., Any]]] = {
            "u_sgxssl_ftime": (2, self._ftime), "u_sgxssl_usleep": (1, self._usleep),
            "u_sgxssl_getpid": (0, os.getpid), "u_sgxssl_fopen": (2, self._open), "u_sgxssl_fclose": (1, self._close),
            "u_sgxssl_fgets": (3, self._gets), "u_sgxssl_fread": (4, self._read), "u_sgxssl_ferror": (1, self._error),
        }  # fmt: skip
        """With the number of parameters."""

    def function(self, ocall: Ocall, types: Types) -> Callable[..., Any] | None:
        parameters, function = self._table.get(ocall.name, (None, None))
        return function if parameters == len(ocall.parameters) else None

    def close(self) -> None:
        """Files that the enclave has left open."""
        for handle in list(self._files):
            self._close(handle)

    def _ftime(self, target: bytearray | None, size: int) -> None:
        if target is None or size != TIMEB.size or len(target) != TIMEB.size:
            raise HostError(f"u_sgxssl_ftime(): struct timeb has {TIMEB.size} bytes, the enclave's has {size}")
        seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
        target[:] = TIMEB.pack(seconds, nanoseconds // 1_000_000, 0, 0)

    def _usleep(self, microseconds: int) -> None:
        time.sleep(max(microseconds, 0) / 1e6)

    def _open(self, path: bytes | None, mode: bytes | None) -> int:
        """The handle; 0 for what cannot be opened, as fopen() has it."""
        wanted = (mode or b"").decode("latin-1")
        try:
            file = open((path or b"").decode("utf-8", "surrogateescape"), _python_mode(wanted))  # noqa: SIM115
        except (OSError, ValueError):
            return 0
        handle = self._memory.allocate(HANDLE)
        self._files[handle] = file
        return handle

    def _file(self, handle: int) -> IO[bytes]:
        if handle not in self._files:
            raise HostError(f"SGXSSL's file {handle:#x} is not open")
        return self._files[handle]

    def _close(self, handle: int) -> None:
        self._file(handle).close()
        del self._files[handle]
        self._failed.discard(handle)
        self._memory.free(handle)

    def _take(self, handle: int, read: Callable[[], bytes]) -> bytes:
        """What is read; nothing, with the error indicator set, if that fails."""
        try:
            return read()
        except OSError:
            self._failed.add(handle)
            return b""

    def _gets(self, buffer: bytearray | None, size: int, handle: int) -> int:
        """A line with a zero at its end.  The result is compared with NULL alone: the buffer's address is not known."""
        file = self._file(handle)
        if buffer is None or size < 1:
            return 0
        line = self._take(handle, lambda: file.readline(size - 1)) if size > 1 else b""
        if not line and size > 1:
            return 0
        buffer[: len(line) + 1] = line + b"\0"
        return handle

    def _read(self, buffer: bytearray | None, size: int, count: int, handle: int) -> int:
        """How many whole elements."""
        file = self._file(handle)
        if buffer is None or not size:
            return 0
        data = self._take(handle, lambda: file.read(min(size * count, len(buffer))))
        buffer[: len(data)] = data
        return len(data) // size

    def _error(self, handle: int) -> int:
        self._file(handle)
        return int(handle in self._failed)


def _python_mode(mode: str) -> str:
    """open()'s mode for fopen()'s: always of bytes.  Raises ValueError for one that is none."""
    if mode[:1] not in ("r", "w", "a"):
        raise ValueError(mode)
    return mode[0] + "b" + ("+" if "+" in mode else "")
