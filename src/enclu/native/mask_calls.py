"""System calls that have to do with the mask of blocked signals: every one that takes a sigset_t.

Kernel: include/linux/syscalls.h; io_uring_enter()'s mask is behind its argument (struct io_uring_getevents_arg).
"""

from __future__ import annotations

from enclu.base.abi import NR

SETTING = ("rt_sigaction", "rt_sigprocmask", "rt_sigreturn")
"""What changes the mask of the thread, or of handlers to come."""
WAITING = ("rt_sigsuspend", "pselect6", "ppoll", "epoll_pwait", "epoll_pwait2", "io_pgetevents", "io_uring_enter",
           "rt_sigtimedwait")  # fmt: skip
"""While they wait, another mask may be in force.  A handler that interrupts them adds to that one."""
LOOKING = ("rt_sigpending", "signalfd", "signalfd4")
"""They change no mask."""
WAITING_NR = frozenset(NR[name] for name in WAITING)
LAST_REVIEWED = 472
"""The highest number of a system call that has been looked at for this table, on x86-64: removexattrat is 466,
open_tree_attr 467, file_getattr and file_setattr 468 and 469, listns 470, rseq_slice_yield 471."""
