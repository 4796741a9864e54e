"""seccomp filters as others install them around enclu: classic BPF.  Kernel: include/uapi/linux/seccomp.h."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterable

PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 22, 38
SECCOMP_MODE_FILTER = 2
ALLOW, KILL_PROCESS, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
NUMBER, FIRST_ARGUMENT = 0, 16


def load(offset: int) -> bytes:
    """A word of struct seccomp_data; the low half of an argument."""
    return struct.pack("<HBBI", 0x20, 0, 0, offset)


def mask(bits: int) -> bytes:
    return struct.pack("<HBBI", 0x54, 0, 0, bits)


def verdict(action: int) -> bytes:
    return struct.pack("<HBBI", 0x06, 0, 0, action)


def if_equal(value: int, then: bytes) -> bytes:
    """Do `then` if what was loaded has the value, else what follows it."""
    return struct.pack("<HBBI", 0x15, 0, len(then) // 8, value) + then


def denying(numbers: Iterable[int], action: int) -> bytes:
    """All calls but these are allowed."""
    return load(NUMBER) + b"".join(if_equal(number, verdict(action)) for number in numbers) + verdict(ALLOW)


def denying_with(number: int, first: int, action: int) -> bytes:
    """All calls but this one with this first argument, the low half of which counts, are allowed."""
    one = load(FIRST_ARGUMENT) + if_equal(first, verdict(action)) + verdict(ALLOW)
    return load(NUMBER) + if_equal(number, one) + verdict(ALLOW)


def install(program: bytes) -> None:
    """For this process and its descendants.  Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(program, len(program))
    fprog = ctypes.create_string_buffer(struct.pack("<HxxxxxxQ", len(program) // 8, ctypes.addressof(buffer)))
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, fprog):
        raise OSError(ctypes.get_errno(), "cannot install a filter")
