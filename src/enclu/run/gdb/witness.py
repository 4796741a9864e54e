"""What a debugger has heard of the run: the events that it stops for, or tells of when it is asked."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from enclu.base.abi import PROT_EXEC
from enclu.base.events import (
    Aex,
    EnclaveCreated,
    EnclaveException,
    EnclaveInitialised,
    EnclaveRemoved,
    LeafFaulted,
    ProcessExec,
    ProcessExit,
    ProcessGone,
    ThreadGone,
)
from enclu.run.gdb import memory
from enclu.sgx.exceptions import Vector
from enclu.sgx.structs import TCS

if TYPE_CHECKING:
    from enclu.run.gdb.debugger import Debugger
    from enclu.run.task import Task

KEPT = 16
"""Exceptions that are remembered."""


def exception_text(event: EnclaveException | LeafFaulted) -> str:
    """One line: where, which and why."""
    vector = f"#{Vector(event.vector).name}"
    if event.vector == Vector.PF:
        vector += f" at {event.address:#x}, error code {event.error_code:#x}"
    if isinstance(event, LeafFaulted):
        return f"{event.leaf} tcs={event.tcs:#x}: {vector}: {event.reason}"
    return f"enclave {event.eid} + {event.offset:#x}: {vector}: {event.reason}"


class Witness:
    """Of one run, from its beginning."""

    def __init__(self, debugger: Debugger) -> None:
        self._debugger = debugger
        self._machine = debugger.sup.machine
        self.left: dict[int, tuple[int, int]] = {}
        """EID and TCS that a thread, by tid, has left by an AEX, until it goes on."""
        self.exceptions: dict[int, EnclaveException | LeafFaulted] = {}
        """In enclaves, of threads, by tid, that have not gone on since."""
        self.faults: dict[int, LeafFaulted] = {}
        """Of ENCLU outside, the same."""
        self.execs: set[int] = set()
        self._changed = False
        """An enclave that was mapped is no more."""
        self._unmapped: set[int] = set()
        """Enclaves that are initialised, and that nobody has been seen to have mapped to be executed."""
        self.last: deque[EnclaveException | LeafFaulted] = deque(maxlen=KEPT)
        self._exits: dict[int, tuple[int, int]] = {}
        self._ranges: dict[int, tuple[int, int]] = {}
        """ELRANGE of each enclave, by EID."""
        listen = debugger.sup.events.listen
        listen(self._aex, Aex)
        listen(self._exception, EnclaveException)
        listen(self._fault, LeafFaulted)
        listen(self._exec, ProcessExec)
        listen(self._exit, ProcessExit)
        listen(self._process_gone, ProcessGone)
        listen(self._thread_gone, ThreadGone)
        listen(self._created, EnclaveCreated)
        listen(self._initialised, EnclaveInitialised)
        listen(self._removed, EnclaveRemoved)

    def _aex(self, event: Aex) -> None:
        self.left[event.tid] = event.eid, event.tcs

    def _exception(self, event: EnclaveException) -> None:
        self.last.append(event)
        if self._debugger.attached:
            self.exceptions[event.tid] = event

    def _fault(self, event: LeafFaulted) -> None:
        self.last.append(event)
        if self._debugger.attached:
            (self.exceptions if event.eid else self.faults)[event.tid] = event

    def _exec(self, event: ProcessExec) -> None:
        self.execs.add(event.tid)

    def _exit(self, event: ProcessExit) -> None:
        self._exits[event.pid] = event.status, event.signo

    def _thread_gone(self, event: ThreadGone) -> None:
        for table in (self.left, self.exceptions, self.faults):
            table.pop(event.tid, None)
        self.execs.discard(event.tid)
        self._debugger.thread_gone(event.tid)

    def _process_gone(self, event: ProcessGone) -> None:
        status, signo = self._exits.pop(event.pid, (0, 9))
        self._debugger.process_gone(event.pid, status, signo)

    def _created(self, event: EnclaveCreated) -> None:
        self._ranges[event.eid] = event.base, event.base + event.size

    def _initialised(self, event: EnclaveInitialised) -> None:
        self._unmapped.add(event.eid)

    def _removed(self, event: EnclaveRemoved) -> None:
        self._changed = self._changed or event.eid not in self._unmapped
        self._unmapped.discard(event.eid)
        if event.eid in self._ranges:
            self._debugger.breakpoints.forget_enclave(*self._ranges.pop(event.eid))

    def libraries_changed(self, task: Task) -> bool:
        """Enclaves have come or gone since this was asked last."""
        changed, self._changed = self._changed, False
        if self._unmapped:
            executable = (vma.encl for vma in task.mm.vmas if vma.prot & PROT_EXEC)
            mapped = {encl.eid for encl in executable if encl is not None} & self._unmapped
            self._unmapped -= mapped
            changed = changed or bool(mapped)
        return changed

    def aep_of(self, eid: int, tcs_la: int) -> int:
        """TCS.AEP; 0 where there is no such TCS."""
        secs = self._machine.enclaves.get(eid)
        page = secs.page_at(tcs_la) if secs is not None else None
        return int(TCS.get(page.data, "AEP")) if page is not None else 0

    def is_aep(self, task: Task) -> bool:
        """The thread, whose RBX is a TCS, is where an AEX has sent it."""
        encl = memory.enclave_at(task.mm, task.regs.rbx)
        return encl is not None and self.aep_of(encl.eid, task.regs.rbx) == task.regs.rip
