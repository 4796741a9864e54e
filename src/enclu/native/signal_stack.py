"""Alternate signal stacks with SS_AUTODISARM, which the host kernel takes away with each frame that it builds.

It does so for the machine's own frames, too (signal_delivered() in kernel/signal.c), of which nothing is to be seen.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from enclu.base.abi import NR
from enclu.native import ptrace
from enclu.native.inject import inject

if TYPE_CHECKING:
    from enclu.native.thread import Thread

SS_AUTODISARM = 1 << 31
STACK_AT, STACK_SIZE = 24, 24
"""Where struct rt_sigframe has uc_stack: what sigaltstack(2) had set before."""
_FLAGS = struct.Struct("<8xI")


def note(thread: Thread, stack: bytes) -> None:
    """A frame with this uc_stack has been built for the machine's purposes."""
    if _FLAGS.unpack_from(stack)[0] & SS_AUTODISARM:
        thread.disarmed = stack
        thread.process.handlers.own_aex = False


def rearm(thread: Thread, signo: int = 0) -> None:
    """Give the stopped thread its alternate stack again; it is about to be resumed with this signal."""
    stack, thread.disarmed = thread.disarmed, None
    if stack is None:
        return
    info = ptrace.SigInfo()
    if signo:
        info.get(thread.tid)
    inject(thread, NR["sigaltstack"], stack, 0)
    if signo:
        info.set(thread.tid)
