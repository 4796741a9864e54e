"""PR_SET_SYSCALL_USER_DISPATCH: a program that has its own system calls sent back to it as SIGSYS.

The host kernel looks at this before it asks a tracer or a filter, so it has to be off wherever the machine makes calls
in the thread, and in enclave mode, where SYSCALL is #UD.  Kernel: kernel/entry/syscall_user_dispatch.c; a tracer may
change it since Linux 6.4.
"""

from __future__ import annotations

import ctypes
import struct
from typing import TYPE_CHECKING

from enclu.native import ptrace

if TYPE_CHECKING:
    from enclu.native.thread import Thread

_SET_CONFIG, _GET_CONFIG = 0x4210, 0x4211
_SIZE = 32
"""sizeof(struct ptrace_sud_config): mode, selector, offset and len."""
_ON, _OFF = 1, bytes(_SIZE)
SYS_USER_DISPATCH = 2
"""si_code of SIGSYS for such a call."""


def config(tid: int) -> bytes:
    """The thread's configuration; empty if dispatch is off.  Raises OSError where the kernel does not tell."""
    buffer = ctypes.create_string_buffer(_SIZE)
    ptrace.ptrace(_GET_CONFIG, tid, _SIZE, ctypes.addressof(buffer))
    return buffer.raw if any(buffer.raw[:8]) else b""


def settle(thread: Thread, *, wanted: bool) -> None:
    """Switch on what the program has asked for, or off, before the thread is resumed."""
    if wanted != thread.dispatching:
        ptrace.with_bytes(_SET_CONFIG, thread.tid, _SIZE, thread.user_dispatch if wanted else _OFF)
        thread.dispatching = wanted


def by_selector(tid: int, selector: int, allowed: tuple[int, int]) -> None:
    """Have system calls become SIGSYS while the byte at `selector` is 1, but in [start, end) of `allowed`.

    Raises OSError before Linux 6.4.
    """
    start, end = allowed
    ptrace.with_bytes(_SET_CONFIG, tid, _SIZE, struct.pack("<4Q", _ON, selector, start, end - start))


def off(tid: int) -> None:
    """Dispatch none.  Raises OSError."""
    ptrace.with_bytes(_SET_CONFIG, tid, _SIZE, _OFF)
