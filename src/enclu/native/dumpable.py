"""PR_SET_DUMPABLE: a program may hide its memory, and would hide it from the supervisor, too.

Kernel: kernel/sys.c (prctl), kernel/ptrace.c (__ptrace_may_access).
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

from enclu.base.abi import PR_GET_DUMPABLE, PR_SET_DUMPABLE

if TYPE_CHECKING:
    from enclu.native.thread import Thread

CAP_SYS_PTRACE = 19


@functools.cache
def capable(capability: int) -> bool:
    """Whether this process has the capability in effect."""
    with open("/proc/self/status") as status:
        found = re.search(r"^CapEff:\s*([0-9a-f]+)", status.read(), re.MULTILINE)
    return found is not None and bool(int(found[1], 16) >> capability & 1)


def prctl(thread: Thread) -> int | None:
    """PR_SET_DUMPABLE and PR_GET_DUMPABLE: the program is told that its memory is hidden, and it is not.

    Who may look at it all the same has the kernel hide it.
    """
    option, value, space = thread.regs.rdi & 0xFFFF_FFFF, thread.regs.rsi, thread.space
    if option == PR_SET_DUMPABLE and value == 0:
        space.undumpable = True
        return None if capable(CAP_SYS_PTRACE) else 0
    if option == PR_GET_DUMPABLE and space.undumpable:
        return 0
    if option == PR_SET_DUMPABLE and value == 1:
        space.undumpable = False
    return None
