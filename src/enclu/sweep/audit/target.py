"""The enclave that is audited: in a process that can step, always brought back to the same state."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from enclu.host.errors import HostError, ProcessDied
from enclu.host.events import EnclaveException, Event, Exit, Interrupted
from enclu.sgx.epc import PAGE_SIZE
from enclu.sweep.outcome import shown

if TYPE_CHECKING:
    from enclu.host.enclave import Enclave
    from enclu.host.frames import SsaFrame
    from enclu.host.machine import Machine
    from enclu.host.process import Process
    from enclu.host.stepping import Stepping
    from enclu.host.thread import Entry
    from enclu.sweep.audit.ways.way import Way

LIMIT = 2.0
"""Seconds that an entry may take."""
SETTLE = 60.0
"""Seconds that the enclave's own start may take."""
MOST_RIPS = 1 << 20
READ_WRITE = 3


class Target:
    """Loaded by `load`; `way` says how it is spoken to.  A process that dies is replaced at the next `fresh`."""

    process: Process
    enclave: Enclave
    way: Way
    tcs: int

    def __init__(
        self, machine: Machine, load: Callable[[Process], Enclave], way: Callable[[Target], Way], *, warm: bool = True
    ) -> None:
        self._machine, self._load, self._way, self._warm = machine, load, way, warm
        self._entries: list[Entry] = []
        self._granted: list[int] = []
        self.generation = 0
        """How many processes there have been."""
        self._open()

    def _open(self) -> None:
        self.generation += 1
        self._entries.clear()
        self._granted.clear()
        self.process = self._machine.process(stepping=True)
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise

    def _prepare(self) -> None:
        self.enclave = self._load(self.process)
        self.tcs = self.enclave.tcs_pool.every[-1]
        self.way = self._way(self)
        if self._warm and self.way.warms:
            self._warm_up()
        self.stepping.checkpoint()

    def _warm_up(self) -> None:
        """The first call on a TCS prepares the thread; what is audited is a later one, if that leaves it usable."""
        self.stepping.checkpoint()
        event = self.way.finish(self.enter(self.way.sample().registers))
        self._leave()
        if not isinstance(event, Exit) or self.stepping.tcs(self.tcs)["CSSA"]:
            self.stepping.restore()

    @property
    def stepping(self) -> Stepping:
        return self.enclave.stepping

    @property
    def base(self) -> int:
        return self.enclave.base

    @property
    def end(self) -> int:
        return self.enclave.base + self.enclave.size

    def inside(self, address: int) -> bool:
        """Whether it is in ELRANGE."""
        return self.base <= address < self.end

    def address(self, value: int) -> str:
        """For people: one of the enclave's from ELRANGE's base, which is elsewhere each time."""
        return shown(value, self.base, self.enclave.size)

    def place(self, address: int) -> str:
        """Symbol and offset, or what else the image tells."""
        try:
            return str(self.enclave.place(address))
        except HostError:
            return f"{address - self.base:#x}"

    # Trials.

    def fresh(self) -> None:
        """The enclave is as it was at first, and nothing is planned."""
        if not self.process.alive:
            self.close()
            self._open()
            return
        try:
            self._leave()
            for page in self._granted:
                self.process.syscall("mprotect", page, PAGE_SIZE, READ_WRITE)
            self._granted.clear()
            self.stepping.restore()
            self.stepping.disarm(self.tcs)
        except ProcessDied:
            self.close()
            self._open()

    def _leave(self) -> None:
        while self._entries:
            self._entries.pop().close()

    def enter(self, registers: Mapping[str, int]) -> Entry:
        """EENTER."""
        entry = self.process.thread().enter(self.tcs, **registers, timeout=LIMIT)
        self._entries.append(entry)
        return entry

    @property
    def entry(self) -> Entry:
        """The last one."""
        return self._entries[-1]

    def run_to(
        self, number: int, registers: Mapping[str, int], hostile: Mapping[str, int] | None = None
    ) -> Entry:  # fmt: skip
        """EENTER, and an interrupt after so many instructions, should the enclave come so far: `stopped` tells."""
        self.stepping.arm(self.tcs, until=number, registers=hostile)
        return self.enter(registers)

    def stopped(self, entry: Entry) -> bool:
        """Whether what was planned has happened, and the enclave stands at that AEX."""
        return isinstance(entry.event, Interrupted) and self.stepping.state(self.tcs).stopped

    def go_on(self, entry: Entry, registers: Mapping[str, int] | None = None) -> Event:
        """ERESUME, with nothing planned but, if `registers` are given, to keep those that are left at EEXIT.

        As `step` and `fault`, of an enclave that the audit itself has interrupted, to look at it, or whose page it has
        withdrawn: the call goes on as if it had not, without AEX-Notify.  `step` can notify, too.
        """
        self.stepping.arm(self.tcs, free=True, registers=registers, unnotified=True)
        return entry.resume(LIMIT)

    def step(self, entry: Entry, count: int = 1, *, unnotified: bool = True) -> bool:
        """ERESUME for so many instructions; whether the enclave stands after them."""
        self.stepping.arm(self.tcs, until=count, unnotified=unnotified)
        entry.resume(LIMIT)
        return self.stopped(entry)

    def fault(self, entry: Entry) -> EnclaveException | None:
        """Of an interrupted enclave: the #PF of its next instruction, whose page is withdrawn and given back."""
        page = self.ssa().gprsgx.rip & -PAGE_SIZE
        self.stepping.withdraw(page)
        try:
            event = self.go_on(entry)
        finally:
            self.stepping.grant(page)
        return event if isinstance(event, EnclaveException) and event.vector == 14 else None

    def forge(self, number: int, vector: int, registers: Mapping[str, int], hostile: Mapping[str, int] | None) -> Entry:
        """EENTER, and after so many instructions an exception that no host could bring about."""
        self.stepping.arm(self.tcs, until=number, vector=vector, registers=hostile)
        return self.enter(registers)

    def ssa(self, index: int = 0) -> SsaFrame:
        """A frame of the TCS's SSA."""
        return self.stepping.ssa(self.tcs, index)

    def withdraw_outside(self, page: int) -> None:
        """Take a page of untrusted memory away, until `grant_outside` or the next `fresh`."""
        self._granted.append(page)
        self.process.syscall("mprotect", page, PAGE_SIZE, 0)

    def grant_outside(self, page: int) -> None:
        self.process.syscall("mprotect", page, PAGE_SIZE, READ_WRITE)

    def close(self) -> None:
        """End the process."""
        self._entries.clear()
        with contextlib.suppress(HostError):
            self.process.close()


def told(event: Event) -> str:
    """How an enclave was left, in words."""
    if isinstance(event, Exit):
        return "it left by EEXIT"
    if isinstance(event, Interrupted):
        return f"it had not left after {LIMIT:g} s"
    what = "EENTER itself" if event.leaf == 2 else "the enclave"
    where = f" at {event.address:#x}" if event.address else ""
    return f"{event.name} of {what}{where}"
