"""Run a command under a seccomp filter that denies system calls: `denied.py NUMBER,... ERRNO COMMAND...`."""

from __future__ import annotations

import ctypes
import os
import struct
import sys

PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 22, 38
SECCOMP_MODE_FILTER = 2
RET_ALLOW, RET_ERRNO = 0x7FFF0000, 0x00050000


def deny(numbers: list[int], error: int) -> None:
    """For this process and its descendants.  Raises OSError."""
    program = struct.pack("<HBBI", 0x20, 0, 0, 0)  # load the number
    for i, number in enumerate(numbers):
        program += struct.pack("<HBBI", 0x15, len(numbers) - i, 0, number)  # equal: to the last instruction
    program += struct.pack("<HBBI", 0x06, 0, 0, RET_ALLOW) + struct.pack("<HBBI", 0x06, 0, 0, RET_ERRNO | error)
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(program, len(program))
    fprog = ctypes.create_string_buffer(struct.pack("<HxxxxxxQ", len(program) // 8, ctypes.addressof(buffer)))
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, fprog):
        raise OSError(ctypes.get_errno(), "cannot install a filter")


if __name__ == "__main__":
    deny([int(n) for n in sys.argv[1].split(",")], int(sys.argv[2]))
    os.execvp(sys.argv[3], sys.argv[3:])
