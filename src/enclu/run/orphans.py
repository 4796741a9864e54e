"""Whose child an orphan becomes: a subreaper's among its ancestors, or that of the init of its PID namespace.

Kernel: kernel/exit.c (find_new_reaper()), kernel/sys.c (PR_SET_CHILD_SUBREAPER).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from enclu.native import proc

if TYPE_CHECKING:
    from collections.abc import Iterable

    from enclu.run.task import Task, ThreadGroup


def stay_outside(thread: Task, threads: Iterable[Task]) -> bool:
    """Whether no process of the run, which these threads are all of, would adopt an orphan of the thread's making.

    Raises OSError if an ancestor ends meanwhile, or cannot be looked at.
    """
    some = {t.process.tgid: t for t in threads}
    subreapers = {pid for pid, t in some.items() if t.process.subreaper}
    if subreapers and any(pid in subreapers for pid in _line(thread.process)):
        return False
    namespace = proc.namespace(thread.tid, "pid")
    return not any(_is_init(t.tid) and proc.namespace(t.tid, "pid") == namespace for t in some.values())


def _line(process: ThreadGroup) -> list[int]:
    """The process and its ancestors, those that the run has forgotten at their end included."""
    pids = [process.tgid]
    while pids[-1]:
        pids.append(proc.parent(pids[-1]))
    return pids


def _is_init(tid: int) -> bool:
    """It is of the first process of its PID namespace."""
    try:
        return proc.status(tid)["NStgid"].split()[-1] == "1"
    except proc.GONE:
        return False
