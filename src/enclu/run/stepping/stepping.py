"""Every instruction of an enclave, executed under the eyes of whoever has planned what is to happen when.

What leads into an enclave and out of it comes through here: a leaf that a stopped thread executes (`before`, `after`),
and every resumption (`goes_on`).  So there are no transitions in process in such a run.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from enclu.native import signals
from enclu.native.single_step import AT_SYSCALL, is_pushf, single_step
from enclu.native.stepping import STEPPED, prepare, run_to, steps
from enclu.native.stop import INTERRUPTED, decode
from enclu.run import exceptions
from enclu.run.stepping import registers
from enclu.run.stepping.checkpoint import Changes, Checkpoint
from enclu.run.stepping.plan import INTERRUPT, RAISE, Plan
from enclu.run.stepping.sources import Sources
from enclu.run.transitions import Transitions
from enclu.sgx.epc import PAGE_SIZE, PageType
from enclu.sgx.exceptions import Fault, Vector
from enclu.sgx.inside import MAX_LENGTH
from enclu.sgx.structs import GPRSGX, TCS, EncluLeaf

if TYPE_CHECKING:
    from collections.abc import Iterable

    from enclu.linux.encl import Encl
    from enclu.native.stop import Stop
    from enclu.native.thread import Thread
    from enclu.run.supervisor import Supervisor
    from enclu.run.task import Task
    from enclu.sgx.epc import EPCPage

FAIR = 4096
"""Instructions after which other threads have their turn."""
_INTO = (EncluLeaf.EENTER, EncluLeaf.ERESUME)


@dataclass
class Lent:
    """Registers that a thread entered with in place of its own, and gets back when it leaves."""

    hostile: tuple[int, int]
    """RSP and RBP as the enclave was entered with."""
    own: tuple[int, int]
    rflags: int
    xsave: bytearray


class Stepping(Transitions):
    """Of one run.  Implements `native.thread.Stepper`."""

    asks = True

    def __init__(self, supervisor: Supervisor) -> None:
        self._sup = supervisor
        self.plans: dict[int, Plan] = {}
        """By TCS, the address of which no two enclaves of a process share; a run steps through one process."""
        self._lent: dict[int, Lent] = {}
        """By TCS."""
        self._sources: dict[int, Sources] = {}
        self._plain: dict[int, set[int]] = {}
        """By enclave, addresses at which there is no source nor anything that shows a step."""
        self.checkpoints: dict[tuple[int, int], Checkpoint] = {}
        """By enclave and number."""
        self._changes = Changes(supervisor.events)
        self._inside: dict[int, int] = {}
        """By thread, the TCS that it is in."""

    # What is asked for.

    def plan(self, plan: Plan) -> None:
        """This is to happen on its TCS, instead of whatever was."""
        self.plans[plan.tcs] = plan
        if plan.registers is not None:
            self._lent.pop(plan.tcs, None)

    def sources(self, encl: Encl) -> Sources:
        if encl.eid not in self._sources:
            self._sources[encl.eid] = Sources(encl)
            self._plain[encl.eid] = set()
        return self._sources[encl.eid]

    def take(self, encl: Encl, number: int) -> int:
        """A checkpoint of the enclave, from which its sources replay; how many pages it has.  Raises OSError."""
        taken = self.checkpoints[encl.eid, number] = Checkpoint(encl, self._changes)
        taken.sources_at = self.sources(encl).at
        return len(taken.entries)

    def move(self, encl: Encl, number: int) -> int:
        """Raises KeyError, OSError."""
        moved = self.checkpoints[encl.eid, number]
        moved.sources_at = self.sources(encl).at
        return moved.move()

    def restore(self, encl: Encl, number: int) -> int:
        """Raises KeyError, OSError."""
        kept = self.checkpoints[encl.eid, number]
        self.sources(encl).at = kept.sources_at
        return kept.restore()

    # Leaves.

    def before(self, task: Task, leaf: int) -> None:
        if leaf not in _INTO:
            return
        tcs = task.regs.rbx
        plan, lent = self.plans.get(tcs), self._lent.get(tcs)
        if lent is not None:
            lent.own = task.regs.rsp, task.regs.rbp
        if plan is None:
            return
        plan.entries += 1
        plan.rip = None
        self._put(task, plan, task.regs.rsp if leaf == EncluLeaf.EENTER else self._ursp(task))
        if leaf == EncluLeaf.EENTER and plan.registers and plan.entries == 1:
            regs = task.regs
            own = regs.rsp, regs.rbp
            lent = Lent((0, 0), own, regs.rflags, task.xsave())
            registers.load(task, plan.registers)
            lent.hostile = regs.rsp, regs.rbp
            self._lent[tcs] = lent

    @staticmethod
    def _put(task: Task, plan: Plan, ursp: int) -> None:
        """Have the untrusted stack be as planned."""
        with contextlib.suppress(OSError):  # none is there: whoever uses it will find that
            if plan.clear:
                task.space.write(ursp - plan.clear, bytes(plan.clear))
            if plan.stack is not None:
                task.space.write(*plan.stack)
        plan.stack = None

    def _ursp(self, task: Task) -> int:
        """GPRSGX.URSP of the frame that the thread is about to resume; RSP, where there is none to resume."""
        page = task.mm.resident(task.regs.rbx)
        if page is None or page.secs is None or page.pt != PageType.TCS:
            return task.regs.rsp
        secs, tcs = page.secs, TCS.unpack(page.data)
        end = secs.baseaddr + tcs["OSSA"] + tcs["CSSA"] * secs.ssaframesize * PAGE_SIZE
        last = secs.page_at(end - PAGE_SIZE) if tcs["CSSA"] else None
        if last is None:
            return task.regs.rsp
        ursp: int = GPRSGX.get(last.data, "URSP", PAGE_SIZE - GPRSGX.size)
        return ursp

    def faulted(self, task: Task, leaf: int) -> None:
        if leaf in _INTO:
            self._give_back(task, task.regs.rbx, everything=True)

    def after(self, task: Task, leaf: int, site: int) -> None:
        if leaf in _INTO:
            task.stepper = self
            self._inside[task.tid] = task.mode.tcs_la
        elif leaf == EncluLeaf.EEXIT:
            tcs = self._inside.pop(task.tid, 0)
            plan = self.plans.get(tcs)
            if plan is not None and not plan.over and plan.rip is not None:
                plan.executes(plan.rip)  # EEXIT itself
                plan.rip = None
            if plan is not None and plan.registers is not None:
                plan.left, plan.xsave = registers.found(task)
            self._give_back(task, tcs, everything=True)

    def _give_back(self, task: Task, tcs: int, *, everything: bool = False) -> None:
        lent = self._lent.get(tcs)
        if lent is None:
            return
        regs = task.regs
        regs.rsp, regs.rbp = lent.own
        if everything:
            regs.rflags = lent.rflags
            task.xrstor(lent.xsave)

    # Instructions.

    def goes_on(self, thread: Thread) -> bool:
        """See `native.thread.Stepper`."""
        task = self._sup.threads[thread.tid]
        if not task.mode.enclave:
            return self._outside(task)
        plan = self.plans.get(task.mode.tcs_la)
        if plan is None or plan.over:
            return False
        return self._steps(task, plan)

    def _outside(self, task: Task) -> bool:
        """It has left by an AEX, or has executed something since."""
        task.stepper = None
        tcs = self._inside.pop(task.tid, 0)
        if tcs in self._lent:
            self._give_back(task, tcs)
            task.store()
        return False

    def _steps(self, task: Task, plan: Plan) -> bool:
        regs, encl = task.regs, self._encl(task)
        sources, plain = self.sources(encl), self._plain[encl.eid]
        prepare(task)
        if plan.rip is not None and regs.rip != plan.rip:
            plan.executes(plan.rip)  # whoever was asked about it has executed it
        plan.rip = None
        fair = FAIR
        while True:
            if plan.executed >= plan.until or (regs.rip == plan.address and self._arrives(plan)):
                return self._happens(task, plan)
            if not fair:
                plan.rip = regs.rip
                self._sup.deferred[task.tid] = INTERRUPTED
                return True
            here = regs.rip == plan.address  # but not for the last time
            if plan.runs and not here:
                stop = self._run(task, plan)
            elif regs.rip in plain:
                most = 1 if here else min(plan.until - plan.executed, fair)
                count, stop = steps(task, most, plain, 0 if here else plan.address, plan.executes)
                fair -= count
            else:
                stop = self._one(task, plan, sources)
            if stop is not None:
                plan.rip = regs.rip
                self._sup.arrived(task.tid, stop)
                return True

    @staticmethod
    def _arrives(plan: Plan) -> bool:
        """The thread is about to execute what is at the address: whether that is the time that was meant."""
        if not plan.counted:
            plan.counted = True
            plan.times -= 1
        return plan.times <= 0

    @staticmethod
    def _run(task: Task, plan: Plan) -> Stop | None:
        try:
            return run_to(task, plan.address)
        except OSError:  # every debug register is in use
            plan.runs = False
            return None

    def _one(self, task: Task, plan: Plan, sources: Sources) -> Stop | None:
        """Execute one instruction at which something may be particular."""
        regs, rip = task.regs, task.regs.rip
        source = sources.find(rip)
        if source is not None:
            plan.drawn += sources.execute(source, regs)
            task.store()
            if rip in sources.sites:
                self._place(task, sources, rip)
            plan.executes(rip)
            return None
        if not is_pushf(task.space.peek(rip, MAX_LENGTH)):
            if self._encl(task).resident(rip) is not None:
                self._plain[task.mode.eid].add(rip)
            return steps(task, 1, {rip}, 0, plan.executes)[1]
        info = single_step(task)
        if info is None:
            plan.executes(rip)
            return None
        task.stopped = False
        return decode(STEPPED & 0xFF | (AT_SYSCALL if info.code == AT_SYSCALL else info.signo) << 8)

    def _happens(self, task: Task, plan: Plan) -> bool:
        plan.stopped = True
        if plan.then == INTERRUPT:
            with contextlib.suppress(ProcessLookupError):
                signals.send(task, plan.signo)
        elif plan.then == RAISE:
            fault = Fault(Vector(plan.vector), plan.error_code, why="raised by a plan")
            with self._sup.events.acting(task.process.tgid, task.tid):
                exceptions.take(self._sup, task, fault)
            return True
        return False

    def _encl(self, task: Task) -> Encl:
        return self._sup.kernel.enclave(task.mode.eid)

    # Sources.

    def _place(self, task: Task, sources: Sources, rip: int) -> None:
        """Something else stands there from now on, so that nobody executes it without being stopped."""
        at, code = sources.place(rip)
        encl = self._encl(task)
        page = encl.resident(at)
        if page is not None and page.data[at & 0xFFF : (at & 0xFFF) + 2] == sources.sites[rip].original:
            page.data[at & 0xFFF : (at & 0xFFF) + 2] = code
            for (eid, _), checkpoint in self.checkpoints.items():
                if eid == encl.eid:
                    checkpoint.patch(at, code)

    def emulates(self, task: Task) -> bool:
        sources = self._sources.get(task.mode.eid)
        source = sources.sites.get(task.regs.rip) if sources is not None else None
        if source is None or sources is None:
            return False
        plan = self.plans.get(task.mode.tcs_la)
        new = sources.execute(source, task.regs)
        if plan is not None:
            plan.drawn += new
        task.store()
        return True

    def original(self, address: int, data: bytes) -> bytes:
        for sources in self._sources.values():
            data = sources.original(address, data)
        return data

    def leaves_epc(self, pages: Iterable[EPCPage]) -> None:
        """What is evicted has the instructions themselves, which are met anew."""
        for page in pages:
            for sources in self._sources.values():
                for rip, source in list(sources.sites.items()):
                    at = rip + source.opcode_at
                    if at & -4096 == page.enclaveaddress:
                        page.data[at & 0xFFF : (at & 0xFFF) + 2] = source.original
                        del sources.sites[rip]
