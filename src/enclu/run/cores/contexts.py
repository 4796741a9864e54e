"""The threads of a core: those of the process, and what was interrupted in its enclaves, each with its registers.

A thread that stands at an AEP, to execute ERESUME, appears with the registers that this would give it back: those of
the SSA frame.  Frames that no thread is about to resume, for a runtime has the exception or an OCALL is under way on
top of them, appear as threads of their own.  Of a production enclave a thread shows what it would show outside.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass

from enclu.linux.snapshot import Snapshot
from enclu.native import ptrace
from enclu.run.task import Task
from enclu.sgx.epc import PAGE_SIZE
from enclu.sgx.structs import EXINFO, GPR_NAMES, GPRSGX, MISC_EXINFO, TCS, EncluLeaf

BEYOND_PIDS = 1 << 22
"""PID_MAX_LIMIT of include/linux/threads.h: numbers from here on are no thread's."""
USER_CS, USER_DS = 0x33, 0x2B
"""__USER_CS and __USER_DS of arch/x86/include/asm/segment.h."""


@dataclass(frozen=True)
class Frame:
    """A frame of a TCS's SSA that an AEX has filled, or of a thread inside, that is yet to be filled."""

    snapshot: Snapshot
    tcs: int
    index: int
    aep: int
    given: bytes = b""
    """What it held, where that is known from before."""

    @functools.cached_property
    def image(self) -> bytes:
        """The whole of it."""
        if self.given:
            return self.given
        secs = self.snapshot.secs
        size = secs.ssaframesize * PAGE_SIZE
        ossa = TCS.get(self.snapshot.read(self.tcs, TCS.size), "OSSA")
        return self.snapshot.read(secs.baseaddr + ossa + self.index * size, size)

    @functools.cached_property
    def gprsgx(self) -> bytes:
        return self.image[-GPRSGX.size :]

    @functools.cached_property
    def exinfo(self) -> bytes:
        """Empty where AEX does not fill it."""
        if not self.snapshot.secs.miscselect & MISC_EXINFO:
            return b""
        return self.image[-GPRSGX.size - EXINFO.size : -GPRSGX.size]

    def registers(self) -> ptrace.UserRegs:
        """What ERESUME would load."""
        regs, saved = ptrace.UserRegs(), GPRSGX.unpack(self.gprsgx)
        for name in (*GPR_NAMES, "rflags", "rip"):
            setattr(regs, name, saved[name.upper()])
        regs.fs_base, regs.gs_base = saved["FSBASE"], saved["GSBASE"]
        regs.orig_rax, regs.cs, regs.ss = ptrace.NO_SYSCALL, USER_CS, USER_DS
        return regs

    def xstate(self, outside: bytes | bytearray, task: Task) -> bytes:
        """What ERESUME would load, for a thread that has this outside."""
        image = bytearray(outside)
        secs = self.snapshot.secs
        size = task.machine.layout.pages_of(secs.xfrm) * PAGE_SIZE
        task.machine.layout.restore(image, secs.xfrm, [memoryview(self.image[:size])])
        return bytes(image)

    def outside(self, regs: ptrace.UserRegs) -> ptrace.UserRegs:
        """What a thread that is inside, with these registers, would show after an AEX (SDM 3D table 37-1)."""
        saved = GPRSGX.unpack(self.gprsgx)
        shown = ptrace.UserRegs()
        shown.load(bytes(regs))
        for name in GPR_NAMES:
            setattr(shown, name, 0)
        shown.rax, shown.rbx, shown.rcx, shown.rip = EncluLeaf.ERESUME, self.tcs, self.aep, self.aep
        shown.rsp, shown.rbp = saved["URSP"], saved["URBP"]
        return shown


@dataclass(frozen=True)
class First:
    """What a core is about: a frame of an SSA, with what it held when somebody was told of the exception."""

    tcs: int
    index: int
    image: bytes


@dataclass(frozen=True)
class Context:
    """One thread of the core."""

    lwp: int
    state: str
    """outside; at the AEP; inside; interrupted: a frame that no thread is about to resume; left: one that is gone."""
    registers: bytes
    xstate: bytes
    task: Task
    """Whose they are; of a frame without a thread, one of the process."""
    host: bytes = b""
    """The thread's own registers, where those of the enclave are shown instead."""
    frame: Frame | None = None


class Contexts:
    """Those of a process whose threads are stopped."""

    def __init__(self, snapshots: Iterable[Snapshot], included: frozenset[int]) -> None:
        """`included` are the enclaves, by EID, of which contents are shown."""
        self._tcses = {tcs: snapshot for snapshot in snapshots for tcs in snapshot.tcses()}
        self._included = included

    def of(self, tasks: list[Task]) -> list[Context]:
        """The first task's first; what was interrupted in enclaves last.  A thread that has been killed is left out."""
        found: list[Context] = []
        for task in tasks:
            try:
                found.append(self._of_task(task))
            except ProcessLookupError:
                continue
        if not found:
            return found
        shown = {(c.frame.tcs, c.frame.index) for c in found if c.frame is not None and c.state == "at the AEP"}
        rest = [frame for tcs in self._tcses for frame in self._frames(tcs) if (tcs, frame.index) not in shown]
        task, outside = found[0].task, found[0].xstate
        for number, frame in enumerate(rest, BEYOND_PIDS):
            state = frame.xstate(outside, task)
            found.append(Context(number, "interrupted", bytes(frame.registers()), state, task, frame=frame))
        return found

    def with_first(self, contexts: list[Context], first: First) -> list[Context]:
        """What was interrupted in a TCS in front of the others, if its enclave is shown."""
        for context in contexts:
            frame = context.frame
            if frame is None or context.state == "inside" or (frame.tcs, frame.index) != (first.tcs, first.index):
                continue
            if frame.gprsgx == first.image[-GPRSGX.size :]:
                return [context, *(other for other in contexts if other is not context)]
        snapshot = self._tcses.get(first.tcs)
        if not contexts or snapshot is None or snapshot.secs.eid not in self._included:
            return contexts
        if len(first.image) != snapshot.secs.ssaframesize * PAGE_SIZE:
            return contexts
        frame = Frame(snapshot, first.tcs, first.index, self._cssa_and_aep(first.tcs)[1], first.image)
        number = max(BEYOND_PIDS, *(context.lwp + 1 for context in contexts))
        task, outside = contexts[0].task, contexts[0].xstate
        state = frame.xstate(outside, task)
        return [Context(number, "left", bytes(frame.registers()), state, task, frame=frame), *contexts]

    def _of_task(self, task: Task) -> Context:
        regs = ptrace.registers(task.tid)
        xstate = bytes(task.xsave())
        own = bytes(regs)
        if task.mode.enclave:
            snapshot = self._tcses.get(task.mode.tcs_la)
            if snapshot is None:
                return Context(task.tid, "inside", own, xstate, task)
            cssa, aep = self._cssa_and_aep(task.mode.tcs_la)
            frame = Frame(snapshot, task.mode.tcs_la, cssa, aep)
            if snapshot.secs.eid in self._included:
                return Context(task.tid, "inside", own, xstate, task, frame=frame)
            image = bytearray(xstate)
            task.machine.layout.synthesise(image, snapshot.secs.xfrm, None)
            return Context(task.tid, "inside", bytes(frame.outside(regs)), bytes(image), task)
        at = self._about_to_resume(regs)
        if at is None:
            return Context(task.tid, "outside", own, xstate, task)
        return Context(task.tid, "at the AEP", bytes(at.registers()), at.xstate(xstate, task), task, own, at)

    def _about_to_resume(self, regs: ptrace.UserRegs) -> Frame | None:
        """The frame that the thread's next instruction, ERESUME, would load."""
        if regs.rax & 0xFFFF_FFFF != EncluLeaf.ERESUME or regs.rbx not in self._tcses:
            return None
        frames = self._frames(regs.rbx)
        return frames[-1] if frames and frames[-1].aep == regs.rip else None

    def _frames(self, tcs: int) -> list[Frame]:
        """Those that AEXs have filled, of an enclave that is shown."""
        snapshot = self._tcses[tcs]
        if snapshot.secs.eid not in self._included:
            return []
        cssa, aep = self._cssa_and_aep(tcs)
        return [Frame(snapshot, tcs, index, aep) for index in range(cssa)]

    def _cssa_and_aep(self, tcs: int) -> tuple[int, int]:
        image = self._tcses[tcs].read(tcs, TCS.size)
        return TCS.get(image, "CSSA"), TCS.get(image, "AEP")
