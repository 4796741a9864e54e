"""Numbers and structures of the Fortanix SGX ABI.

fortanix/rust-sgx: intel-sgx/fortanix-sgx-abi, doc/FORTANIX-SGX-ABI.md.
"""

from __future__ import annotations

import enum
import errno
import socket

from enclu.host.errors import HostError
from enclu.sgx.layout import Structure

NORMAL_EXIT = 0
"""RDI of an exit that is the end of the entry; others are usercalls."""


class Usercall(enum.IntEnum):
    """RDI of a usercall."""

    READ = 1
    READ_ALLOC = 2
    WRITE = 3
    FLUSH = 4
    CLOSE = 5
    BIND_STREAM = 6
    ACCEPT_STREAM = 7
    CONNECT_STREAM = 8
    LAUNCH_THREAD = 9
    EXIT = 10
    WAIT = 11
    SEND = 12
    INSECURE_TIME = 13
    ALLOC = 14
    FREE = 15
    ASYNC_QUEUES = 16


USER_DEFINED = 0x8000_0000
"""Set in usercalls that the program and its host agree upon."""


class Error(enum.IntEnum):
    """The first result of usercalls that can fail.  Most are Linux's errno."""

    SUCCESS = 0
    PERMISSION_DENIED = 0x01
    NOT_FOUND = 0x02
    INTERRUPTED = 0x04
    WOULD_BLOCK = 0x0B
    ALREADY_EXISTS = 0x11
    INVALID_INPUT = 0x16
    BROKEN_PIPE = 0x20
    ADDR_IN_USE = 0x62
    ADDR_NOT_AVAILABLE = 0x63
    CONNECTION_ABORTED = 0x67
    CONNECTION_RESET = 0x68
    NOT_CONNECTED = 0x6B
    TIMED_OUT = 0x6E
    CONNECTION_REFUSED = 0x6F
    INVALID_DATA = 0x2000_0000
    WRITE_ZERO = 0x2000_0001
    UNEXPECTED_EOF = 0x2000_0002
    OTHER = 0x3FFF_FFFF

    @classmethod
    def of(cls, error: BaseException) -> Error:
        """For what went wrong in Python."""
        if isinstance(error, socket.gaierror):
            return cls.NOT_FOUND
        if isinstance(error, OSError) and error.errno is not None:
            number = errno.EPERM if error.errno == errno.EACCES else error.errno
            return cls(number) if number in cls._value2member_map_ and number else cls.OTHER
        if isinstance(error, ValueError | HostError | UnicodeError):
            return cls.INVALID_INPUT
        return cls.OTHER


FD_STDIN, FD_STDOUT, FD_STDERR = range(3)
EVENTS = 0b1111
"""Bits of events that there are: the queues' three, and EV_UNPARK."""
WAIT_NO, WAIT_INDEFINITE = 0, (1 << 64) - 1

BYTE_BUFFER = Structure("ByteBuffer", 16, (0, "data", "Q"), (8, "len", "Q"))
DEBUG_BUFFER = 1024
"""Bytes of the buffer that R10 points to, for what a debug build says when it panics."""

# What ftxsgx-elf2sgxs lays before every TCS: its thread-local section (rust: library/std/src/sys/sgx/abi/entry.S).
