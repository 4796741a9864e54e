"""exec: a thread becomes another program, alone in its process and with new memory.

Kernel: fs/exec.c (begin_new_exec(), de_thread()).
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from enclu.base.events import ProcessExec
from enclu.native import exec_image, ptrace, text
from enclu.native.address_space import VDSO_AREA, VDSO_BASE
from enclu.native.resume import resume

if TYPE_CHECKING:
    from enclu.run.supervisor import Supervisor
    from enclu.run.task import Task


def thread_at(sup: Supervisor, tid: int) -> Task | None:
    """The thread at its exec event, which has the name of the first one of its process, whatever it had before."""
    try:
        return sup.threads.get(ptrace.event_message(tid, ptrace.Event.EXEC))
    except ProcessLookupError:
        return None


def happened(sup: Supervisor, thread: Task) -> None:
    """The exec event: what belonged to the former program is gone."""
    process = thread.process
    for other in list(process.threads.values()):
        if other is not thread:
            sup.leave(other)
            sup.ends.forget(other)
    sup.leave(thread)
    if thread.tid != process.tgid:
        del sup.threads[thread.tid], process.threads[thread.tid]
        thread.rename(process.tgid)
        sup.threads[thread.tid] = process.threads[thread.tid] = thread
    thread.exiting = thread.in_exec = thread.in_vfork = False  # it may have been given up under its former name
    process.ending = False
    with sup.events.acting(process.tgid, thread.tid):
        sup.events.emit(ProcessExec)
    old, old_mm = process.space, process.mm
    process.handlers = process.handlers.after_exec()
    process.handlers.sharers.append(process)
    process.may_use_amx = False
    thread.breakpoints, thread.watches = (), ()
    sup.transitions.exec(thread)
    process.give(*sup.new_memory(thread.tid))
    sup.delivery.on_exec(thread)
    if not any(t.space is old for t in sup.threads.values()):
        sup.ends.space_gone(old, old_mm)
        sup.release_unreferenced()
    thread.to_syscall_exit = False
    thread.frame_patch = None
    thread.user_dispatch, thread.dispatching = b"", False
    sup.births.doubt()
    _give_vdso(sup, thread)


def _give_vdso(sup: Supervisor, thread: Task) -> None:
    """The new image gets our vDSO."""
    thread.fetch()
    thread.space.open_memory(thread.tid)
    if thread.space.visible:
        try:
            exec_image.install(thread, sup.image, VDSO_BASE, VDSO_AREA)
        except (OSError, exec_image.NoVdso) as error:
            if thread.tid == sup.main_pid:
                raise
            if sup.is_stopped(thread):
                sup.message(f"process {thread.process.tgid} cannot be run: {error}")
                os.kill(thread.tid, signal.SIGKILL)
            return
        thread.mm.vdso = VDSO_BASE
        text.patch_program(thread)
    elif thread.tid == sup.main_pid:
        sup.message("the program's memory is hidden from its tracer: it runs without SGX (is its file readable?)")
    resume(thread)
