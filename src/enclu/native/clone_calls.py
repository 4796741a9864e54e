"""clone(2) and clone3(2): a child is traced whatever its parent says, and is made as it was looked at.

With CLONE_UNTRACED it would escape the machine.  clone3(2) has its arguments in memory, where another thread could
change them after they were looked at: the host kernel reads a copy, in memory that the program cannot write to.
Kernel: kernel/fork.c (clone3, copy_clone_args_from_user, kernel_clone).
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from enclu.base.abi import CLONE_UNTRACED
from enclu.native.address_space import VDSO_BASE
from enclu.native.calls import Again, Instead
from enclu.native.path_calls import SLOTS as PATH_SLOTS
from enclu.native.path_calls import TWIN
from enclu.sgx.epc import PAGE_SIZE

if TYPE_CHECKING:
    from enclu.native.thread import Thread

SIZE_VER0 = 64
"""CLONE_ARGS_SIZE_VER0, the least size of struct clone_args."""
_COPIES = VDSO_BASE + TWIN
"""Where the vDSO image's own twin would be, which has none."""
_COPY_SIZE = 128
_COPY_COUNT = PATH_SLOTS // _COPY_SIZE


class CloneCalls:
    """Answers clone and its relative."""

    CALLS = "clone clone3"

    def clone(self, thread: Thread) -> Instead:
        """With CLONE_UNTRACED, which says nothing else to the kernel."""
        return Instead(thread.regs.rdi & ~CLONE_UNTRACED)

    def clone3(self, thread: Thread) -> int | Instead | Again | None:
        """Where more threads make the call at once than there are copies, they take turns."""
        regs, space = thread.regs, thread.space
        if not space.visible:
            return -errno.ENOSYS  # C libraries call clone(2) then, whose arguments are in registers
        if not SIZE_VER0 <= regs.rsi <= PAGE_SIZE:
            return None
        try:
            given = space.read(regs.rdi, regs.rsi)
        except OSError:
            return -errno.EFAULT
        if any(given[_COPY_SIZE:]):
            return -errno.E2BIG
        flags = int.from_bytes(given[:8], "little")
        copy = self._free_copy(thread)
        if copy is None:
            return Again()
        space.poke(copy, (flags & ~CLONE_UNTRACED).to_bytes(8, "little") + given[8:_COPY_SIZE])
        return Instead(copy, min(regs.rsi, _COPY_SIZE))

    @staticmethod
    def _free_copy(thread: Thread) -> int | None:
        """A place for the copy until the call is over; None if more threads make it at once than there are."""
        users = thread.space.clone_copies
        for index in range(_COPY_COUNT):
            user = users.get(index)
            if user is None or user.exiting or not user.own_arguments or user.space is not thread.space:
                users[index] = thread
                return _COPIES + index * _COPY_SIZE
        return None
