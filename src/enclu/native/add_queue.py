"""Pages that a program adds to an enclave one a call, without a stop for each.

Where a C library calls ioctl(2), `native.path_calls` has put a jump; `enclu_ioctl` of linux/vdso/add_queue.h looks at
the call.  If it adds the page that comes next, as the last one was added, what the page holds is copied into a queue,
which the process shares with the supervisor, and the call has succeeded.  Everything else stops, and whoever looks at
the enclave adds first what is in the queue.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from enclu.base.fence import full_fence
from enclu.native import ptrace
from enclu.native.path_calls import CALL, TWIN
from enclu.sgx.epc import PAGE_SIZE
from enclu.sgx.structs import SECINFO

if TYPE_CHECKING:
    from collections.abc import Callable

    from enclu.native.thread import Thread

FIELDS = ("LOCK", "COUNT", "MOST", "START", "FLAGS", "LOW", "HIGH", "DEV", "INO", "SRC", "RDI", "RSI", "RDX", "R8")
"""Little-endian 64-bit words, in this order from the queue's beginning.  LOCK: the slot of the call that is looked at;
COUNT: pages in the queue, of MOST; START: offset in ELRANGE of the first; FLAGS: of the ioctl; LOW, HIGH: where
enclaves are mapped, from which no page comes; DEV, INO: the enclave's file; and what registers had."""
WORD = {name: number for number, name in enumerate(FIELDS)}
SECINFO_AT, STAT_AT, DATA_AT = 128, 192, PAGE_SIZE
"""Where the queue has the SECINFO of its pages, room for struct stat, and what the pages hold."""
PAGES = 2048
SIZE = DATA_AT + PAGES * PAGE_SIZE
BEHIND_CALL = CALL + 5 + 2
"""From a slot to what follows its system call."""
_LOCK, _COUNT, _MOST = WORD["LOCK"], WORD["COUNT"], WORD["MOST"]
_ZF = 0x40


class AddQueue:
    """That of an address space."""

    def __init__(self, memory: memoryview) -> None:
        self._memory, self._words = memory, memory[:DATA_AT].cast("Q")
        self._most = 0
        """What MOST was last, for the program can write there, too."""

    def arm(
        self, start: int, most: int, flags: int, secinfo: bytes, enclaves: tuple[int, int], file: tuple[int, int]
    ) -> None:  # fmt: skip
        """Take up to `most` pages from the offset `start` on, none of which the enclave has."""
        words = self._words
        values = (start, flags, *enclaves, *file)
        for name, value in zip(("START", "FLAGS", "LOW", "HIGH", "DEV", "INO"), values, strict=True):
            words[WORD[name]] = value
        self._memory[SECINFO_AT : SECINFO_AT + SECINFO.size] = secinfo
        words[_COUNT] = 0
        full_fence()
        self._most = words[_MOST] = min(most, PAGES)

    def disarm(self, take_out: Callable[[], None]) -> memoryview:
        """Take no more; what the pages hold that have been taken.  `take_out` has every thread out of the code."""
        words = self._words
        words[_MOST] = 0
        full_fence()
        if words[_LOCK]:
            take_out()
            words[_LOCK] = 0  # of one that was killed
        count, words[_COUNT] = min(words[_COUNT], self._most), 0
        return self._memory[DATA_AT : DATA_AT + count * PAGE_SIZE]

    @property
    def armed(self) -> bool:
        """Pages are taken."""
        return self._words[_MOST] != 0

    @property
    def count(self) -> int:
        """How many have been."""
        return self._words[_COUNT]

    @property
    def locked(self) -> bool:
        """A call is looked at."""
        return self._words[_LOCK] != 0

    def settle(self, thread: Thread, *, locked: bool, done: bool) -> None:
        """Take a stopped thread out of the code: on behind its call if that is `done`, else to where it stops."""
        regs, words = thread.regs, self._words
        slot = words[_LOCK] if locked else regs.rcx
        if locked or regs.rflags & _ZF:
            words[_LOCK] = 0
        if locked:
            regs.rdi, regs.rsi, regs.rdx, regs.r8 = (words[WORD[name]] for name in ("RDI", "RSI", "RDX", "R8"))
        regs.rax, regs.rip = (0, slot + BEHIND_CALL) if done else (regs.rax, slot + TWIN + CALL)
        regs.orig_rax = ptrace.NO_SYSCALL
