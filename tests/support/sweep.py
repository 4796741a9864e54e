"""Stops a program at every instruction of `linux/vdso/in_process.h`, and takes it out: a run of enclu that does so.

    python -m tests.support.sweep PROGRAM

Prints, as JSON, how often each rule was met and what was wrong.  The program makes pair after pair; in pair number n
the thread is stopped after n instructions.
"""

from __future__ import annotations

import collections
import functools
import itertools
import json
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

from enclu.base.abi import WALL
from enclu.base.listeners import Events
from enclu.cli import report
from enclu.linux import delivery
from enclu.native import extended_state, ptrace
from enclu.native.address_space import VDSO_BASE
from enclu.native.resume import resume
from enclu.native.stop import Kind, Stop
from enclu.native.trampoline import Rule
from enclu.run import launch
from enclu.run.supervisor import Supervisor
from enclu.run.task import Task
from enclu.sgx.machine import Machine
from enclu.sgx.structs import TCS, EncluLeaf
from enclu.sgx.xsave import HEADER

INT3, XCHG = b"\xcc", b"\x48"
"""What stops a thread where the code begins, and what is there."""
FLAGS = (0x202, 0x246, 0xA83, 0xAD7, 0x216)
"""RFLAGS to come with: each of the status flags is 1 in one and 0 in another."""
_WORD = (1 << 64) - 1
_CALL_ARGUMENTS = ("rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rbx", "rbp", "rsp")


def _turns() -> Iterator[tuple[int, int]]:
    """How many instructions to execute, and RFLAGS to begin with."""
    return ((count, flags) for count in itertools.count(1) for flags in FLAGS)


class Sweep(Supervisor):
    """Stops the program at the ways into the code, and goes on from there by single steps."""

    met: collections.Counter[str]
    wrong: list[str]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.met, self.wrong = collections.Counter(), []
        self.turns = {leaf: _turns() for leaf in (EncluLeaf.EENTER, EncluLeaf.EEXIT)}
        self.over: set[int] = set()
        self.ways: dict[int, tuple[EncluLeaf, int]] = {}
        """Where the code begins: the leaf, and the address of its ENCLU."""

    def _dispatch(self, tid: int, stop: Stop) -> None:
        task = self.threads.get(tid)
        taking = None if task is None else task.space.in_process
        if task is None or taking is None or stop.kind is not Kind.SIGNAL:
            super()._dispatch(tid, stop)
            return
        at = self._rip(task) - 1
        if at in self.ways and stop.signo == signal.SIGTRAP:
            task.stopped = True
            self._step(task, at, *self.ways[at])
            return
        super()._dispatch(tid, stop)
        if taking.copies and not self.ways:
            copy = taking.copies[0]
            begins = VDSO_BASE + self.image.symbols["enclu_vdso_eenter"]
            self.ways = {
                begins: (EncluLeaf.EENTER, taking.trampoline.site), copy.start: (EncluLeaf.EEXIT, copy.site),
            }  # fmt: skip
            for address in self.ways:
                task.space.poke(address, INT3)

    @staticmethod
    def _rip(task: Task) -> int:
        ptrace.ptrace(ptrace.GETREGS, task.tid, 0, task.regs_pointer)
        return task.regs.rip

    def _step(self, task: Task, begins: int, leaf: EncluLeaf, site: int) -> None:
        """Execute some instructions, have the thread taken out and look at it; then go on as if nothing had been."""
        regs = task.regs
        count, flags = next(self.turns[leaf])
        regs.rip, regs.rflags = begins, regs.rflags & ~0x8D5 | flags & 0x8D5
        ptrace.ptrace(ptrace.SETREGS, task.tid, 0, task.regs_pointer)
        task.space.poke(begins, XCHG)
        before, state, aside = ptrace.UserRegs(), task.xsave(), task.aside is not None
        before.load(bytes(regs))
        for _ in range(count):
            ptrace.ptrace(ptrace.SINGLESTEP, task.tid, 0, 0)
            os.waitpid(task.tid, WALL)
        self._rip(task)
        rule = self._rule(task)
        task.fetch()
        task.space.poke(begins, INT3)
        self.met[f"{leaf.name} {rule}"] += 1
        if rule == Rule.OUT.name:
            self.over.add(leaf)
            self.turns[leaf] = _turns()
        if len(self.wrong) < 20:
            self.wrong += [
                f"{leaf.name} {count} {flags:#x} {rule}: {what}"
                for what in self._differences(task, leaf, site, before, state, aside)
            ]
        resume(task)

    def _rule(self, task: Task) -> str:
        taking = task.space.in_process
        assert taking is not None
        rule = taking.trampoline.rule(task.regs.rip, taking.copies)
        return rule.name if rule is not None else Rule.OUT.name

    def _state(self, image: bytearray) -> dict[int, bytes]:
        """What is not initial of the components beyond x87 and SSE, whether the processor has noticed that or not."""
        used = int.from_bytes(image[HEADER : HEADER + 8], "little")
        places = self.machine.layout.places.items()
        found = {number: bytes(image[at : at + size]) for number, (at, size) in places if used >> number & 1}
        return {number: content for number, content in found.items() if any(content)}

    def _differences(
        self, task: Task, leaf: EncluLeaf, site: int, before: ptrace.UserRegs, state: bytearray, aside: bool
    ) -> list[str]:
        regs, mode, found = task.regs, task.mode, []
        wanted = {
            name: getattr(before, name) for name in (*_CALL_ARGUMENTS, "rax", "rcx", "rflags", "fs_base", "gs_base")
        }
        executed = mode.enclave == (leaf == EncluLeaf.EENTER)
        wanted["rip"] = site
        if executed and leaf == EncluLeaf.EENTER:
            secs = self.machine.enclaves[mode.eid]
            tcs = TCS.unpack(secs.used(mode.tcs_la).data)
            wanted |= {
                "rax": tcs["CSSA"], "rcx": site + 3, "rip": secs.baseaddr + tcs["OENTRY"],
                "fs_base": secs.baseaddr + tcs["OFSBASE"], "gs_base": secs.baseaddr + tcs["OGSBASE"],
            }  # fmt: skip
            if tcs["STATE"] != mode.owner or tcs["AEP"] != before.rcx:
                found.append(f"STATE {tcs['STATE']:#x}, AEP {tcs['AEP']:#x}")
            if mode.save_fs_base != before.fs_base or mode.save_gs_base != before.gs_base:
                found.append("saved bases")
        elif executed:
            wanted |= {"rax": 4, "rip": before.rbx, "fs_base": mode.save_fs_base, "gs_base": mode.save_gs_base}
            del wanted["rcx"]
        elif leaf == EncluLeaf.EEXIT:
            del wanted["rcx"]  # which EEXIT does not read
        for name, value in wanted.items():
            if getattr(regs, name) != value:
                found.append(f"{name} {getattr(regs, name):#x} instead of {value:#x}")
        if not mode.enclave:
            busy = any(
                TCS.get(page.data, "STATE")
                for secs in self.machine.enclaves.values()
                if (page := secs.page_at(secs.baseaddr)) is not None
            )
            if mode.tcs_la or busy or task.aside is not None:
                found.append(f"claimed: {mode.tcs_la:#x}, {busy}, {task.aside is not None}")
        if not executed and (self._state(task.xsave()) != self._state(state) or (task.aside is not None) != aside):
            found.append("extended state")
        return found


def main(program: str, *arguments: str) -> None:
    machine = Machine(1 << 26, None, extended_state.layout())
    supervisor = Sweep(machine, delivery.create("vdso"), Events(), in_process=True, pin=False)

    def tell() -> None:
        found = {"met": supervisor.met, "wrong": supervisor.wrong, "over": len(supervisor.over)}
        with open(os.environ["ENCLU_SWEEP"], "w") as file:
            json.dump(found, file)

    supervisor.at_end = tell
    launch.start(program, [program, *arguments], functools.partial(report.supervise, supervisor, subreaper=False))


if __name__ == "__main__":
    main(*sys.argv[1:])
