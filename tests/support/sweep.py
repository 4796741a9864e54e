"""Stops a program at every instruction of `linux/vdso/in_process.h`, and takes it out: a run of enclu that does so.

    python -m tests.support.sweep PROGRAM

Writes, as JSON, how often each rule was met and what was wrong.  The program executes leaf after leaf; in the n-th
execution of one the thread is stopped after n instructions.  With ENCLU_SWEEP_KILLS its process is killed there, and
what was wrong is what is left of the machine's in the end.  ENCLU_SWEEP_DELIVERY is the design, `vdso` if not given;
with ENCLU_SWEEP_UNTOLD nobody listens to leaves; with ENCLU_SWEEP_ONCE it is stopped once after so many instructions.
"""

from __future__ import annotations

import collections
import functools
import itertools
import json
import os
import signal
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from enclu.base.abi import WALL
from enclu.base.events import Leaf
from enclu.base.listeners import Events
from enclu.cli import report
from enclu.linux import delivery
from enclu.linux.uapi import SGX_IOC_ENCLAVE_ADD_PAGES
from enclu.native import extended_state, own_aex, ptrace
from enclu.native.add_queue import BEHIND_CALL
from enclu.native.address_space import VDSO_BASE, AddressSpace
from enclu.native.path_calls import CALL, TWIN
from enclu.native.resume import resume
from enclu.native.shared_area import BIAS, SPACE_COUNT, TCS_COUNT, SharedArea
from enclu.native.stop import Kind, Stop
from enclu.native.trampoline import EXECUTED, Rule
from enclu.run import launch
from enclu.run.supervisor import Supervisor
from enclu.run.task import Task
from enclu.sgx.enclave_mode import COUNTED, INITIAL, WORD, XSAVE
from enclu.sgx.enclu.enter import RFLAGS_RESTORED
from enclu.sgx.epc import EPCPage
from enclu.sgx.machine import Machine
from enclu.sgx.processor import RFLAGS_TF
from enclu.sgx.structs import EXINFO, GPRSGX, MISC_EXINFO, TCS, EncluLeaf
from enclu.sgx.xsave import HEADER

INT3 = b"\xcc"
"""What stops a thread where the code begins."""
STATUS, ZF = 0x8D5, 0x40
FLAGS = (0x202, 0x246, 0xA83, 0x216)
"""RFLAGS to come with, one after the other, each once as they are and once with all status flags inverted."""
_KEPT = (
    "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rbx", "rbp", "rsp",
    "rip", "rflags", "fs_base", "gs_base",
)  # fmt: skip
SsaFrame = tuple[list[EPCPage], EPCPage]
AEX, SUPPLIED, QUEUED = "AEX", "AEX for a page", "ioctl"
"""Beside leaves: those that the thread makes itself (`native.own_aex`), to a fixup, and for a page to be supplied; and
an ioctl that adds a page (`native.add_queue`)."""
IOCTL = 1
_ADDRESS = WORD["ADDRESS"]
LEAVES = (EncluLeaf.EENTER, EncluLeaf.ERESUME, EncluLeaf.EEXIT, EncluLeaf.EDECCSSA)
INSTRUCTIONS = {
    b"\x0f\x31": "RDTSC",
    b"\x48\x0f\xae\xa1" + struct.pack("<i", XSAVE - BIAS): "XSAVE of what is put aside",
    b"\x48\x0f\xae\xa9" + struct.pack("<i", INITIAL - BIAS): "XRSTOR of initial state",
    b"\xc5\xf8\x77": "VZEROUPPER",
    b"\xc5\xc4\x47\xff": "KXORW of K7",
    b"\x48\x0f\xae\xa9" + struct.pack("<i", XSAVE - BIAS): "XRSTOR of what was put aside",
}
"""Those that only some executions of a leaf come by; what memory there is is in the slot, by RCX."""


KILLS, ONCE, TOLD = (
    "ENCLU_SWEEP_KILLS" in os.environ, "ENCLU_SWEEP_ONCE" in os.environ, "ENCLU_SWEEP_UNTOLD" not in os.environ
)  # fmt: skip


def _turns() -> Iterator[tuple[int, int]]:
    """How many instructions to execute, and RFLAGS to begin with."""
    # Once: by one of the ways that depend on ZF, for they are not equally long.
    all_flags = [flags for flags in FLAGS if not ONCE or not flags & ZF]
    for count, flags in zip(itertools.count(1), itertools.cycle(all_flags), strict=False):
        yield count, flags
        if not KILLS and not ONCE:
            yield count, flags ^ STATUS


@dataclass(frozen=True)
class Seen:
    """What can be seen of a thread that executes a leaf."""

    regs: dict[str, int]
    state: dict[int, bytes]
    """Components of the extended state that are not initial."""
    aside: bool
    inside: bool
    frame: int
    """GPRSGX of the current frame."""
    cssa: int
    tcs_state: int
    aep: int
    saved: dict[str, object] = field(default_factory=dict)
    """What an AEX has saved."""


class Sweep(Supervisor):
    """Stops the program at the ways into the code, and goes on from there by single steps."""

    met: collections.Counter[str]
    wrong: list[str]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.met, self.wrong = collections.Counter(), []
        self.turns: dict[EncluLeaf | str, Iterator[tuple[int, int]]]
        self.turns = {way: _turns() for way in (*LEAVES, AEX, SUPPLIED)}
        # Each instruction, but of the loop that copies a page some.
        self._queued = itertools.chain(range(1, 100), range(100, 1600, 97), range(1600, 3000))
        self.over: set[EncluLeaf | str] = set()
        self._area: SharedArea | None = None
        self.ways: dict[tuple[AddressSpace, int], int] = {}
        """Where the code begins, each with the address of its ENCLU; of an AEX it is 0, of an ioctl IOCTL."""
        self._begins: dict[tuple[AddressSpace, int], bytes] = {}
        """What is there."""

    def _dispatch(self, tid: int, stop: Stop) -> None:
        task = self.threads.get(tid)
        if task is None or task.space.in_process is None or stop.kind is not Kind.SIGNAL:
            super()._dispatch(tid, stop)
            if task is not None and tid in self.threads:
                self._find_ways(task)
            return
        at = self._read(task).rip - 1
        if (task.space, at) in self.ways and stop.signo == signal.SIGTRAP:
            task.stopped = True
            site = self.ways[task.space, at]
            if site == IOCTL:
                self._step_ioctl(task, at)
            elif site:
                self._step(task, at, site)
            else:
                self._step_aex(task, at)
            return
        super()._dispatch(tid, stop)
        self._find_ways(task)

    def _find_ways(self, task: Task) -> None:
        taking = task.space.in_process
        if taking is None:
            return
        self._area = taking.area
        symbols = self.image.symbols
        found = {VDSO_BASE + symbols["enclu_ioctl"]: IOCTL}
        if task.in_process:
            found |= {copy.start: copy.site for copy in taking.copies}
            found[VDSO_BASE + symbols["enclu_enter_template"]] = taking.trampoline.site
            found[VDSO_BASE + symbols["enclu_aex"]] = 0
        for address, site in found.items():
            if (task.space, address) not in self.ways and not task.exiting:
                self.ways[task.space, address] = site
                self._begins[task.space, address] = task.space.peek(address, 1)
                task.space.poke(address, INT3)

    def left(self) -> list[str]:
        """What is not as it was before the program, whose first thread is about to end."""
        self._clear_away()
        area = self._area
        assert area is not None
        counts = {
            "threads": len(self.threads.keys() - {self.main_pid}), "processors": len(self.machine.processors) - 1,
            "enclaves": len(self.machine.enclaves), "address spaces": len(self.transitions.spaces),
            "TCSes": TCS_COUNT - area.free_tcses, "tickets": SPACE_COUNT - area.free_tickets,
        }  # fmt: skip
        return [f"{number} {what} are left" for what, number in counts.items() if number]

    @staticmethod
    def _read(task: Task) -> ptrace.UserRegs:
        ptrace.ptrace(ptrace.GETREGS, task.tid, 0, task.regs_pointer)
        return task.regs

    def _step(self, task: Task, begins: int, site: int) -> None:
        """Execute some instructions, have the thread taken out and look at it; then go on as if nothing had been."""
        regs = task.regs
        leaf = EncluLeaf(regs.rax)
        tcs_la = regs.rbx if leaf in (EncluLeaf.EENTER, EncluLeaf.ERESUME) else task.mode.tcs_la
        if leaf in self.over:
            regs.rip = begins
            task.store()
            self._single_steps(task, begins, 1)
            resume(task)
            return
        count, flags = next(self.turns[leaf])
        counted = task.mode.words[COUNTED[leaf]]
        regs.rip, regs.rflags = site, regs.rflags & ~STATUS | flags & STATUS
        before = self._see(task, tcs_la)
        wanted = self._executed(task, leaf, before, tcs_la)
        regs.rip = begins
        task.store()
        if not self._single_steps(task, begins, count):  # it is executed by a stop: this turn is the next one's
            self.turns[leaf] = itertools.chain(((count, flags),), self.turns[leaf])
            task.fetch()
            regs.rip = begins
            task.store()
            self._single_steps(task, begins, 1)
            resume(task)
            return
        rule = self._rule(task)
        self._met(leaf, rule)
        self._look_closer(task, leaf, rule)
        if KILLS:
            os.kill(task.process.tgid, signal.SIGKILL)
            return
        task.fetch()
        after = self._see(task, tcs_la)
        executed = rule in EXECUTED or rule is Rule.OUT  # behind it
        if task.mode.words[COUNTED[leaf]] != counted + executed:
            self.wrong.append(f"{leaf.name} {count} {rule.name}: counted {task.mode.words[COUNTED[leaf]]}")
        differences = _differences(after, wanted if executed else before)
        self._compare(f"{leaf.name} {count} {flags:#x} {rule.name}", differences)
        resume(task)

    def _step_aex(self, task: Task, begins: int) -> None:
        """The same in an AEX, which begins with a signal frame."""
        mode, regs = task.mode, task.regs
        regs.rip = begins
        task.store()
        way = AEX if mode.words[WORD["VECTOR"]] in own_aex.VECTORS else SUPPLIED
        if way in self.over:
            self._single_steps(task, begins, 1)
            resume(task)
            return
        tcs_la, frame, address = mode.tcs_la, self.machine.enclaves[mode.eid].frame(mode.gprsgx), mode.words[_ADDRESS]
        wanted = self._left(task, frame)
        count = next(self.turns[way])[0]
        self._single_steps(task, begins, count)
        rule = self._rule(task)
        self._met(way, rule)
        self._look_closer(task, way, rule)
        if KILLS:
            os.kill(task.process.tgid, signal.SIGKILL)
            return
        task.fetch()
        jump = self.image.symbols.get("enclu_jump")
        if jump is not None and task.regs.rip == VDSO_BASE + jump:
            task.regs.rip = wanted.regs["rip"]  # behind it is the AEP
        after = replace(self._see(task, tcs_la), saved=self._saved(frame))
        self._compare(f"{way} {count} {rule.name}", _differences(after, wanted))
        if way == SUPPLIED:
            self._evict(task, address)
        resume(task)

    def _step_ioctl(self, task: Task, begins: int) -> None:
        """The same of an ioctl that is looked at: it is taken back to where it stops, or on behind it."""
        taking, regs = task.space.in_process, task.regs
        assert taking is not None
        regs.rip = begins
        task.store()
        queue = taking.queue
        if queue is None or not queue.armed or QUEUED in self.over or regs.rsi != SGX_IOC_ENCLAVE_ADD_PAGES:
            self._single_steps(task, begins, 1)
            resume(task)
            return
        free = {"rax", "rcx", "r11", "rip", "rflags"}
        slot, had = regs.rcx, queue.count
        before = {name: getattr(regs, name) for name in _KEPT if name not in free}
        count = next(self._queued)
        self._single_steps(task, begins, count)
        rule = self._rule(task)
        self._met(QUEUED, rule)
        if KILLS:
            os.kill(task.process.tgid, signal.SIGKILL)
            return
        task.fetch()
        over = regs.rip == slot + BEHIND_CALL or (rule is Rule.OUT and regs.rcx == slot + BEHIND_CALL)
        wanted = before | {"locked": False, "count": had + (over or rule is Rule.QUEUED)}
        if rule is not Rule.OUT:
            wanted |= {"rip": slot + (BEHIND_CALL if rule is Rule.QUEUED else TWIN + CALL)}
        got = {name: getattr(regs, name) for name in _KEPT} | {"locked": queue.locked, "count": queue.count}
        differences = ((name, hex(got[name]), hex(value)) for name, value in wanted.items() if got[name] != value)
        self._compare(f"{QUEUED} {count} {rule.name}", differences)
        if over and rule is Rule.OUT:
            self.over.add(QUEUED)
        resume(task)

    def _compare(self, where: str, differences: Iterator[tuple[str, object, object]]) -> None:
        """Note what is not as it should be, unless enough has been noted."""
        if len(self.wrong) < 20:
            self.wrong += [f"{where}: {name} {got} instead of {want}" for name, got, want in differences]

    def _evict(self, task: Task, address: int) -> None:
        """What the thread has met is to be met again; it has been shown, whoever was to do that."""
        task.mm.settle()
        vma, reclaimer = task.mm.find_vma(address), self.kernel.reclaimer
        assert vma is not None and vma.encl is not None
        if not self._reaches(task, address):
            self.wrong.append(f"{address:#x} is not there")
        page = vma.encl.pages[address >> 12]
        reclaimer.forget(page)
        reclaimer.add(page)
        reclaimer._active.move_to_end(page, last=False)
        reclaimer.reclaim(1)
        if self._reaches(task, address):
            self.wrong.append(f"{address:#x} is there, though evicted")

    @staticmethod
    def _reaches(task: Task, address: int) -> bool:
        try:
            task.space.read(address, 1)
        except OSError:
            return False
        return True

    def _saved(self, frame: SsaFrame) -> dict[str, object]:
        """EXINFO, if there is one, GPRSGX and components of an SSA frame."""
        region, last = frame
        (secs,) = {page.secs for page in (*region, last)}
        assert secs is not None
        gprsgx, image = 4096 - GPRSGX.size, bytearray(b"".join(bytes(page.data) for page in region))
        exinfo = EXINFO.unpack(bytes(last.data[gprsgx - EXINFO.size :])) if secs.miscselect & MISC_EXINFO else {}
        return {**exinfo, **GPRSGX.unpack(bytes(last.data[gprsgx:])), "state": self._state(image)}

    def _left(self, task: Task, frame: SsaFrame) -> Seen:
        """What is to be seen after the AEX and the fixup, by what is in the signal frame and what is to be done."""
        mode, regs, tcs = task.mode, task.regs, self._tcs(task.mode.tcs_la)
        word = {name: mode.words[number] for name, number in WORD.items()}
        secs = self.machine.enclaves[mode.eid]
        at = regs.rsp - (mode.owner - BIAS)
        names = ("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rdi", "rsi", "rbp", "rbx", "rdx", "rax", "rcx")
        had = dict(zip((*names, "rsp", "rip", "rflags"), struct.unpack_from("<18Q", task.slot, at + 48), strict=True))
        error, fpstate = (struct.unpack_from("<Q", task.slot, at + offset)[0] for offset in (200, 232))
        inside = self._state(bytearray(task.slot[fpstate - (mode.owner - BIAS) :]))
        code = word["CODES"] >> (32 if error & 0x10 else 16 if error & 2 else 0) & 0xFFFF
        saved = self._saved(frame)
        saved |= {name.upper(): value for name, value in had.items()}
        saved |= {
            "RSP": word["FAULT_RSP"], "RFLAGS": had["rflags"] & ~0x100 | 0x10000, "FSBASE": regs.fs_base,
            "GSBASE": regs.gs_base, "EXITINFO": word["EXITINFO"] & 0xFFFF_FFFF,
            "state": {number: content for number, content in inside.items() if number < 2 or secs.xfrm >> number & 1},
        }  # fmt: skip
        if word["EXITINFO"] >> 32:
            saved |= {"MADDR": word["ADDRESS"], "ERRCD": code}
        after = dict.fromkeys(_KEPT, 0) | {
            "rax": EncluLeaf.ERESUME, "rbx": mode.tcs_la, "rcx": tcs["AEP"], "rdx": word["ADDRESS"] & ~0xFFF,
            "rsi": code, "rdi": word["VECTOR"], "rbp": saved["URBP"], "rsp": saved["URSP"], "rip": word["FIXUP"],
            "rflags": had["rflags"] & ~0x109D5, "fs_base": mode.save_fs_base, "gs_base": mode.save_gs_base,
        }  # fmt: skip
        if word["VECTOR"] not in own_aex.VECTORS:
            after |= {"rip": tcs["AEP"], "rdi": 0, "rsi": 0, "rdx": 0}
        state = {number: content for number, content in inside.items() if not secs.xfrm >> number & 1}
        if task.aside is not None:
            state = self._state(bytearray(task.aside.image))
        return Seen(after, state, False, False, 0, tcs["CSSA"] + 1, 0, 0, saved)

    def _single_steps(self, task: Task, begins: int, count: int) -> bool:
        """False if the thread comes to an ENCLU first, by which it is to stop."""
        task.space.poke(begins, self._begins[task.space, begins])
        stopped = False
        for _ in range(count):
            ptrace.ptrace(ptrace.SINGLESTEP, task.tid, 0, 0)
            status = os.waitpid(task.tid, WALL)[1]
            stopped = os.WIFSTOPPED(status) and os.WSTOPSIG(status) in (signal.SIGILL, signal.SIGSEGV)
            if stopped:
                break
        regs = self._read(task)
        if regs.rflags & RFLAGS_TF:  # of the steps, once a SYSCALL was among them
            regs.rflags &= ~RFLAGS_TF
            task.store()
        task.space.poke(begins, INT3)
        return not stopped

    def _met(self, leaf: EncluLeaf | str, rule: Rule) -> None:
        self.met[f"{leaf if isinstance(leaf, str) else leaf.name} {rule.name}"] += 1
        if rule is Rule.OUT and leaf != QUEUED:
            self.over.add(leaf)

    def _look_closer(self, task: Task, way: EncluLeaf | str, rule: Rule) -> None:
        """Note that it has stopped in a copy of a template, and at which of the INSTRUCTIONS."""
        rip, name, taking = task.regs.rip, way if isinstance(way, str) else way.name, task.space.in_process
        assert taking is not None
        if any(copy.start <= rip < copy.start + copy.size for copy in taking.copies):
            self.met[f"{name} {rule.name} in a copy"] += 1
        code = task.space.peek(rip, 8)
        self.met.update(f"{name} {what}" for begins, what in INSTRUCTIONS.items() if code.startswith(begins))

    def _rule(self, task: Task) -> Rule:
        taking = task.space.in_process
        assert taking is not None
        return taking.trampoline.rule(self._read(task).rip, taking.copies)[0]

    def _tcs(self, tcs_la: int) -> dict[str, int]:
        (secs,) = (s for s in self.machine.enclaves.values() if s.baseaddr <= tcs_la < s.baseaddr + s.size)
        return {**TCS.unpack(secs.used(tcs_la).data), "BASE": secs.baseaddr}

    def _see(self, task: Task, tcs_la: int) -> Seen:
        tcs, mode = self._tcs(tcs_la), task.mode
        return Seen(
            {name: getattr(task.regs, name) for name in _KEPT}, self._state(task.xsave()), task.aside is not None,
            mode.enclave, mode.gprsgx if mode.enclave else 0, tcs["CSSA"], tcs["STATE"],
            tcs["AEP"] if mode.enclave else 0,
        )  # fmt: skip

    def _executed(self, task: Task, leaf: EncluLeaf, before: Seen, tcs_la: int) -> Seen:
        """What is to be seen when the leaf has been executed."""
        tcs, mode, regs = self._tcs(tcs_la), task.mode, before.regs
        if leaf == EncluLeaf.EEXIT:
            bases = {"fs_base": mode.save_fs_base, "gs_base": mode.save_gs_base}
            regs = regs | bases | {"rax": leaf, "rip": regs["rbx"], "rcx": tcs["AEP"]}
            state = dict(before.state)
            if task.aside is not None:
                state |= self._state(bytearray(task.aside.image))
            return Seen(regs, state, False, False, 0, before.cssa, 0, 0)
        secs = self.machine.enclaves[next(e for e, s in self.machine.enclaves.items() if s.baseaddr == tcs["BASE"])]
        size = secs.ssaframesize * 4096
        cssa = before.cssa - (leaf != EncluLeaf.EENTER)
        frame = secs.baseaddr + tcs["OSSA"] + (cssa + 1) * size - GPRSGX.size
        if leaf == EncluLeaf.EDECCSSA:
            return replace(before, regs=regs | {"rip": regs["rip"] + 3}, cssa=cssa, frame=frame)
        state = {number: content for number, content in before.state.items() if secs.xfrm >> number & 1}
        if leaf == EncluLeaf.EENTER:
            regs = regs | {
                "rax": cssa, "rcx": regs["rip"] + 3, "rip": secs.baseaddr + tcs["OENTRY"],
                "fs_base": secs.baseaddr + tcs["OFSBASE"], "gs_base": secs.baseaddr + tcs["OGSBASE"],
            }  # fmt: skip
        else:
            region, last = secs.frame(frame)
            saved = GPRSGX.unpack(bytes(last.data[4096 - GPRSGX.size :]))
            names = {"fs_base": "FSBASE", "gs_base": "GSBASE"}
            regs = {name: saved[names.get(name, name.upper())] for name in _KEPT} | {
                "rflags": saved["RFLAGS"] & RFLAGS_RESTORED | 0x202,
            }
            state = self._state(bytearray(b"".join(bytes(page.data) for page in region)))
        aside = any(not secs.xfrm >> number & 1 for number in before.state)
        return Seen(regs, state, aside, True, frame, cssa, mode.owner, before.regs["rcx"])

    def _state(self, image: bytearray) -> dict[int, bytes]:
        """What is not initial, whether the processor has noticed that or not.  x87 is 0, SSE with MXCSR is 1."""
        used = int.from_bytes(image[HEADER : HEADER + 8], "little")
        places = self.machine.layout.places.items()
        found = {number: bytes(image[at : at + size]) for number, (at, size) in places if used >> number & 1}
        if used & 1:
            found[0] = bytes(image[32:160])
        if used & 2:
            found[1] = bytes(image[160:416])
        return {number: content for number, content in found.items() if any(content)}


def _differences(got: Seen, wanted: Seen) -> Iterator[tuple[str, object, object]]:
    for name, value in wanted.regs.items():
        if got.regs[name] != value:
            yield name, hex(got.regs[name]), hex(value)
    for name in ("aside", "inside", "frame", "cssa", "tcs_state", "aep"):
        if getattr(got, name) != getattr(wanted, name):
            yield name, getattr(got, name), getattr(wanted, name)
    for name in got.saved.keys() | wanted.saved.keys():
        if got.saved.get(name) != wanted.saved.get(name):
            yield f"saved {name}", got.saved.get(name), wanted.saved.get(name)
    for number in got.state.keys() | wanted.state.keys():
        if got.state.get(number) != wanted.state.get(number):
            yield f"component {number}", got.state.get(number, b"").hex(), wanted.state.get(number, b"").hex()


def main(program: str, *arguments: str) -> None:
    machine, events, told = Machine(1 << 26, None, extended_state.layout()), Events(), collections.Counter[str]()
    if TOLD:
        events.listen(lambda leaf: told.update((leaf.leaf,)), Leaf)
    design = delivery.create(os.environ.get("ENCLU_SWEEP_DELIVERY", "vdso"))
    supervisor = Sweep(machine, design, events, in_process=True, pin=False)

    def tell() -> None:
        supervisor.transitions.count()
        counted = {leaf.name: events.leaves.counts[leaf] for leaf in LEAVES}
        if counted != {leaf.name: told[leaf.name] for leaf in LEAVES} and TOLD and not KILLS:
            supervisor.wrong.append(f"told {told}, counted {counted}")
        wrong = supervisor.left() if KILLS else supervisor.wrong
        found = {"met": supervisor.met, "wrong": wrong, "over": len(supervisor.over)}
        with open(os.environ["ENCLU_SWEEP"], "w") as file:
            json.dump(found, file)

    supervisor.at_end = tell
    launch.start(program, [program, *arguments], functools.partial(report.supervise, supervisor, subreaper=False))


if __name__ == "__main__":
    main(*sys.argv[1:])
