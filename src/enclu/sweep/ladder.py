"""Every instruction of one call tried, at a cost that does not grow with how many there are.

An enclave that was interrupted after instruction n *is* the checkpoint of that moment, for SSA and TCS are its memory.
So there is one call, which is interrupted at one instruction after the other, and at each: the host does what it is to
do, the call runs to its end, all is restored, and the call goes on to the next.  Every few instructions the checkpoint
is moved along.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from enclu.host.convention import Convention
from enclu.host.errors import EnclaveTimeout, HostError, ProcessDied
from enclu.host.events import EnclaveException, Exit, Interrupted
from enclu.host.stepping import ALWAYS, FaultWatcher
from enclu.sgx.exceptions import PFEC, Vector
from enclu.sgx.structs import EncluLeaf
from enclu.sweep.behaviour import INTERRUPT, PAGE_FAULT, Action, Behaviour, Move
from enclu.sweep.host_state import HostState, OwnMemory, shared
from enclu.sweep.outcome import Kind, Outcome, Run, judge

if TYPE_CHECKING:
    from enclu.host.call import Call
    from enclu.host.enclave import Enclave
    from enclu.host.stepping import Stepped, Stepping
    from enclu.host.thread import CallUnderWay

SWITCHED = 256
"""Instructions within which an enclave has its own stack."""
BELOW = 64
"""Bytes below where the enclave's stack pointer is at first."""
BETWEEN = 16
"""Instructions from one rung to the next."""
BEGINNING, RUNG = 0, 1
"""Numbers of checkpoints: before the call, and at the instruction that is tried."""
CLEARED = 16384
"""Bytes below the untrusted stack pointer that are zero whenever the enclave is entered: what an interrupt leaves there
of its handler is nothing that an enclave has put there, and would make runs differ that are alike."""
HANG = 2.0
"""Seconds after which a call is said to hang."""
WARM = 60.0
"""Seconds that a call may take that comes before the first that counts."""
MOST = 1 << 18
"""Instructions of a call that are stepped through, from the first on, unless more are asked for."""


class SweepError(HostError):
    """The call cannot be swept."""


class NoSuchMemory(SweepError):
    """Host and enclave share less in this call than the host is to change."""


class NoReference(SweepError):
    """The call does not return, though nobody disturbs it."""


@dataclass(frozen=True)
class Point:
    """What came of it at one instruction."""

    number: int
    """How many instructions of the call had been executed."""
    rip: int
    """The next one, from ELRANGE's base."""
    outcome: Outcome


class Session:
    """One enclave, and the call of it that is swept: `make` makes it, once it is called."""

    def __init__(
        self, enclave: Enclave, make: Callable[[Enclave], object], *, rsp: int | None = None, hang: float = HANG
    ) -> None:  # fmt: skip
        """`rsp` is what the host has in RSP at the call's first EENTER.  Raises HostError where nothing steps."""
        self.enclave = enclave
        self.stepping: Stepping = enclave.stepping
        self.base = enclave.base
        self.rips: list[int] = []
        """What is next after so many instructions of the undisturbed call, from ELRANGE's base."""
        self.entries: list[int] = []
        """After how many the enclave is entered."""
        self.reference = Run()
        self.tcs = 0
        self.longer = False
        """The call executes more instructions than those."""
        self.drawn = 0
        """Results of RDRAND and its like that later runs drew, and the first had not: 0 where runs are alike."""
        self.unlike = ""
        """How two undisturbed calls from the same checkpoint have differed; nothing if they have not."""
        self.registers = None if rsp is None else {"rsp": rsp}
        """What the host has in registers at the call's first EENTER; None: its own."""
        self._make = make
        self.hang = hang
        """Seconds after which the call is said to hang."""
        self._shared: dict[int, bytes] = {}
        self._kept: set[int] = set()

    def prepare(self, warm: int = 1, most: int = MOST) -> None:
        """Make the call: `warm` times for what happens once only, and then from a checkpoint, recorded.

        Of the instructions, up to `most` are known afterwards.  Raises NoReference if it does not return by itself.
        """
        self._keep()
        for _ in range(warm or 1):
            self._try_out()
        if warm:
            self._keep()
        else:
            self._back()
        first = _Recorded(self, most)
        self._call(first)
        self.tcs, self.reference, self.longer = first.tcs, first.run, first.longer
        self.rips = [rip - self.base for rip in first.rips]
        self.entries = [number for number, rip in enumerate(self.rips) if rip == self.rips[0]]
        for number, rip in first.faulting.items():
            self.rips[number : number + 1] = [rip]
        self._back()
        self._check(self.reference)
        again = _Plain(self)
        self._call(again)
        self.drawn += self.stepping.state(self.tcs).drawn
        self._back()
        self._check(again.run)
        self.unlike = again.run.differs(self.reference, {})

    def _try_out(self) -> None:
        """One that returns, before any that is recorded, for that has no limit."""
        plain = _Plain(self, limit=WARM)
        self._call(plain)
        self.tcs = plain.tcs
        if plain.run.ended is not None:
            self._back()
        self._check(plain.run, WARM)

    def _check(self, undisturbed: Run, limit: float | None = None) -> None:
        """Raises NoReference if it has not returned."""
        if undisturbed.ended is Kind.HANG:
            raise NoReference(f"{self.enclave.image.path}: the call, undisturbed, takes longer than "
                              f"{limit or self.hang:g} seconds")  # fmt: skip
        if undisturbed.ended is not None:
            raise NoReference(f"{self.enclave.image.path}: the call, undisturbed, ends so: {undisturbed.ended}, "
                              f"{undisturbed.note}")  # fmt: skip

    def close(self) -> None:
        """Leave the enclave as it was when the call began, and keep nothing."""
        if self.enclave.process.alive:
            for number in self._kept:
                self.stepping.drop(number)
            if self.tcs:
                self.stepping.disarm(self.tcs)
        self._kept.clear()

    def _keep(self) -> None:
        """The call begins here."""
        self.checkpoint(BEGINNING)
        self._shared = shared(self.enclave.process)

    def checkpoint(self, number: int) -> None:
        """One that is kept until `close`."""
        self.stepping.checkpoint(number)
        self._kept.add(number)

    def _back(self) -> None:
        """To where the call begins."""
        self.stepping.restore(BEGINNING)
        for address, content in self._shared.items():
            self.enclave.process.memory.write(address, content)

    def point_into_stack(self) -> int:
        """From now on the host's RSP at the first EENTER points into the enclave's stack; where.

        That is below what the call has on it when the enclave has switched to it.  Raises SweepError where it never
        does.
        """
        probe = _Probe(self)
        self._call(probe)
        self._back()
        if not probe.found:
            raise SweepError(f"{self.enclave.image.path}: within {SWITCHED} instructions RSP is never in the enclave")
        self.registers = {"rsp": probe.found - BELOW}
        return probe.found - BELOW

    def changed(self, behaviour: Behaviour) -> Run | None:
        """The call with the memory changed before it begins; None if the behaviour changes none.

        If that kills the process, the run has ended so, and another session is needed.
        """
        if not behaviour.writes:
            return None
        changed, own = _Changed(self, behaviour), OwnMemory(self.enclave.process)
        try:
            self._call(changed)
            own.check()
        except ProcessDied as error:
            return Run(ended=Kind.HARMED, note=str(error))
        self._back()
        return changed.run

    def sweep(
        self, behaviour: Behaviour, points: Sequence[int], told: Callable[[Point], object], changed: Run | None = None
    ) -> None:  # fmt: skip
        """Do it at these instructions, in their order.  Raises ProcessDied where that has killed the process.

        `told` is called with each verdict; `changed` is what `changed` says.
        """
        if not points:
            return
        ladder = _Ladder(self, behaviour, list(points), changed, told)
        try:
            self._call(ladder)
        finally:
            if self.enclave.process.alive:
                self._back()

    def _call(self, watcher: _Watcher) -> None:
        enclave = self.enclave
        before, enclave.watcher = enclave.watcher, watcher
        enclave.process.arena.settle()
        try:
            self._make(enclave)
        except ProcessDied:
            raise
        except Exception as error:
            watcher.failed(error)
        finally:
            enclave.watcher = before


class _Watcher(FaultWatcher):
    """What a call is made under.  Of calls that OCALLs make, nothing is asked."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.stepping = session.stepping
        self.run = Run()
        self.tcs = 0
        self.over = False
        """The enclave has returned."""
        self.meddling = False
        """The host enters the enclave for reasons of its own."""
        self._call: Call | None = None
        self._blocks: frozenset[int] = frozenset()

    def enters(self, call: CallUnderWay) -> None:
        if self._call is None:
            self._call = call  # type: ignore[assignment]
            self.tcs = call.tcs
            self._blocks = frozenset(shared(self.session.enclave.process))
            self.begins()
        elif call is self._call and isinstance(call.entry.event, Exit) and not self.meddling:
            self.current.ocalls.append(call.entry.event.registers.rdi)

    @property
    def current(self) -> Run:
        """The run that is under way."""
        return self.run

    def begins(self) -> None:
        """The first EENTER is next."""

    def interrupted(self, call: CallUnderWay) -> bool:
        return False

    def faulted(self, call: CallUnderWay, exception: EnclaveException) -> bool:
        return False

    def gives_up(self, call: CallUnderWay) -> None:
        """The enclave is brought back to where the call began, and has nothing to give up."""
        if call is self._call:
            self._call.unfinished = False

    def returned(self, call: CallUnderWay, result: Any) -> None:
        if call is self._call:
            now = shared(self.session.enclave.process)
            run, self.over = self.current, True
            run.result, run.memory = result, {address: now.get(address, b"") for address in self._blocks}
            convention = self.session.enclave.convention
            run.refusal = convention.refusal(result) if isinstance(convention, Convention) else ""

    def failed(self, error: Exception) -> None:
        """The call has raised something."""
        if self.over:
            return  # what its convention makes of what it has returned is not asked
        if isinstance(error, EnclaveTimeout):
            self.run.ended, self.run.note = Kind.HANG, ""
        elif isinstance(error, EnclaveException):
            self.run.ended, self.run.note = Kind.CRASH, _exception(self.session, error)
        else:
            raise error


class _Plain(_Watcher):
    """Undisturbed."""

    room = 0

    def __init__(self, session: Session, limit: float | None = None) -> None:
        super().__init__(session)
        self._limit = session.hang if limit is None else limit

    def begins(self) -> None:
        assert self._call is not None
        if not self.room:
            self._call.limit(self._limit)
        until, entered = self.room or ALWAYS, self.session.registers
        free = not self.room
        self.stepping.arm(self.tcs, until=until, free=free, room=self.room, registers=entered, clear=CLEARED)


class _Changed(_Plain):
    """With memory that is changed before it begins."""

    def __init__(self, session: Session, behaviour: Behaviour) -> None:
        super().__init__(session)
        self._behaviour = behaviour

    def begins(self) -> None:
        for action in self._behaviour.writes:
            _write(self.session, action, self._blocks)
        super().begins()

    def failed(self, error: Exception) -> None:
        try:
            super().failed(error)
        except SweepError:
            raise
        except Exception:
            self.run.ended, self.run.note = Kind.DIFFERENT, _raised(error)


class _Recorded(_Plain):
    """Instruction by instruction, which takes its time."""

    def __init__(self, session: Session, most: int) -> None:
        super().__init__(session)
        self.room = most
        self.rips: list[int] = []
        self.longer = False
        """There were more instructions, which ran freely."""
        self.faulting: dict[int, int] = {}
        """Where an instruction had an exception, from ELRANGE's base, by how many had been executed.

        Of what is executed next, in the enclave's handler, the first comes after as many: it has no number of its own.
        """

    def interrupted(self, call: CallUnderWay) -> bool:
        if call is not self._call or self.longer or not self.stepping.state(self.tcs).stopped:
            return False
        assert self._call is not None
        self.rips, self.longer = self.stepping.rips(self.tcs), True
        self.stepping.arm(self.tcs, free=True, clear=CLEARED)
        self._call.limit(self.session.hang)
        self._call.entry.resume(self.session.hang)
        return True

    def returned(self, call: CallUnderWay, result: Any) -> None:
        super().returned(call, result)
        if call is self._call and not self.longer:
            self.rips = self.stepping.rips(self.tcs)

    def faulted(self, call: CallUnderWay, exception: EnclaveException) -> bool:
        if call is self._call and not self.longer:
            state = self.stepping.state(self.tcs)
            self.faulting[state.executed] = state.rip - self.session.base
        return False


class _Probe(_Watcher):
    """Looks for RSP in the enclave."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.found = 0
        self._count = 0

    def begins(self) -> None:
        self.stepping.arm(self.tcs, until=0)

    def interrupted(self, call: CallUnderWay) -> bool:
        enclave = self.session.enclave
        state = self.stepping.state(self.tcs)
        if call is not self._call or not state.stopped:
            return False
        self._count += 1
        if enclave.base <= state.rsp < enclave.base + enclave.size:
            self.found = state.rsp
        if self.found or self._count > SWITCHED:
            self.stepping.disarm(self.tcs)
        else:
            self.stepping.arm(self.tcs, until=1)
        assert self._call is not None
        self._call.entry.resume(self.session.hang)
        return True


class _Ladder(_Watcher):
    """The call that is swept."""

    def __init__(
        self, session: Session, behaviour: Behaviour, points: list[int], changed: Run | None,
        told: Callable[[Point], object],
    ) -> None:  # fmt: skip
        super().__init__(session)
        self._behaviour, self._points, self._changed, self._told = behaviour, points, changed, told
        self._at = 0
        self._top = 0
        """URSP at the first point."""
        self._rung: tuple[int, int, HostState] | None = None
        """Where the checkpoint is: after how many instructions, OCALLs and exceptions; and the host's side of it."""
        self._own = OwnMemory(session.enclave.process)
        self._tail: Run | None = None
        """Of the point that is being tried."""

    @property
    def current(self) -> Run:
        return self._tail if self._tail is not None else self.run

    def begins(self) -> None:
        self.session.checkpoint(RUNG)
        self.stepping.arm(self.tcs, until=self._points[0], registers=self.session.registers, clear=CLEARED)

    def interrupted(self, call: CallUnderWay) -> bool:
        if self._tail is not None or call is not self._call:
            return False
        state = self.stepping.state(self.tcs)
        if not state.stopped:
            return False
        assert self._call is not None
        number = self._points[self._at]
        self._told(self._try(self._call, number, state))
        self._at += 1
        assert self._rung is not None
        over = self._at == len(self._points)
        until = 0 if over else self._points[self._at] - self._rung[0]
        self.stepping.arm(self.tcs, until=until, free=over, stack=self._rung[2].stack, clear=CLEARED)
        self._call.entry.resume()  # undisturbed, however long it takes to step there
        return True

    def _try(self, call: Call, number: int, state: Stepped) -> Point:
        rip = state.rip - self.session.base
        before = self._climbed(call, number, state)
        run = self._tail = Run(ocalls=list(self.run.ocalls))
        try:
            self._tamper(call, run, state)
            self._own.check()
        except ProcessDied as error:
            self._told(Point(number, rip, Outcome(Kind.HARMED, str(error), tuple(run.answers))))
            raise
        finally:
            self._tail = None
        before.restore()
        self.stepping.restore(RUNG)
        but: dict[int, list[range]] = {}
        for action in self._behaviour.writes:
            address = sorted(self._blocks)[action.block]
            but.setdefault(address, []).append(range(action.offset, action.offset + len(action.data)))
        return Point(number, rip, judge(run, self.session.reference, self._changed, but))

    def _climbed(self, call: Call, number: int, state: Stepped) -> HostState:
        """The host's side of the checkpoint from which this point is reached, moved here if that is worth while.

        To step a few instructions again is cheaper than to look for what each of them has changed.  Neither is an
        OCALL made again, nor an exception served.
        """
        rung, served = self._rung, len(self.run.ocalls) + call.exceptions
        if rung is None or number - rung[0] >= BETWEEN or served != rung[1]:
            self.stepping.move(RUNG)
            self._top = self._top or state.ursp
            rung = self._rung = number, served, HostState(call, state.ursp, self._top)
        return rung[2]

    def _tamper(self, call: Call, run: Run, state: Stepped) -> None:
        """The event, what the host does then, and the rest of the call."""
        call.limit(self.session.hang)
        try:
            exception = self._bring_about(call, state.rip)
            run.ended = Kind.LEFT
            if exception is None and self._behaviour.event != INTERRUPT:
                run.note = f"no exception came, but {type(call.entry.event).__name__}"
                return
            for action in self._behaviour.actions:
                if action.move is Move.RESUME:
                    run.ended = None
                    self._go_on(call)
                    return
                self._act(call, run, action, exception, state)
        except EnclaveTimeout:
            run.ended = Kind.HANG
        except EnclaveException as error:
            run.ended, run.note = Kind.CRASH, _exception(self.session, error)
        except (ProcessDied, SweepError):
            raise
        except Exception as error:  # of the host's own code: an OCALL's, or its convention's
            run.ended, run.note = Kind.DIFFERENT, _raised(error)

    def _go_on(self, call: Call) -> None:
        convention = self.session.enclave.convention
        assert isinstance(convention, Convention)
        call.entry.resume(self.session.hang)
        for exception in reversed(call.repairs):  # the innermost first, whose handler has been interrupted
            if not convention.repaired(call, exception):
                event = call.entry.event
                if isinstance(event, Interrupted):
                    raise EnclaveTimeout
                raise event if isinstance(event, EnclaveException) else exception
            call.entry.resume(call.left())
        convention.go_on(call)

    def _bring_about(self, call: Call, rip: int) -> EnclaveException | None:
        """The exception at the instruction that is next, if there is to be one; the enclave stands at its AEX."""
        behaviour, stepping = self._behaviour, self.stepping
        if behaviour.event == PAGE_FAULT:
            stepping.withdraw(rip)
        elif behaviour.vector is not None:
            stepping.arm(self.tcs, until=0, vector=behaviour.vector, clear=CLEARED)
        else:
            return None
        try:
            call.entry.resume(self.session.hang)
        finally:
            if behaviour.event == PAGE_FAULT:
                stepping.grant(rip)
            else:
                stepping.arm(self.tcs, free=True, clear=CLEARED)
        event = call.entry.event
        if isinstance(event, EnclaveException):
            call.met(event)
            return event
        return None

    def _act(
        self, call: Call, run: Run, action: Action, exception: EnclaveException | None, state: Stepped
    ) -> None:  # fmt: skip
        """What a host does before it resumes."""
        if action.move is Move.WRITE:
            _write(self.session, action, self._blocks)
        elif action.move is Move.HANDLE:
            self._handle(call, run, exception, state)
        else:
            self._once_more(call, run, call.tcs if action.move is Move.AGAIN else self._another())

    def _another(self) -> int:
        tcs = [tcs for tcs in self.session.enclave.tcs if tcs != self.tcs]
        if not tcs:
            raise SweepError(f"{self.session.enclave.image.path}: it has one TCS, and no other to make the call on")
        return tcs[-1]

    def _handle(self, call: Call, run: Run, exception: EnclaveException | None, before: Stepped) -> None:
        stepping, enclave = self.stepping, call.enclave
        convention = enclave.convention
        assert isinstance(convention, Convention)
        if exception is None:  # the host says so; nothing in the SSA does
            exception = EnclaveException(Vector.PF, PFEC.U, 0, EncluLeaf.ERESUME, call.entry.event.registers)
            call.met(exception)
        before = stepping.state(self.tcs)
        self.meddling = True
        try:
            accepted = convention.repair(call, exception)
        finally:
            self.meddling = False
        event = call.entry.event
        if isinstance(event, EnclaveException) and event.leaf is EncluLeaf.EENTER:
            run.answers.append(f"handler: no entry, {event.name}")
            return
        stepping.disarm(self.tcs)  # what it has put on the stack that it found is its own
        notes = [note.rpartition(" returned ")[2] for note in getattr(exception, "__notes__", [])]
        if isinstance(event, EnclaveException) and event is not exception:
            raise event
        if isinstance(event, Interrupted):
            raise EnclaveTimeout
        after = stepping.state(self.tcs)
        moved = (before.rip, before.rsp) != (after.rip, after.rsp)
        # An answer is no verdict: some runtimes say that they go on, and have changed nothing.
        run.refused = not accepted
        said = "handler: accepted" if accepted else "handler: refused" + (f", {notes[0]}" if notes else "")
        run.answers.append(said + (", and has changed where it goes on" if moved else ""))

    def _once_more(self, call: Call, run: Run, tcs: int) -> None:
        which = "the same TCS" if tcs == call.tcs else "another TCS"
        with call.thread.enter(tcs, **dict(call.registers), timeout=self.session.hang) as entry:
            event = entry.event
        if isinstance(event, Exit):
            answer = f"{event.registers.rdi:#x}, {event.registers.rsi:#x}"
        else:
            answer = "a hang" if isinstance(event, Interrupted) else event.name
        run.answers.append(f"the call on {which}: {answer}")


def _write(session: Session, action: Action, blocks: frozenset[int]) -> None:
    """Change the shared memory.  Raises NoSuchMemory."""
    if action.block >= len(blocks):
        raise NoSuchMemory(f"{action}: host and enclave share {_counted(len(blocks))} of memory in this call")
    session.enclave.process.memory.write(sorted(blocks)[action.block] + action.offset, action.data)


def _counted(blocks: int) -> str:
    return "1 block" if blocks == 1 else f"{blocks} blocks"


def _raised(error: Exception) -> str:
    return f"the host raises {type(error).__name__}: {error}"


def _exception(session: Session, error: EnclaveException) -> str:
    where = ""
    if session.base <= error.address < session.base + session.enclave.size:
        where = " at its own memory"
    elif error.address:
        where = " at memory of the host's" if error.address < session.base else " at memory outside"
    return f"{error.name}{where}"
