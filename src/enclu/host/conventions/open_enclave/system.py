"""OCALLs of Open Enclave's own, which its host library serves; here Python does.  Others of its own are unsupported.

Open Enclave: include/openenclave/edl, host/sgx/ocalls, host/linux/syscall.c.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import logging
import os
import struct
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from enclu.host.conventions.open_enclave.abi import OeResult
from enclu.host.conventions.open_enclave.attestation import AttestationOcalls
from enclu.host.edl.types import Type
from enclu.host.errors import EnclaveTimeout
from enclu.host.guard import Event

if TYPE_CHECKING:
    from enclu.host.conventions.open_enclave.runtime import Runtime
    from enclu.host.edl.interface import Interface

LOGGER = logging.getLogger("enclu.open_enclave")
"""Where enclaves' log messages go."""
LEVELS = (logging.CRITICAL, logging.CRITICAL, logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG)
"""By oe_log_level_t."""
TYPES: dict[str, Type | int] = {
    "oe_result_t": ctypes.c_uint32, "oe_log_level_t": ctypes.c_uint32, "oe_host_fd_t": ctypes.c_int64,
    "oe_off_t": ctypes.c_int64, "oe_mode_t": ctypes.c_uint32, "oe_clockid_t": ctypes.c_int, "oe_uuid_t": 16,
    "oe_enclave_t": 8,
}  # fmt: skip
"""Of Open Enclave's headers; structures by their sizes."""
IOVEC = struct.Struct("<QQ")
MOST_IOVECS = 1024
CPUID_LEAVES = (0, 1, 4, 7, 0x8000_0000, 0x8000_0001)
"""Since 0.12; before, the table had leaves 0 to 7."""
STDIN, STDOUT, STDERR = range(3)

INTERFACE = """
enclave {
    untrusted {
        uint32_t oe_sgx_get_cpuid_table_ocall([out, size=size] void* table, size_t size);
        void oe_log_is_supported_ocall();
        void oe_log_ocall(uint32_t level, [in, string] const char* message);
        void oe_write_ocall(int device, [in, string] const char* text, size_t limit);
        void* oe_realloc_ocall([user_check] void* address, size_t size);
        void oe_sgx_thread_wake_wait_ocall([user_check] void* handle, uint64_t waiter, uint64_t self);
        uint32_t oe_sgx_log_backtrace_ocall([user_check] void* handle, uint32_t level,
            [in, count=size] const uint64_t* frames, size_t size);
        uint32_t oe_sgx_backtrace_symbols_ocall([user_check] void* handle, [in, count=size] const uint64_t* frames,
            size_t size, [out, size=room] void* symbols, size_t room, [out] size_t* used);
        uint32_t oe_get_qetarget_info_ocall([in, size=16] const void* kind, [in, size=size] const void* parameters,
            size_t size, [out, size=512] void* target);
        uint32_t oe_get_quote_ocall([in, size=16] const void* kind, [in, size=size] const void* parameters, size_t size,
            [in, size=432] const void* report, [out, size=room] void* quote, size_t room, [out] size_t* used);
        uint32_t oe_get_quote_verification_collateral_ocall([in, size=6] const void* fmspc, uint8_t provider, %s);
        uint32_t oe_get_quote_verification_collateral_with_baseline_ocall([in, size=6] const void* fmspc,
            uint8_t provider, [in, size=baseline_size] const void* baseline, size_t baseline_size, %s);
        int64_t oe_syscall_read_ocall(int64_t fd, [out, size=count] void* data, size_t count) propagate_errno;
        int64_t oe_syscall_write_ocall(int64_t fd, [in, size=count] const void* data, size_t count) propagate_errno;
        int64_t oe_syscall_readv_ocall(int64_t fd, [in, out, size=size] void* vectors, int count, size_t size)
            propagate_errno;
        int64_t oe_syscall_writev_ocall(int64_t fd, [in, size=size] const void* vectors, int count, size_t size)
            propagate_errno;
        int oe_syscall_close_ocall(int64_t fd) propagate_errno;
        int64_t oe_syscall_dup_ocall(int64_t fd) propagate_errno;
        int oe_syscall_fcntl_ocall(int64_t fd, int command, uint64_t argument, uint64_t size,
            [in, out, size=size] void* data) propagate_errno;
        int oe_syscall_ioctl_ocall(int64_t fd, uint64_t request, uint64_t argument, uint64_t size,
            [in, out, size=size] void* data) propagate_errno;
        int oe_syscall_nanosleep_ocall([in, size=16] void* request, [in, out, size=16] void* remaining)
            propagate_errno;
        int oe_syscall_clock_nanosleep_ocall(int clock, int flag, [in, size=16] void* request,
            [in, out, size=16] void* remaining) propagate_errno;
        int oe_syscall_getpid_ocall();
        int oe_syscall_getppid_ocall();
        unsigned int oe_syscall_getuid_ocall();
        unsigned int oe_syscall_geteuid_ocall();
        unsigned int oe_syscall_getgid_ocall();
        unsigned int oe_syscall_getegid_ocall();
    };
};
"""
"""What is served, as its structures have it; %s is for COLLATERAL."""
COLLATERAL = ", ".join(
    f"[out, size={name}_size] void* {name}, size_t {name}_size, [out] size_t* {name}_used"
    for name in ("tcb_info", "tcb_info_chain", "pck_crl", "root_crl", "pck_crl_chain", "qe_identity", "qe_chain")
)


LOG_INTERFACE = """
enclave {
    trusted {
        public void oe_log_init_ecall([in, string] const char* path, uint32_t level);
    };
};
"""


@functools.cache
def interface() -> Interface:
    from enclu.host import edl

    return edl.parse(INTERFACE % (COLLATERAL, COLLATERAL), "<Open Enclave>")


@functools.cache
def log_interface() -> Interface:
    """How the enclave is told what to log."""
    from enclu.host import edl

    return edl.parse(LOG_INTERFACE, "<Open Enclave>")


class SystemOcalls:
    """Callables by name; a user's of the same name go first."""

    def __init__(self, convention: Runtime) -> None:
        self._convention = convention
        self._enclave = convention.enclave
        self._events = {tcs: Event() for tcs in self._enclave.tcs}
        """What threads of the enclave wait for, as host/sgx/ocalls/ocalls.c has it."""
        self.table: dict[str, Callable[..., Any]] = {
            "oe_sgx_get_cpuid_table_ocall": self.cpuid_table,
            "oe_log_is_supported_ocall": lambda: None,
            "oe_log_ocall": self.log,
            "oe_write_ocall": self.write_text,
            "oe_realloc_ocall": self.realloc,
            "oe_sgx_thread_wake_wait_ocall": self.wake_and_wait,
            "oe_sgx_log_backtrace_ocall": self.log_backtrace,
            "oe_sgx_backtrace_symbols_ocall": lambda *_: OeResult.OE_UNSUPPORTED,
            "oe_syscall_read_ocall": self.read,
            "oe_syscall_write_ocall": lambda fd, data, _count: self.write(fd, data or b""),
            "oe_syscall_readv_ocall": self.readv,
            "oe_syscall_writev_ocall": self.writev,
            "oe_syscall_close_ocall": lambda fd: self._standard(fd) and 0,
            "oe_syscall_dup_ocall": self._standard,
            "oe_syscall_fcntl_ocall": self.fcntl,
            "oe_syscall_ioctl_ocall": self.ioctl,
            "oe_syscall_nanosleep_ocall": self.sleep,
            "oe_syscall_clock_nanosleep_ocall": lambda _clock, _flag, *times: self.sleep(*times),
            "oe_syscall_getpid_ocall": os.getpid,
            "oe_syscall_getppid_ocall": os.getppid,
            "oe_syscall_getuid_ocall": os.getuid,
            "oe_syscall_geteuid_ocall": os.geteuid,
            "oe_syscall_getgid_ocall": os.getgid,
            "oe_syscall_getegid_ocall": os.getegid,
            **AttestationOcalls(convention).table,
        }

    # The processor.

    def cpuid_table(self, table: bytearray | None, size: int) -> int:
        leaves = CPUID_LEAVES if size == 16 * len(CPUID_LEAVES) else tuple(range(8))
        if table is None or size != 16 * len(leaves):
            return OeResult.OE_INVALID_PARAMETER
        for i, leaf in enumerate(leaves):
            struct.pack_into("<4I", table, 16 * i, *self._enclave.process.cpuid(leaf))
        return OeResult.OE_OK

    # Messages.

    def log(self, level: int, message: bytes | None) -> None:
        LOGGER.log(LEVELS[min(level, len(LEVELS) - 1)], "%s", (message or b"").decode("utf-8", "replace").rstrip())

    def log_backtrace(self, _enclave: int, level: int, frames: bytes | None, _size: int) -> int:
        for (address,) in struct.iter_unpack("<Q", (frames or b"")[: 8 * 64]):
            offset = address - self._enclave.base
            where = self._convention.names.at(offset) if 0 <= offset < self._enclave.size else "outside"
            LOGGER.log(LEVELS[min(level, len(LEVELS) - 1)], "    at %#x %s", address, where)
        return OeResult.OE_OK

    def write_text(self, device: int, text: bytes | None, limit: int) -> None:
        self.write(STDERR if device else STDOUT, (text or b"")[:limit])

    # Standard input and output, which are Python's.

    def _standard(self, fd: int) -> int:
        if not STDIN <= fd <= STDERR:
            raise OSError(errno.EBADF, "only standard input and output are there")
        return fd

    def write(self, fd: int, data: bytes) -> int:
        if fd not in (STDOUT, STDERR):
            raise OSError(errno.EBADF, "not open for writing")
        stream = sys.stdout if fd == STDOUT else sys.stderr
        stream.write(data.decode("utf-8", "replace"))
        stream.flush()
        return len(data)

    def read(self, fd: int, data: bytearray | None, count: int) -> int:
        if fd != STDIN:
            raise OSError(errno.EBADF, "not open for reading")
        given = sys.stdin.buffer.readline(count) if data is not None else b""
        if data is not None:
            data[: len(given)] = given
        return len(given)

    def writev(self, fd: int, vectors: bytes | None, count: int, _size: int) -> int:
        return self.write(fd, b"".join(bytes(vectors or b"")[at : at + n] for at, n in _vectors(vectors, count)))

    def readv(self, fd: int, vectors: bytearray | None, count: int, _size: int) -> int:
        for at, size in _vectors(vectors, count):
            if size and vectors is not None:
                data = bytearray(size)
                given = self.read(fd, data, size)
                vectors[at : at + given] = data[:given]
                return given
        return 0

    def fcntl(self, fd: int, *_arguments: object) -> int:
        self._standard(fd)
        raise OSError(errno.EINVAL, "not for standard input and output")

    def ioctl(self, fd: int, *_arguments: object) -> int:
        self._standard(fd)
        raise OSError(errno.ENOTTY, "not a terminal")

    # Memory and time.

    def realloc(self, address: int, size: int) -> int:
        return self._convention.realloc(address, size)

    def sleep(self, request: bytes | None, remaining: bytearray | None) -> int:
        seconds, nanoseconds = struct.unpack("<qq", request or bytes(16))
        if seconds < 0 or not 0 <= nanoseconds < 1_000_000_000:
            raise OSError(errno.EINVAL, "no length of time")
        limit = self._convention.current.left()
        wanted = seconds + nanoseconds / 1e9
        if limit is not None and limit < wanted:
            time.sleep(limit)
            raise self._too_late()
        time.sleep(min(wanted, threading.TIMEOUT_MAX))
        if remaining is not None:
            remaining[:] = bytes(len(remaining))
        return 0

    # Threads.

    def event(self, tcs: int) -> Event | None:
        return self._events.get(tcs)

    def wake(self, tcs: int) -> int:
        event = self.event(tcs)
        if event is None:
            return OeResult.OE_INVALID_PARAMETER
        event.wake()
        return OeResult.OE_OK

    def wait(self, tcs: int) -> int:
        """Raises EnclaveTimeout when the ECALL's time is over."""
        event = self.event(tcs)
        if event is None:
            return OeResult.OE_INVALID_PARAMETER
        if not event.wait(self._convention.current.left()):
            raise self._too_late()
        return OeResult.OE_OK

    def wake_and_wait(self, _enclave: int, waiter: int, itself: int) -> None:
        if self.event(itself) is not None and self.wake(waiter) == OeResult.OE_OK:
            self.wait(itself)

    def _too_late(self) -> EnclaveTimeout:
        return EnclaveTimeout(f"{self._enclave.image.path}: the ECALL's time is over while it waits; it is abandoned")


def _vectors(data: bytes | bytearray | None, count: int) -> list[tuple[int, int]]:
    """Positions and sizes in a buffer that begins with struct iovecs, whose bases are relative to it."""
    if not 0 <= count <= MOST_IOVECS:
        raise OSError(errno.EINVAL, "too many vectors")
    data = data or b""
    if count * IOVEC.size > len(data):
        raise OSError(errno.EINVAL, "fewer vectors than told")
    vectors = [IOVEC.unpack_from(data, i * IOVEC.size) for i in range(count)]
    if any(at + size > len(data) for at, size in vectors):
        raise OSError(errno.EFAULT, "a vector beyond the buffer")
    return vectors


def foreign(types: Mapping[str, Type | int] | None) -> dict[str, Type | int]:
    """What is known of types, and what the caller knows."""
    return {**TYPES, **(types or {})}
