"""Every instruction of an enclave, executed under the eyes of whoever has planned what is to happen when.

What leads into an enclave and out of it comes through here: a leaf that a stopped thread executes (`before`, `after`),
and every resumption (`goes_on`).  So there are no transitions in process in such a run.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from enclu.native import signals
from enclu.native.single_step import AT_SYSCALL, is_popf, is_pushf, single_step
from enclu.native.stepping import STEPPED, begin_anew, hide, prepare, run_to, steps, traps
from enclu.native.stop import INTERRUPTED, decode
from enclu.run import exceptions
from enclu.run.stepping import registers
from enclu.run.stepping.checkpoint import Changes, Checkpoint
from enclu.run.stepping.plan import INTERRUPT, RAISE, Plan
from enclu.run.stepping.sources import UD2, Sources, Stream
from enclu.run.transitions import Transitions
from enclu.sgx.enclu.enter import AEXNOTIFY_AT
from enclu.sgx.epc import PAGE_SIZE, PageType
from enclu.sgx.exceptions import Fault, Vector
from enclu.sgx.inside import MAX_LENGTH
from enclu.sgx.structs import GPRSGX, TCS, EncluLeaf

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from enclu.linux.encl import Encl
    from enclu.linux.mm import MM
    from enclu.native.address_space import AddressSpace
    from enclu.native.ptrace import UserRegs
    from enclu.native.stop import Stop
    from enclu.native.thread import Thread
    from enclu.run.supervisor import Supervisor
    from enclu.run.task import Task
    from enclu.sgx.epc import EPCPage

_W = 2
"""EPCM permission to write."""
FAIR = 4096
"""Instructions after which other threads have their turn."""
_INTO = (EncluLeaf.EENTER, EncluLeaf.ERESUME)
_COPIES = (EncluLeaf.EACCEPTCOPY, EncluLeaf.EMODPE)
_PUT_BELOW = 1 << 20
"""Bytes that an enclave may put on the untrusted stack before an OCALL."""
_STICKY = 0x244400
"""DF, NT, AC and ID, which an AEX leaves as they are."""


@dataclass
class Lent:
    """Registers that a thread entered with in place of its own, and gets back when it leaves."""

    hostile: Mapping[str, int]
    """Those of RSP and RBP that were chosen: an enclave remembers them, and leaves with them later, too."""
    own: dict[str, int]
    """RSP and RBP at the last EENTER."""
    general: Mapping[str, int]
    """Its general registers in place of which it had others: those of an EENTER that faults come back."""
    rflags: int
    xsave: bytearray
    new: bool = True
    """The enclave has not been left by EEXIT since."""

    def entered(self, regs: UserRegs) -> None:
        """Somebody is about to enter the enclave: perhaps another, with a stack of its own."""
        self.own = {"rsp": regs.rsp, "rbp": regs.rbp}

    def give_back(self, regs: UserRegs) -> None:
        """RSP and RBP, where they are what was lent, or RSP has room below it for what the enclave has put there."""
        for name, value in self.hostile.items():
            if 0 <= value - getattr(regs, name) <= (_PUT_BELOW if name == "rsp" else 0):
                setattr(regs, name, self.own[name])


class Stepping(Transitions):
    """Of one run.  Implements `native.thread.Stepper`."""

    asks = True
    quick = False

    def __init__(self, supervisor: Supervisor) -> None:
        self._sup = supervisor
        self._plans: dict[tuple[MM, int], Plan] = {}
        """By memory map and address of the TCS."""
        self._lent: dict[tuple[MM, int], Lent] = {}
        """The same."""
        self._sources: dict[int, Sources] = {}
        self._plain: dict[int, set[int]] = {}
        """By enclave, addresses at which there is no source nor anything that shows a step."""
        self._looked_at: dict[int, tuple[int, ...]] = {}
        """By enclave, `Changes` when that was found out."""
        self.checkpoints: dict[tuple[int, int], Checkpoint] = {}
        """By enclave and number."""
        self._changes = Changes(supervisor.events)
        self._inside: dict[int, int] = {}
        """By thread, the TCS that it is in."""
        self._muted: dict[int, tuple[memoryview, int]] = {}
        """By thread in ERESUME, the frame's last page that is not to have AEXNOTIFY now, and what it has of it."""

    # What is asked for.

    def plan(self, mm: MM, plan: Plan) -> None:
        """This is to happen on its TCS, instead of whatever was."""
        self._plans[mm, plan.tcs] = plan

    def planned(self, mm: MM, tcs: int) -> Plan | None:
        """What is to happen on the TCS at this address, if it is still of the same enclave."""
        plan = self._plans.get((mm, tcs))
        if plan is None:
            return None
        vma = mm.find_vma(tcs)
        if vma is not None and vma.encl is not None and vma.encl.eid == plan.eid:
            return plan
        del self._plans[mm, tcs]
        self._lent.pop((mm, tcs), None)
        return None

    def sources(self, encl: Encl) -> Sources:
        if encl.eid not in self._sources:
            self._forget_the_dead()
            self._sources[encl.eid] = Sources(encl)
            self._plain[encl.eid] = set()
        return self._sources[encl.eid]

    def _forget_the_dead(self) -> None:
        alive = {encl.eid for encl in self._sup.kernel.enclaves() if encl.created}
        for eid in self._sources.keys() - alive:
            del self._sources[eid], self._plain[eid]
            self._looked_at.pop(eid, None)
        for key in [key for key in self.checkpoints if key[0] not in alive]:
            del self.checkpoints[key]

    def take(self, encl: Encl, number: int) -> int:
        """A checkpoint of the enclave, from which its sources replay; how many pages it has.  Raises OSError."""
        taken = self.checkpoints[encl.eid, number] = Checkpoint(encl, self._changes)
        taken.given = self.sources(encl).given.copy()
        return len(taken.entries)

    def move(self, encl: Encl, number: int) -> int:
        """Raises KeyError, OSError."""
        moved = self.checkpoints[encl.eid, number]
        changed = moved.move()
        moved.given = self.sources(encl).given.copy()
        return changed

    def restore(self, encl: Encl, number: int) -> int:
        """Raises KeyError, OSError."""
        kept = self.checkpoints[encl.eid, number]
        changed = kept.restore()
        self.sources(encl).given = kept.given.copy()
        return changed

    # Leaves.

    def before(self, task: Task, leaf: int) -> None:
        if leaf in _COPIES and task.mode.enclave:
            self._to_be_copied(task, task.regs.rdx if leaf == EncluLeaf.EACCEPTCOPY else task.regs.rcx)
        if leaf not in _INTO:
            return
        key = task.mm, task.regs.rbx
        plan, lent = self.planned(*key), self._lent.get(key)
        if lent is not None and leaf == EncluLeaf.EENTER:
            lent.entered(task.regs)
        if plan is None:
            return
        plan.entries += 1
        plan.rip = None
        self._put(task, plan, task.regs.rsp if leaf == EncluLeaf.EENTER else self._ursp(task))
        if leaf == EncluLeaf.ERESUME and plan.unnotified:
            _, frame = self.frame(task, task.regs.rbx)
            if frame is not None:
                plan.unnotified, self._muted[task.tid] = False, (frame, frame[AEXNOTIFY_AT])
                frame[AEXNOTIFY_AT] = 0
        if leaf == EncluLeaf.EENTER and plan.registers and not plan.loaded:
            plan.loaded = True
            hostile = {name: value for name, value in plan.registers.items() if name in ("rsp", "rbp")}
            general = {name: getattr(task.regs, name) for name in plan.registers if name in registers.GENERAL}
            lent = self._lent[key] = Lent(hostile, {}, general, task.regs.rflags, task.xsave())
            lent.entered(task.regs)
            registers.load(task, plan.registers)

    @staticmethod
    def _put(task: Task, plan: Plan, ursp: int) -> None:
        """Have the untrusted stack be as planned: nothing in an enclave, into which a hostile RSP may point."""
        wanted = [(ursp - plan.clear, bytes(plan.clear))] if plan.clear else []
        wanted += [plan.stack] if plan.stack is not None else []
        for address, content in wanted:
            if not task.mm.overlaps(address, len(content)):
                with contextlib.suppress(OSError):  # nothing is mapped there: whoever uses it will find that
                    task.space.write(address, content)
        plan.stack = None

    def _ursp(self, task: Task) -> int:
        """GPRSGX.URSP of the frame that the thread is about to resume; RSP, where there is none to resume."""
        _, frame = self.frame(task, task.regs.rbx)
        ursp: int = task.regs.rsp if frame is None else GPRSGX.get(frame, "URSP", PAGE_SIZE - GPRSGX.size)
        return ursp

    @staticmethod
    def frame(task: Task, tcs_la: int) -> tuple[int, memoryview | None]:
        """CSSA of a TCS, and the last page of the frame of the SSA that the last AEX has filled, if one has."""
        page = task.mm.resident(tcs_la)
        if page is None or page.secs is None or page.pt != PageType.TCS:
            return 0, None
        secs, tcs = page.secs, TCS.unpack(page.data)
        end = secs.baseaddr + tcs["OSSA"] + tcs["CSSA"] * secs.ssaframesize * PAGE_SIZE
        last = secs.page_at(end - PAGE_SIZE) if tcs["CSSA"] else None
        return tcs["CSSA"], None if last is None else last.data

    def _unmute(self, task: Task) -> bool:
        """The frame that an ERESUME was made from without AEX-Notify is again what it was; whether there is one."""
        frame, wanted = self._muted.pop(task.tid, (None, 0))
        if frame is not None:
            frame[AEXNOTIFY_AT] = wanted
        return frame is not None

    def faulted(self, task: Task, leaf: int) -> bool:
        muted = self._unmute(task)
        if leaf in _INTO:
            self._not_entered(task, leaf, muted=muted)
        return False

    def _not_entered(self, task: Task, leaf: int, *, muted: bool) -> None:
        key = task.mm, task.regs.rbx
        plan, lent = self._plans.get(key), self._lent.get(key)
        if plan is not None:
            plan.entries -= 1
            plan.unnotified |= muted
        if plan is not None and leaf == EncluLeaf.EENTER and lent is not None and lent.new:
            for name, value in lent.general.items():
                setattr(task.regs, name, value)
            task.regs.rflags = lent.rflags
            task.xrstor(lent.xsave)
            del self._lent[key]
            plan.loaded = False

    def after(self, task: Task, leaf: int, site: int) -> None:
        self._unmute(task)
        if leaf in _INTO:
            task.stepper = self
            self._inside[task.tid] = task.mode.tcs_la
        elif leaf == EncluLeaf.EEXIT:
            key = task.mm, self._inside.pop(task.tid, 0)
            plan, lent = self._plans.get(key), self._lent.get(key)
            if plan is not None and not plan.over and plan.rip is not None:
                plan.executes(plan.rip)  # EEXIT itself
                plan.rip = None
            if plan is not None and plan.registers is not None:
                plan.left, plan.xsave = registers.found(task)
            if lent is not None:
                lent.give_back(task.regs)
                if lent.new:
                    task.regs.rflags = lent.rflags
                    task.xrstor(lent.xsave)
                    lent.new = False

    def gone(self, task: Task) -> None:
        self._unmute(task)
        self._inside.pop(task.tid, None)

    def space_gone(self, space: AddressSpace, mm: MM) -> None:
        for key in [key for key in self._plans if key[0] is mm]:
            del self._plans[key]
            self._lent.pop(key, None)

    # Instructions.

    def goes_on(self, thread: Thread) -> bool:
        """See `native.thread.Stepper`."""
        task = self._sup.threads[thread.tid]
        if not task.mode.enclave:
            return self._outside(task)
        plan = self._plans.get((task.mm, task.mode.tcs_la))
        if plan is None or plan.over or not plan.entries:
            return False
        return self._steps(task, plan)

    def _outside(self, task: Task) -> bool:
        """It has left by an AEX, or has executed something since."""
        task.stepper = None
        lent = self._lent.get((task.mm, self._inside.pop(task.tid, 0)))
        if lent is not None:
            lent.give_back(task.regs)
            task.regs.rflags = task.regs.rflags & ~_STICKY | lent.rflags & _STICKY
            task.store()
        return False

    def _steps(self, task: Task, plan: Plan) -> bool:
        regs, encl = task.regs, self._encl(task)
        sources, plain = self.sources(encl), self._plain[encl.eid]
        changes = self._changes(encl)
        if self._looked_at.get(encl.eid) != changes:  # other code may be there now
            self._looked_at[encl.eid] = changes
            plain.clear()
        prepare(task)
        if plan.rip is not None and regs.rip != plan.rip:
            plan.executes(plan.rip)  # whoever was asked about it has executed it
        plan.rip = None
        fair = FAIR
        while True:
            if plan.executed >= plan.until or (regs.rip == plan.address and self._arrives(plan)):
                return self._happens(task, plan)
            here = regs.rip == plan.address  # but not for the last time
            runs = plan.runs and not here
            if not fair or (runs and self._sup.deferred):  # others have their turn
                plan.rip = regs.rip
                self._sup.deferred[task.tid] = INTERRUPTED
                return True
            if runs:
                stop = self._run(task, plan)
            elif regs.rip in plain:
                most = 1 if here else min(plan.until - plan.executed, fair)
                count, stop = steps(task, most, plain, 0 if here else plan.address, plan.executes)
                fair -= count
            else:
                code = task.space.peek(regs.rip, MAX_LENGTH)
                if traps(code):  # which ends in a stop of its own
                    plan.rip = regs.rip
                    return False
                stop = self._one(task, plan, sources, code)
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

    def _one(self, task: Task, plan: Plan, sources: Sources, code: bytes) -> Stop | None:
        """Execute one instruction at which something may be particular."""
        regs, rip = task.regs, task.regs.rip
        source = sources.find(rip)
        if source is not None:
            plan.drawn += sources.execute(source, regs, self._stream(task))
            task.store()
            if rip in sources.sites:
                self._place(task, sources, rip)
            plan.executes(rip)
            return None
        if is_popf(code):
            return steps(task, 1, {rip}, 0, plan.executes)[1] or begin_anew(task)
        if not is_pushf(code):
            page = self._encl(task).resident(rip)
            if page is not None and not page.rwx & _W:
                self._plain[task.mode.eid].add(rip)
            return steps(task, 1, {rip}, 0, plan.executes)[1]
        info = single_step(task)
        hide(task)
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

    def _stream(self, task: Task) -> Stream:
        cssa, _ = self.frame(task, task.mode.tcs_la)
        return task.mode.tcs_la - self._encl(task).base, cssa

    def _place(self, task: Task, sources: Sources, rip: int) -> None:
        """Something else stands there from now on, so that nobody executes it without being stopped."""
        at, code = sources.place(rip)
        encl = self._encl(task)
        page = encl.resident(at)
        if page is not None and page.data[at & 0xFFF : (at & 0xFFF) + 2] == sources.sites[rip].original:
            page.data[at & 0xFFF : (at & 0xFFF) + 2] = code
            for (eid, _), checkpoint in self.checkpoints.items():
                if eid == encl.eid:
                    checkpoint.patch(at, sources.sites[rip].original, code)

    def emulates(self, task: Task) -> bool:
        sources = self._sources.get(task.mode.eid)
        if sources is None or task.regs.rip not in sources.sites:
            return False
        source = sources.find(task.regs.rip)
        if source is None:
            return False
        plan = self._plans.get((task.mm, task.mode.tcs_la))
        new = sources.execute(source, task.regs, self._stream(task))
        if plan is not None:
            plan.drawn += new
        task.store()
        return True

    def original(self, address: int, data: bytes) -> bytes:
        for sources in self._sources.values():
            data = sources.original(address, data)
        return data

    def leaves_epc(self, pages: Iterable[EPCPage]) -> None:
        """What is evicted or copied has the instructions themselves, which are met anew."""
        for page in pages:
            sources = self._sources.get(page.secs.eid) if page.secs is not None else None
            if sources is None or page.secs is None:
                continue
            for at, original in sources.give_back(page):
                for (eid, _), checkpoint in self.checkpoints.items():
                    if eid == page.secs.eid:
                        checkpoint.patch(at, UD2, original)

    def _to_be_copied(self, task: Task, address: int) -> None:
        page = self._encl(task).resident(address)
        if page is not None:
            self.leaves_epc([page])
