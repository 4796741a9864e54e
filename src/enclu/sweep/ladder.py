"""Every instruction of one call tried, at a cost that does not grow with how many there are.

An enclave that was interrupted after instruction n *is* the checkpoint of that moment, for SSA and TCS are its memory.
So there is one call, which is interrupted at one instruction after the other, and at each: the checkpoint is moved
there, the host does what it is to do, the call runs to its end, all is restored, and the call goes on to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from enclu.host.convention import Convention
from enclu.host.errors import EnclaveTimeout, HostError, ProcessDied
from enclu.host.events import EnclaveException, Exit, Interrupted
from enclu.sgx.epc import PAGE_SIZE
from enclu.sgx.exceptions import PFEC, Vector
from enclu.sgx.structs import GPRSGX, TCS, EncluLeaf
from enclu.sweep.behaviour import INTERRUPT, PAGE_FAULT, Action, Behaviour, Move
from enclu.sweep.host_state import HostState, shared
from enclu.sweep.outcome import Kind, Outcome, Run, judge

if TYPE_CHECKING:
    from enclu.host.call import Call
    from enclu.host.enclave import Enclave
    from enclu.host.stepping import Stepping
    from enclu.host.thread import CallUnderWay

SWITCHED = 256
"""Instructions within which an enclave has its own stack."""
BELOW = 64
"""Bytes below where the enclave's stack pointer is at first."""
BEGINNING, RUNG = 0, 1
"""Numbers of checkpoints: before the call, and at the instruction that is tried."""
CLEARED = 16384
"""Bytes below the untrusted stack pointer that are zero whenever the enclave is entered: what an interrupt leaves there
of its handler is nothing that an enclave has put there, and would make runs differ that are alike."""
HANG = 2.0
"""Seconds after which a call is said to hang."""
MOST = 1 << 22
"""Instructions of a call that are recorded."""
_NOT_OF_IT = (HostError, TypeError, ValueError)


class SweepError(HostError):
    """The call cannot be swept."""


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
        """Of the undisturbed call, from ELRANGE's base."""
        self.reference = Run()
        self.tcs = 0
        self.drawn = 0
        """Results of RDRAND and its like that later runs drew, and the first had not: 0 where runs are alike."""
        self.unlike = ""
        """How two undisturbed calls from the same checkpoint have differed; nothing if they have not."""
        self.registers = None if rsp is None else {"rsp": rsp}
        """What the host has in registers at the call's first EENTER; None: its own."""
        self._make = make
        self.hang = hang
        """Seconds after which the call is said to hang."""

    def prepare(self, warm: int = 1) -> None:
        """Make the call: `warm` times for what happens once only, and then from a checkpoint, recorded.

        Raises SweepError if it does not return by itself.
        """
        for _ in range(warm):
            self._call(_Plain(self, room=0))
        self.stepping.checkpoint(BEGINNING)
        first = _Plain(self, room=MOST)
        self._call(first)
        self.tcs, self.reference = first.tcs, first.run
        self.rips = [rip - self.base for rip in self.stepping.rips(self.tcs)]
        self.stepping.restore(BEGINNING)
        if self.reference.ended is not None:
            raise SweepError(f"{self.enclave.image.path}: the call, undisturbed, ends so: {self.reference.ended}, "
                             f"{self.reference.note}")  # fmt: skip
        again = _Plain(self, room=0)
        self._call(again)
        self.drawn += self.stepping.state(self.tcs).drawn
        self.stepping.restore(BEGINNING)
        self.unlike = again.run.differs(self.reference, {})

    def point_into_stack(self) -> int:
        """From now on the host's RSP at the first EENTER points into the enclave's stack; where.

        That is below what the call has on it when the enclave has switched to it.  Raises SweepError where it never
        does.
        """
        probe = _Probe(self)
        self._call(probe)
        self.stepping.restore(BEGINNING)
        if not probe.found:
            raise SweepError(f"{self.enclave.image.path}: within {SWITCHED} instructions RSP is never in the enclave")
        self.registers = {"rsp": probe.found - BELOW}
        return probe.found - BELOW

    def changed(self, behaviour: Behaviour) -> Run | None:
        """The call with the memory changed before it begins; None if the behaviour changes none."""
        if not behaviour.writes:
            return None
        plain = _Plain(self, room=0, writes=behaviour)
        self._call(plain)
        self.stepping.restore(BEGINNING)
        return plain.run

    def sweep(self, behaviour: Behaviour, points: Sequence[int], told: Callable[[Point], object]) -> None:
        """Do it at these instructions, in their order.  Raises ProcessDied where that has killed the process.

        `told` is called with each verdict.
        """
        if not points:
            return
        ladder = _Ladder(self, behaviour, list(points), self.changed(behaviour), told)
        self._call(ladder)
        self.stepping.restore(BEGINNING)

    def _call(self, watcher: _Watcher) -> None:
        enclave = self.enclave
        before, enclave.watcher = enclave.watcher, watcher
        enclave.process.arena.settle()
        try:
            self._make(enclave)
        except ProcessDied:
            raise
        except _NOT_OF_IT as error:
            watcher.failed(error)
        finally:
            enclave.watcher = before


class _Watcher:
    """What a call is made under.  Of calls that OCALLs make, nothing is asked."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.stepping = session.stepping
        self.run = Run()
        self.tcs = 0
        self._call: Call | None = None
        self._blocks: frozenset[int] = frozenset()

    def enters(self, call: CallUnderWay) -> None:
        if self._call is None:
            self._call = call  # type: ignore[assignment]
            self.tcs = call.tcs
            self._blocks = frozenset(shared(self.session.enclave.process))
            self.begins()
        elif call is self._call and isinstance(call.entry.event, Exit):
            self.current.ocalls.append(call.entry.event.registers.rdi)

    @property
    def current(self) -> Run:
        """The run that is under way."""
        return self.run

    def begins(self) -> None:
        """The first EENTER is next."""

    def interrupted(self, call: CallUnderWay) -> bool:
        return False

    def returned(self, call: CallUnderWay, result: Any) -> None:
        if call is self._call:
            now = shared(self.session.enclave.process)
            run = self.current
            run.result, run.memory = result, {address: now.get(address, b"") for address in self._blocks}
            convention = self.session.enclave.convention
            run.refusal = convention.refusal(result) if isinstance(convention, Convention) else ""

    def failed(self, error: Exception) -> None:
        """The call has raised something."""
        if self.run.memory:
            return  # the enclave has returned; what its convention makes of that is not asked
        if isinstance(error, EnclaveTimeout):
            self.run.ended, self.run.note = Kind.HANG, ""
        elif isinstance(error, EnclaveException):
            self.run.ended, self.run.note = Kind.CRASH, _exception(self.session, error)
        else:
            raise error


class _Plain(_Watcher):
    """Undisturbed, but for memory that is changed before."""

    def __init__(self, session: Session, room: int, writes: Behaviour | None = None) -> None:
        super().__init__(session)
        self._room, self._writes = room, writes

    def begins(self) -> None:
        if self._writes is not None:
            for action in self._writes.writes:
                _write(self.session, action, self._blocks)
        self.stepping.arm(self.tcs, free=True, room=self._room, registers=self.session.registers, clear=CLEARED)


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
        if call is not self._call or not self.stepping.state(self.tcs).stopped:
            return False
        rsp = _gprsgx(self.stepping, self.tcs, enclave)["RSP"]
        self._count += 1
        if enclave.base <= rsp < enclave.base + enclave.size:
            self.found = rsp
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
        self._stack: tuple[int, bytes] | None = None
        self._tail: Run | None = None
        """Of the point that is being tried."""

    @property
    def current(self) -> Run:
        return self._tail if self._tail is not None else self.run

    def begins(self) -> None:
        self.stepping.checkpoint(RUNG)
        self.stepping.arm(self.tcs, until=self._points[0], registers=self.session.registers, clear=CLEARED)

    def interrupted(self, call: CallUnderWay) -> bool:
        if self._tail is not None or call is not self._call or not self.stepping.state(self.tcs).stopped:
            return False
        assert self._call is not None
        number = self._points[self._at]
        self._told(self._try(self._call, number))
        self._at += 1
        over = self._at == len(self._points)
        until = 0 if over else self._points[self._at] - number
        self.stepping.arm(self.tcs, until=until, free=over, stack=self._stack, clear=CLEARED)
        self._call.entry.resume(self.session.hang)
        return True

    def _try(self, call: Call, number: int) -> Point:
        frame = _gprsgx(self.stepping, self.tcs, call.enclave)
        rip = frame["RIP"] - self.session.base
        self.stepping.move(RUNG)
        self.stepping.arm(self.tcs, free=True, clear=CLEARED)
        self._top = self._top or frame["URSP"]
        before = HostState(call, frame["URSP"], self._top)
        run = self._tail = Run(ocalls=list(self.run.ocalls))
        try:
            self._tamper(call, run, frame)
        except ProcessDied as error:
            self._told(Point(number, rip, Outcome(Kind.HARMED, str(error), tuple(run.answers))))
            raise
        finally:
            self._tail = None
        before.restore()
        self._stack = before.stack
        self.stepping.restore(RUNG)
        but: dict[int, list[range]] = {}
        for action in self._behaviour.writes:
            address = sorted(self._blocks)[action.block]
            but.setdefault(address, []).append(range(action.offset, action.offset + len(action.data)))
        return Point(number, rip, judge(run, self.session.reference, self._changed, but))

    def _tamper(self, call: Call, run: Run, frame: Mapping[str, int]) -> None:
        """The event, what the host does then, and the rest of the call."""
        call.limit(self.session.hang)
        try:
            exception = self._bring_about(call, frame["RIP"])
            run.ended = Kind.LEFT
            if exception is None and self._behaviour.event != INTERRUPT:
                run.note = f"no exception came, but {type(call.entry.event).__name__}"
                return
            for action in self._behaviour.actions:
                if action.move is Move.RESUME:
                    run.ended = None
                    self._go_on(call)
                    return
                self._act(call, run, action, exception)
        except EnclaveTimeout:
            run.ended = Kind.HANG
        except EnclaveException as error:
            run.ended, run.note = Kind.CRASH, _exception(self.session, error)

    def _go_on(self, call: Call) -> None:
        convention = self.session.enclave.convention
        assert isinstance(convention, Convention)
        call.entry.resume(self.session.hang)
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

    def _act(self, call: Call, run: Run, action: Action, exception: EnclaveException | None) -> None:
        """What a host does before it resumes."""
        if action.move is Move.WRITE:
            _write(self.session, action, self._blocks)
        elif action.move is Move.HANDLE:
            self._handle(call, run, exception)
        else:
            self._once_more(call, run, call.tcs if action.move is Move.AGAIN else self._another())

    def _another(self) -> int:
        tcs = [tcs for tcs in self.session.enclave.tcs if tcs != self.tcs]
        if not tcs:
            raise SweepError(f"{self.session.enclave.image.path}: it has one TCS, and no other to make the call on")
        return tcs[-1]

    def _handle(self, call: Call, run: Run, exception: EnclaveException | None) -> None:
        stepping, enclave = self.stepping, call.enclave
        convention = enclave.convention
        assert isinstance(convention, Convention)
        if exception is None:  # the host says so; nothing in the SSA does
            exception = EnclaveException(Vector.PF, PFEC.U, 0, EncluLeaf.ERESUME, call.entry.event.registers)
            call.met(exception)
        before = _gprsgx(stepping, self.tcs, enclave)
        accepted = convention.repair(call, exception)
        stepping.disarm(self.tcs)  # what it has put on the stack that it found is its own
        notes = [note.rpartition(" returned ")[2] for note in getattr(exception, "__notes__", [])]
        if isinstance(call.entry.event, EnclaveException) and call.entry.event is not exception:
            raise call.entry.event
        if isinstance(call.entry.event, Interrupted):
            raise EnclaveTimeout
        after = _gprsgx(stepping, self.tcs, enclave)
        moved = (before["RIP"], before["RSP"]) != (after["RIP"], after["RSP"])
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
    """Change the shared memory.  Raises SweepError."""
    if action.block >= len(blocks):
        raise SweepError(f"{action}: host and enclave share {len(blocks)} blocks of memory in this call")
    session.enclave.process.memory.write(sorted(blocks)[action.block] + action.offset, action.data)


def _gprsgx(stepping: Stepping, tcs: int, enclave: Enclave) -> dict[str, int]:
    """Of the frame that the last AEX has filled."""
    fields = TCS.unpack(stepping.read(tcs, TCS.size))
    end = enclave.base + fields["OSSA"] + fields["CSSA"] * enclave.image.ssa_frame_size * PAGE_SIZE
    found: dict[str, int] = GPRSGX.unpack(stepping.read(end - GPRSGX.size, GPRSGX.size))
    return found


def _exception(session: Session, error: EnclaveException) -> str:
    where = ""
    if session.base <= error.address < session.base + session.enclave.size:
        where = " at its own memory"
    elif error.address:
        where = " at memory of the host's" if error.address < session.base else " at memory outside"
    return f"{error.name}{where}"
