"""Dumping core: when a process of the run is about to be ended by a signal, or when somebody asks for it."""

from __future__ import annotations

import contextlib
import enum
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from enclu.base import console
from enclu.base.events import EnclaveException, EnclaveRemoved
from enclu.linux.coredump import DUMPS
from enclu.linux.snapshot import Snapshot
from enclu.native import proc, ptrace
from enclu.native.resume import interrupt
from enclu.run.cores import file, notes
from enclu.run.cores.contexts import Contexts, First
from enclu.run.cores.memory import Memory
from enclu.run.cores.notes import Cause
from enclu.run.image_files import Images, build_id

if TYPE_CHECKING:
    from enclu.run.supervisor import Supervisor
    from enclu.run.task import Task, ThreadGroup
    from enclu.sgx.exceptions import Fault

NAME_SIZE = 128
PATIENCE, _PAUSE = 10.0, 0.001
"""Seconds within which threads are expected to stop; and between looks."""


class Enclaves(enum.Enum):
    """Whose pages are in a core."""

    DEBUG = "debug"
    ALL = "all"
    """Production enclaves, too: hardware lets nobody read those."""
    NONE = "none"

    def includes(self, snapshot: Snapshot) -> bool:
        return self is Enclaves.ALL or (self is Enclaves.DEBUG and snapshot.debug)


class NotDumpable(Exception):
    """The process has no core, for it does not want to, or may not be looked at."""


def directory(path: str) -> int:
    """The directory at the path, made for the user alone if it is not there.  Raises OSError."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
    opened = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with file.NewFile(opened):
            return opened
    except BaseException:
        os.close(opened)
        raise


@dataclass
class Known:
    """What has been heard of the enclaves of a run."""

    images: Images
    exceptions: notes.Exceptions = field(default_factory=dict)
    """The last one of each TCS that the kernel could not remove the cause of."""

    def raised(self, event: Any) -> None:
        self.exceptions[event.eid, event.tcs] = event.rip, notes.exception(event)

    def removed(self, event: Any) -> None:
        self.exceptions = {key: value for key, value in self.exceptions.items() if key[0] != event.eid}


class Cores:
    """Those of processes that signals end."""

    def __init__(self, supervisor: Supervisor, directory: int, path: str, enclaves: Enclaves) -> None:
        """`directory` is the one at `path`, open."""
        self._sup = supervisor
        self._directory, self._path = directory, path
        self._enclaves = enclaves
        self._dumped: WeakSet[ThreadGroup] = WeakSet()
        self.known = Known(Images(supervisor.kernel))
        events = supervisor.events
        self.known.images.listen(events)
        events.listen(self.known.raised, EnclaveException)
        events.listen(self.known.removed, EnclaveRemoved)

    def before(self, task: Task, signo: int, fault: Fault | None) -> None:
        """The task is about to be resumed with this signal.  If that ends its process, write the core.

        do_coredump() comes before anything of the process has ended: now.
        """
        if signo in DUMPS and task.process not in self._dumped and _kills(task, signo):
            info = ptrace.SigInfo()
            info.get(task.tid)
            self._write(task, Cause(signo, bytes(info), _told(fault)))

    def at_exit(self, task: Task, signo: int) -> None:
        """The last thread of a process is at its exit event.

        The signal may have killed it without a stop: a seccomp filter's SIGSYS (force_sig_info_to_task(),
        SA_IMMUTABLE).  Nothing is left of its siginfo then.
        """
        if signo in DUMPS and task.process not in self._dumped:
            stopped, task.stopped = task.stopped, True
            try:
                self._write(task, Cause(signo))
            finally:
                task.stopped = stopped

    def _write(self, task: Task, cause: Cause) -> None:
        process = task.process
        self._dumped.add(process)
        name = f"core.{_plain(proc.comm(process.tgid))}.{process.tgid}"
        who = f"process {process.tgid}, {signal.Signals(cause.signo).name}"
        try:
            with file.NewFile(self._directory) as new:
                dump(self._sup, task, new.fd, cause, self._enclaves, self.known)
                name = new.name_first_free(name)
        except NotDumpable as why:
            console.offer(f"{who}: no core, {why}")
        except OSError as error:
            console.offer(f"{who}: no core in {self._path}: {error.strerror}")
        else:
            console.offer(f"{who}: core in {os.path.join(self._path, name)}")


def _plain(name: str) -> str:
    """Of a process that can call itself anything, a part of a file's name."""
    return "".join(c if c.isalnum() or c in "-_.+" else "!" for c in name)[:NAME_SIZE] or "!"


def _told(fault: Fault | None) -> dict[str, Any]:
    if fault is None:
        return {}
    return {**notes.exception(fault), "error_code": fault.error_code if fault.exact else None}


def _kills(task: Task, signo: int) -> bool:
    """The signal takes its default action (get_signal(), ptrace_signal() in kernel/signal.c)."""
    status = proc.status(task.tid)
    elsewhere = int(status["SigCgt"], 16) | int(status["SigIgn"], 16) | ptrace.signal_mask(task.tid)
    of_init = status["NSpid"].split()[-1] == "1"  # SIGNAL_UNKILLABLE
    return not elsewhere >> signo - 1 & 1 and not of_init


def _check_dumpable(task: Task) -> None:
    """As __get_dumpable() says.  Raises NotDumpable."""
    space, tid = task.space, task.tid
    status = proc.status(tid)
    user = int(status["Uid"].split()[1])
    owner = proc.owner(tid, "mem")  # task_dump_owner() in fs/proc/base.c
    if space.undumpable or not space.visible or owner != user:
        raise NotDumpable("for it is not dumpable (PR_SET_DUMPABLE, or other rights than its user's)")


def _stopping(sup: Supervisor, tasks: list[Task]) -> list[Task]:
    """Those of the tasks that have stopped, or do so when they are interrupted.

    To one that waits within a call for a page that somebody is to supply (userfaultfd(2)), only SIGKILL comes through.
    The kernel kills all but the one that crashes; to wait for all of them here could be for ever.
    """
    tasks = [one for one in tasks if not one.exiting and one.started and not one.in_vfork]
    late = [one for one in tasks if not one.stopped and one.tid not in sup.deferred and not proc.is_dead(one.tid)]
    for one in late:
        with contextlib.suppress(ProcessLookupError):  # killed: its end will be reported
            interrupt(one)
    limit = time.monotonic() + PATIENCE
    while late and time.monotonic() < limit:
        sup.waiter.collect()
        late = [one for one in late if not one.exiting and one.tid in sup.threads and one.tid not in sup.deferred]
        if late:
            time.sleep(_PAUSE)
    return [one for one in tasks if one not in late]


def dump(
    sup: Supervisor, task: Task, fd: int, cause: Cause, enclaves: Enclaves, known: Known, *,
    first: First | None = None,
) -> None:  # fmt: skip
    """Write a core of the task's process; what was interrupted in a TCS comes `first`, if given.

    Nothing of the process runs meanwhile, and it goes on afterwards.  Raises OSError, NotDumpable.
    """
    _check_dumpable(task)
    threads = _stopping(sup, [task, *(other for other in task.process.threads.values() if other is not task)])
    with sup.halter.halted(threads):
        stopped = [one for one in threads if one.stopped and not one.exiting]
        if task not in stopped:
            raise NotDumpable("for it has been killed, or waits where it cannot be stopped")
        mm = task.process.mm
        encls = {vma.encl: None for vma in mm.vmas if vma.encl is not None and vma.encl.secs is not None}
        snapshots = [Snapshot(encl) for encl in encls]
        included = frozenset(s.secs.eid for s in snapshots if enclaves.includes(s))
        all_contexts = Contexts(snapshots, included)
        contexts = all_contexts.of(stopped)
        if not contexts:
            raise NotDumpable("for it has been killed")
        if first is not None:
            contexts = all_contexts.with_first(contexts, first)
        memory = Memory(task.tid, task.space, mm, snapshots, included)
        told = [_enclave(snapshot, included, known.images, task) for snapshot in snapshots]
        about = notes.about(contexts, told, cause, known.exceptions)
        content = notes.of_process(task.process.tgid, contexts, cause, memory.files(), mm.vdso, about)
        file.write(fd, content, memory.segments())


def _enclave(snapshot: Snapshot, included: frozenset[int], images: Images, task: Task) -> Mapping[str, Any]:
    eid = snapshot.secs.eid
    return notes.enclave(
        snapshot, included=eid in included, image=images.of(eid, task.tid),
        build_id=build_id(snapshot.read, snapshot.secs.baseaddr) if eid in included else "",
    )  # fmt: skip
