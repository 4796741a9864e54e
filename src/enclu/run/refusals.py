"""Why a program that uses SGX fails: the last refusals of each thread, told in one line when its process ends.

A refusal is an ioctl or mapping that the driver refused, a leaf that faulted or returned an error code, or an
exception of an enclave.  It is over when its thread gets further: by an ioctl that succeeds, by entering an enclave
anew (ERESUME, or EENTER with CSSA 0: the handler of an exception, or of a notification, is entered with another), or by
the same leaf.  What
other threads have done since does not end it, but then it is not what the process as a whole fails by.

The line comes when the process ends by a failing exit status or by a signal that programs get by failing, if then

- no thread of the process has got further since a refusal, or
- the signal is what became of the exception.
"""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable

from enclu.base import console
from enclu.base.events import (
    AepFaulted,
    EnclaveException,
    Event,
    ExceptionSignal,
    Ioctl,
    IoctlRefused,
    Leaf,
    LeafFaulted,
    LeafRefused,
    MappingRefused,
    ProcessExec,
    ProcessExit,
    ProcessGone,
    ThreadGone,
)
from enclu.base.listeners import Events
from enclu.sgx.exceptions import Vector

KEPT = 3
"""Refusals that are kept of a thread, and told of a process."""
MAX_TEXT = 300
"""Characters of one refusal: the line is written at once, or not at all."""
FAILURES = frozenset((
    signal.SIGILL, signal.SIGTRAP, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGSEGV, signal.SIGSYS,
))  # fmt: skip
"""Signals that a program gets by failing; others are somebody's wish."""


_Refused = IoctlRefused | MappingRefused | LeafFaulted | EnclaveException | LeafRefused | AepFaulted


class _Refusal:
    def __init__(self, event: _Refused, order: int) -> None:
        self.event = event
        self.order = order
        """Of all refusals of the run, by when it came last."""
        self.times = 1

    @property
    def leaf(self) -> str:
        """The leaf that returned an error code, if that is what it was."""
        return self.event.leaf if isinstance(self.event, LeafRefused) else ""

    def __str__(self) -> str:
        event = self.event
        text = console.printable(_text(event))[:MAX_TEXT]
        if event.tid != event.pid:
            text += f" (thread {event.tid})"
        return text if self.times == 1 else f"{text} ({self.times:,} times)"


class _Kept:
    """Of one thread."""

    def __init__(self) -> None:
        self.refusals: deque[_Refusal] = deque(maxlen=KEPT)
        self.outrun = False
        """Another thread of the process has got further since."""
        self.signo = 0
        """What the last of them became."""


class _Process:
    def __init__(self, onward: dict[int, int]) -> None:
        self.threads: dict[int, _Kept] = {}
        """By tid, of those that have not got further."""
        self.ended: deque[_Refusal] = deque(maxlen=KEPT)
        """Of threads that have ended, since which no other has got further."""
        self.onward = onward
        """`Leaves.onward` when it was last looked at."""

    @property
    def outrun(self) -> bool:
        return not self.ended and all(kept.outrun for kept in self.threads.values())


class Refusals:
    """Listens to the events of a run."""

    def __init__(self, events: Events, tell: Callable[[str], None]) -> None:
        self._events, self._leaves = events, events.leaves
        self._tell = tell
        self._processes: dict[int, _Process] = {}
        self._count = 0
        events.listen(self._refused, IoctlRefused, MappingRefused, LeafFaulted, LeafRefused, AepFaulted)
        events.listen_late(self._refused, EnclaveException)
        events.listen(self._became_signal, ExceptionSignal)
        events.listen_late(self._ioctl, Ioctl)
        events.listen_to_expected(self._leaf)
        events.listen(self._thread_gone, ThreadGone)
        events.listen(self._forget, ProcessExec, ProcessGone)
        events.listen(self._exit, ProcessExit)

    def of(self, pid: int, tid: int) -> list[str]:
        """The last refusals of a thread that has not got further since, the oldest first."""
        self._look(pid)
        process = self._processes.get(pid)
        kept = process.threads.get(tid) if process is not None else None
        return [str(refusal) for refusal in kept.refusals] if kept is not None else []

    # What happens.

    def _refused(self, event: _Refused) -> None:
        self._look(event.pid)
        process = self._processes.get(event.pid)
        if process is None:
            process = self._processes[event.pid] = _Process(self._leaves.onward(event.pid))
        kept = process.threads.setdefault(event.tid, _Kept())
        self._count += 1
        expected = bool(kept.refusals) and not kept.outrun
        if kept.refusals and kept.refusals[-1].event == event:
            kept.refusals[-1].times += 1
            kept.refusals[-1].order = self._count
        else:
            kept.refusals.append(_Refusal(event, self._count))
        kept.outrun, kept.signo = False, 0
        if not expected:
            self._expect()

    def _became_signal(self, event: ExceptionSignal) -> None:
        process = self._processes.get(event.pid)
        kept = process.threads.get(event.tid) if process is not None else None
        if kept is not None:
            kept.signo = event.signo

    def _ioctl(self, event: Ioctl) -> None:
        self._got_further(event.pid, event.tid)

    def _look(self, pid: int) -> None:
        """Find out who has got further without anybody being told, and who has met an exception."""
        self._events.overdue(pid)
        process = self._processes.get(pid)
        if process is not None:
            before, process.onward = process.onward, self._leaves.onward(pid)
            for tid, count in process.onward.items():
                if count != before.get(tid, 0):
                    self._got_further(pid, tid)

    def _leaf(self, event: Leaf) -> None:
        if event.rax:
            return
        if event.leaf in ("EENTER", "ERESUME"):
            self._got_further(event.pid, event.tid)
        else:
            self._succeeded(event)

    def _got_further(self, pid: int, tid: int) -> None:
        process = self._processes.get(pid)
        if process is None:
            return
        process.threads.pop(tid, None)
        process.ended.clear()
        for kept in process.threads.values():
            kept.outrun = True
        self._settle(pid, process)

    def _succeeded(self, event: Leaf) -> None:
        """A leaf in an enclave; what it returned before is over."""
        process = self._processes.get(event.pid)
        kept = process.threads.get(event.tid) if process is not None else None
        if process is None or kept is None or not any(r.leaf == event.leaf for r in kept.refusals):
            return
        kept.refusals = deque((r for r in kept.refusals if r.leaf != event.leaf), maxlen=KEPT)
        if not kept.refusals:
            del process.threads[event.tid]
        self._settle(event.pid, process)

    def _thread_gone(self, event: ThreadGone) -> None:
        self._look(event.pid)
        process = self._processes.get(event.pid)
        kept = process.threads.pop(event.tid, None) if process is not None else None
        if process is not None and kept is not None:
            if not kept.outrun:
                process.ended.extend(kept.refusals)
            self._settle(event.pid, process)

    def _forget(self, event: Event) -> None:
        if self._processes.pop(event.pid, None) is not None:
            self._expect()

    def _settle(self, pid: int, process: _Process) -> None:
        if not process.threads and not process.ended:
            del self._processes[pid]
        self._expect()

    def _expect(self) -> None:
        """Leaves that would change anything: of the threads with refusals, and of others if they would outrun one."""
        ids = {tid for process in self._processes.values() for tid in process.threads}
        ids |= {-pid for pid, process in self._processes.items() if not process.outrun}
        self._leaves.expect(ids)

    # The end.

    def _exit(self, event: ProcessExit) -> None:
        self._look(event.pid)
        process = self._processes.pop(event.pid, None)
        if process is None:
            return
        self._expect()
        if event.signo in FAILURES:
            how = f"was ended by {signal.Signals(event.signo).name}"
        elif event.status and not event.signo:
            how = f"ended with status {event.status}"
        else:
            return
        guilty = [kept for kept in process.threads.values()
                  if not kept.outrun or (kept.signo and kept.signo == event.signo)]  # fmt: skip
        last = sorted([*process.ended, *(r for kept in guilty for r in kept.refusals)], key=lambda r: r.order)[-KEPT:]
        if last:
            name = console.printable(event.program)
            noun = "refusals" if len(last) > 1 else "refusal"
            self._tell(f"process {event.pid} ({name}) {how}; last {noun}: {'; '.join(map(str, last))}")


def _text(event: _Refused) -> str:
    match event:
        case IoctlRefused():
            return f"{event.ioctl}: {event.errno}, {event.reason}"
        case MappingRefused():
            return f"{event.call} of an enclave: {event.errno}, {event.reason}"
        case LeafRefused():
            return f"{event.leaf} in enclave {event.eid}: {event.reason}"
        case AepFaulted():
            return f"AEP {event.address:#x}, TCS {event.tcs:#x}: {event.reason}"
        case LeafFaulted():
            where = f" in enclave {event.eid}" if event.eid else ""
            return f"{event.leaf}{where}, TCS {event.tcs:#x}: {_exception(event)}"
        case EnclaveException():
            return f"enclave {event.eid} at offset {event.offset:#x}: {_exception(event)}"


def _exception(event: LeafFaulted | EnclaveException) -> str:
    name = f"#{Vector(event.vector).name}"
    if event.vector == Vector.PF:
        name += f"({event.error_code:#x}) at {event.address:#x}"
    return f"{name}, {event.reason}"
