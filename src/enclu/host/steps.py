"""An ECALL step by step: `Enclave.step`, with callbacks as SGX-Step has them.

A `Run` is one such call.  It plans by `Stepping.arm` what is to happen next, is told by the convention when that has
left the enclave (`FaultWatcher`), asks the callback what comes then, and has the enclave resumed.
"""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from enclu.host.errors import HostError
from enclu.host.stepping import ALWAYS, FaultWatcher, Left, Stepping
from enclu.sgx.epc import PAGE_SIZE
from enclu.sgx.exceptions import PFEC, Vector

if TYPE_CHECKING:
    from enclu.host.events import EnclaveException
    from enclu.host.frames import SsaFrame
    from enclu.host.images import Image
    from enclu.host.stepping import Watcher
    from enclu.host.thread import CallUnderWay


class Move(enum.Enum):
    """What comes next, as callbacks return it; None is STEP for `on_step`, and for `on_page` what was planned."""

    STEP = "step"
    """One instruction, then the next interrupt."""
    ZERO_STEP = "zero-step"
    """ERESUME, and an interrupt before the instruction has been executed."""
    TO_PAGE = "to page"
    """On to the next page that has been withdrawn, without interrupts."""
    FREE = "free"
    """To the end: neither interrupts nor pages any more."""
    ABANDON = "abandon"
    """The enclave is not resumed: its thread stays interrupted, and the call has no result."""


@dataclass(frozen=True)
class RunTo:
    """On to before the instruction at this address is executed, for the `times`-th time from here on."""

    address: int
    times: int = 1


@dataclass(frozen=True)
class Skip:
    """On by so many instructions."""

    instructions: int


Next = Move | RunTo | Skip | None


@dataclass(frozen=True)
class Stop:
    """The enclave has been left by an AEX, and stands before an instruction."""

    number: int
    """How many instructions it has executed since its ECALL began, as far as they are counted: `Enclave.step`."""
    call: CallUnderWay
    stepping: Stepping = field(repr=False)

    @property
    def tcs(self) -> int:
        """Address of the TCS."""
        return self.call.tcs

    @property
    def ssa(self) -> SsaFrame:
        """The registers, as the AEX saved them; of a production enclave, too, where no host could see them."""
        return self.stepping.ssa(self.call.tcs)

    @property
    def rip(self) -> int:
        """The instruction that comes next."""
        return self.ssa.gprsgx.rip


@dataclass(frozen=True)
class Step(Stop):
    """An interrupt."""

    again: int = 0
    """How many there have been here before it, without progress."""


@dataclass(frozen=True)
class PageFault(Stop):
    """The instruction has touched a page that was withdrawn.  It is there again when the enclave goes on."""

    page: int = 0
    """Address of the page: a host learns no more of an address."""
    access: str = ""
    """"read", "write" or "fetch"."""


@dataclass
class StepTrace:
    """What came of `Enclave.step`."""

    result: Any = None
    """The ECALL's; None if it was abandoned."""
    abandoned: bool = False
    instructions: int = 0
    """Those that were counted.  A repetition of a string instruction is one."""
    rips: list[int] = field(default_factory=list, repr=False)
    """Addresses of those that were executed, as many as were to be recorded."""
    interrupts: int = 0
    faults: list[PageFault] = field(default_factory=list)
    """Of pages that were withdrawn."""
    left: Left | None = None
    """What the enclave left in registers at its last EEXIT, if `registers` were given."""
    drawn: int = 0
    """Results of RDRAND, RDSEED, RDTSC and RDTSCP that had not been recorded before: with 0, the same call from the
    same checkpoint executes the same instructions."""


StepCallback = Callable[[Step], Next]
PageCallback = Callable[[PageFault], Next]


class Steppable(Protocol):
    """The enclave, as who steps through it knows it."""

    image: Image
    base: int
    watcher: Watcher | None

    @property
    def stepping(self) -> Stepping: ...

    def ecall(self, function: Any, *args: Any, timeout: float | None = None, **named: Any) -> Any: ...


class Abandoned(HostError):
    """A callback has given up the call."""


@dataclass
class Wishes:
    """Arguments of `Enclave.step`."""

    on_step: StepCallback | None
    at: int | None
    address: int | None
    times: int
    pages: Iterable[int]
    on_page: PageCallback | None
    registers: Mapping[str, int] | None
    record: int


@dataclass
class Goal:
    """Where the next interrupt is to come: what of a plan concerns the user."""

    until: int = ALWAYS
    """Instructions that are left."""
    address: int = 0
    times: int = 1
    free: bool = False


class Run:
    """One ECALL under the eyes of its host."""

    def __init__(self, enclave: Steppable, wishes: Wishes) -> None:
        self.stepping = enclave.stepping
        self.pages = self._checked(enclave, wishes.pages)
        self.trace = StepTrace()
        self._wishes = wishes
        self._lock = threading.RLock()
        self._withdrawn: set[int] = set()
        self._touched: list[int] = []
        """Pages that were given back, and are to be withdrawn when the enclave has gone on to others."""
        self._base = 0
        """Instructions before the plan that is under way."""
        self._goal = Goal()
        self._between = False
        """One instruction is executed before the goal is, after which pages that it needed are withdrawn."""
        self._again = 0
        self._last = -1
        """Number of the last Step."""
        self._room = 0
        self._planned = False
        """There is a plan, which is this one's."""
        self._counted = True
        """The trace has what has come of it, and another is to follow."""
        self.tcs = 0
        """Once the enclave has been entered."""

    @staticmethod
    def _checked(enclave: Steppable, pages: Iterable[int]) -> list[int]:
        """Pages, each once.  Raises HostError for one without which there is no AEX."""
        found = sorted({address & -PAGE_SIZE for address in pages})
        own = enclave.stepping.own_pages() if found else frozenset()
        for page in found:
            if page in own:
                raise HostError(
                    f"{enclave.image.path}: the page at {page:#x} has a TCS or its SSA, which each AEX needs: "
                    "it cannot be withdrawn"
                )
            if not enclave.image.protection(page - enclave.base):
                raise HostError(f"{enclave.image.path}: the enclave has no page at {page:#x} that it may touch")
        return found

    # What the convention tells.

    def enters(self, call: CallUnderWay) -> None:
        """The first entry of the call begins it; what comes after OCALLs belongs to it."""
        if self.tcs:
            return
        self.tcs = call.tcs
        with self._lock:
            for page in self.pages:
                self._withdraw(page)
        wishes = self._wishes
        if wishes.at is not None or wishes.address is not None:
            until = ALWAYS if wishes.at is None else wishes.at
            self._aim(Goal(until, wishes.address or 0, wishes.times))
        else:
            self._goal = Goal(free=True) if wishes.on_step is None else Goal(until=0)
        self._arm(self._goal)

    def interrupted(self, call: CallUnderWay) -> bool:
        """Ask what comes after the interrupt, and resume; False if it was none that was planned."""
        if call.tcs != self.tcs or not self.stepping.state(self.tcs).stopped:
            return False
        self._count()
        with self._lock:
            rip = self._moved_on(call)
        goal, between, self._between = self._goal, self._between, False
        if between and goal.until and rip != goal.address:
            self._arm(goal)
        else:
            self._stopped(call)
        call.entry.resume(call.left())
        return True

    def _stopped(self, call: CallUnderWay) -> None:
        """An interrupt that was asked for."""
        trace, ask = self.trace, self._wishes.on_step
        trace.interrupts += 1
        self._again = self._again + 1 if self._last == trace.instructions else 0
        self._last = trace.instructions
        step = Step(trace.instructions, call, self.stepping, self._again)
        chosen = Move.FREE if ask is None else self._asked(ask, step)
        self._do(call, Move.STEP if chosen is None else chosen)

    def faulted(self, call: CallUnderWay, exception: EnclaveException) -> bool:
        """If the exception is that of a page that was withdrawn, tell of it, and resume."""
        page = exception.address & -PAGE_SIZE
        mine = call.tcs == self.tcs
        with self._lock:
            if exception.vector != Vector.PF or page not in self._withdrawn:
                return False
            if mine and self._count():
                self._moved_on(call)
            self._grant(page)
            self._touched.append(page)
        if mine:
            code = exception.error_code
            access = "fetch" if code & PFEC.I else "write" if code & PFEC.W else "read"
            fault = PageFault(self.trace.instructions, call, self.stepping, page, access)
            self.trace.faults.append(fault)
            chosen = self._asked(self._wishes.on_page, fault) if self._wishes.on_page is not None else None
            if chosen is None:
                self._go(call)
            else:
                self._do(call, chosen)
        call.entry.resume(call.left())
        return True

    def over(self) -> None:
        """Nothing is planned any more, and all pages are there.  May be called again."""
        with self._lock:
            self._grant_all()
        if self._planned:
            self._count()
            if self._wishes.registers is not None:
                self.trace.left = self.stepping.left(self.tcs)
            self.stepping.disarm(self.tcs)
            self._planned = False

    # What is asked for.

    def _asked(self, ask: Callable[[Any], Next], stop: Stop) -> Next:
        chosen = ask(stop)
        if chosen is None or isinstance(chosen, Move | RunTo | Skip):
            return chosen
        raise HostError(f"the callback returned {chosen!r}, which is none of Move, RunTo and Skip")

    def _do(self, call: CallUnderWay, chosen: Move | RunTo | Skip) -> None:
        """What comes next, when the enclave is resumed."""
        here = False
        match chosen:
            case Move.STEP:
                self._goal = Goal(until=1)
            case Move.ZERO_STEP:
                self._goal = Goal(until=0)
            case Skip(instructions):
                self._goal = Goal(until=instructions)
            case RunTo(address, times):
                here = self.stepping.ssa(call.tcs).gprsgx.rip == address
                self._aim(Goal(address=address, times=times))
            case Move.ABANDON:
                raise Abandoned
            case Move.TO_PAGE:
                self._goal = Goal(free=True)
            case Move.FREE:
                with self._lock:
                    self._grant_all()
                    self.pages = []
                self._goal = Goal(free=True)
        self._go(call, here=here)

    def _aim(self, goal: Goal) -> None:
        """Raises HostError where arrivals cannot be counted, for plans are made anew at each page."""
        if goal.times > 1 and self.pages:
            raise HostError("the so many-th time at an address cannot be told while pages are withdrawn")
        self._goal = goal

    def _go(self, call: CallUnderWay, *, here: bool = False) -> None:
        """On to the goal; first by one instruction where that is not to be the goal itself, or needs several pages."""
        self._between = bool(self._goal.until) and (here or self._needs_several(call))
        self._arm(Goal(until=1) if self._between else self._goal)

    def _arm(self, goal: Goal) -> None:
        wishes = self._wishes
        self._room = max(0, wishes.record - len(self.trace.rips))
        if wishes.record or self.pages:
            self._room = max(self._room, 1)  # which has instructions counted
        self._room = min(self._room, goal.until)
        registers = wishes.registers
        if self._planned and registers is not None:
            registers = {}
        self.stepping.arm(
            self.tcs, until=goal.until, address=goal.address, times=goal.times, free=goal.free, room=self._room,
            registers=registers,
        )  # fmt: skip
        self._base = self.trace.instructions
        self._planned, self._counted = True, False

    def _count(self) -> int:
        """What has come of the plan belongs to the trace; how many instructions it was."""
        if self._counted:
            return 0
        self._counted = True
        state, rips = self.stepping.told(self.tcs, self._room)
        trace = self.trace
        trace.instructions = self._base + state.executed
        trace.drawn += state.drawn
        trace.rips += rips[: max(0, self._wishes.record - len(trace.rips))]
        if self._goal.until != ALWAYS:
            self._goal.until = max(0, self._goal.until - state.executed)
        return state.executed

    # Pages.

    def _needs_several(self, call: CallUnderWay) -> bool:
        """The instruction that comes next needs a page besides that of its own beginning."""
        if not self._touched:
            return False
        code = self.stepping.ssa(call.tcs).gprsgx.rip & -PAGE_SIZE
        return any(page != code for page in self._touched)

    def _moved_on(self, call: CallUnderWay) -> int:
        """Withdraw what the enclave has touched, but where its next instruction is; the address of that, if need be."""
        if not self._touched and not self._between:
            return 0
        rip = self.stepping.ssa(call.tcs).gprsgx.rip
        for page in self._touched:
            if page != rip & -PAGE_SIZE:
                self._withdraw(page)
        self._touched = [page for page in self._touched if page == rip & -PAGE_SIZE]
        return rip

    def _withdraw(self, page: int) -> None:
        self.stepping.withdraw(page)
        self._withdrawn.add(page)

    def _grant_all(self) -> None:
        for page in sorted(self._withdrawn):
            self._grant(page)
        self._touched.clear()

    def _grant(self, page: int) -> None:
        self.stepping.grant(page)
        self._withdrawn.discard(page)


class Runs(FaultWatcher):
    """Of one enclave, by Python thread: two may step through it at once, each on a TCS of its own."""

    def __init__(self) -> None:
        self.of_thread: dict[int, Run] = {}

    def _mine(self) -> Run | None:
        return self.of_thread.get(threading.get_ident())

    def enters(self, call: CallUnderWay) -> None:
        run = self._mine()
        if run is not None:
            run.enters(call)

    def interrupted(self, call: CallUnderWay) -> bool:
        run = self._mine()
        return run is not None and run.interrupted(call)

    def faulted(self, call: CallUnderWay, exception: EnclaveException) -> bool:
        """A page that one thread's run has withdrawn is missing to all."""
        mine = self._mine()
        others = [run for run in list(self.of_thread.values()) if run is not mine]
        return any(run.faulted(call, exception) for run in [*([mine] if mine else []), *others])

    def returned(self, call: CallUnderWay, result: Any) -> None:
        """What the ECALL gives is the trace's result."""

    def gives_up(self, call: CallUnderWay) -> None:
        run = self._mine()
        if run is not None and call.tcs == run.tcs:
            run.over()


_lock = threading.Lock()


def step(
    enclave: Steppable, wishes: Wishes, function: Any, args: tuple[Any, ...], timeout: float | None,
    named: dict[str, Any],
) -> StepTrace:  # fmt: skip
    """See `Enclave.step`."""
    run, me = Run(enclave, wishes), threading.get_ident()
    with _lock:
        if enclave.watcher is None:
            enclave.watcher = Runs()
        runs = enclave.watcher
        if not isinstance(runs, Runs) or me in runs.of_thread:
            raise HostError(f"{enclave.image.path}: the enclave is being stepped through already")
        runs.of_thread[me] = run
    try:
        run.trace.result = enclave.ecall(function, *args, timeout=timeout, **named)
    except Abandoned:
        run.trace.abandoned = True
    finally:
        try:
            run.over()
        finally:
            with _lock:
                del runs.of_thread[me]
                if not runs.of_thread:
                    enclave.watcher = None
    return run.trace
