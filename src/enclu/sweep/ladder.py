"""Every instruction of one call tried, at a cost that does not grow with how many there are.

An enclave that was interrupted after instruction n *is* the checkpoint of that moment, for SSA and TCS are its memory.
So there is one call, which is interrupted at one instruction after the other, and at each: the host does what it is to
do, the call runs to its end, all is restored, and the call goes on to the next.  Every few instructions the checkpoint
is moved along.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from enclu.host.convention import Convention
from enclu.host.errors import EnclaveTimeout, ProcessDied
from enclu.host.events import EnclaveException, Exit, Interrupted
from enclu.sgx.exceptions import PFEC, Vector
from enclu.sgx.structs import EncluLeaf
from enclu.sweep.behaviour import INTERRUPT, PAGE_FAULT, Action, Behaviour, Move
from enclu.sweep.host_state import HostState, OwnMemory
from enclu.sweep.outcome import Kind, Outcome, Point, Run, judge, shown
from enclu.sweep.watchers import CLEARED, SweepError, Watcher, exception_text, raised, write

if TYPE_CHECKING:
    from enclu.host.call import Call
    from enclu.host.stepping import Stepped
    from enclu.host.thread import CallUnderWay
    from enclu.sweep.session import Session

BETWEEN = 16
"""Instructions from one rung to the next."""
RUNG = (1 << 63) + 1
"""Number of the checkpoint at an instruction that is tried, or not far before."""


class Ladder(Watcher):
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
        self.stepping.arm(self.tcs, until=until, free=over, stack=self._rung[2].stack, clear=CLEARED, unnotified=True)
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
                self._act(call, run, action, exception)
        except EnclaveTimeout:
            run.ended = Kind.HANG
        except EnclaveException as error:
            run.ended, run.note = Kind.CRASH, exception_text(self.session, error)
        except (ProcessDied, SweepError):
            raise
        except Exception as error:  # of the host's own code: an OCALL's, or its convention's
            run.ended, run.note = Kind.DIFFERENT, raised(error)

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
        # The interrupt that the call stands at is the sweep's own, of which the enclave is not to be notified.
        if behaviour.event == PAGE_FAULT:
            stepping.arm(self.tcs, free=True, clear=CLEARED, unnotified=True)
            stepping.withdraw(rip)
        elif behaviour.vector is not None:
            stepping.arm(self.tcs, until=0, vector=behaviour.vector, clear=CLEARED, unnotified=True)
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
            write(self.session, action, self._blocks)
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
        before = stepping.state(self.tcs)  # another handler may have changed it since the event
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
            base, size = call.enclave.base, call.enclave.size
            answer = ", ".join(shown(value, base, size) for value in (event.registers.rdi, event.registers.rsi))
        else:
            answer = "a hang" if isinstance(event, Interrupted) else event.name
        run.answers.append(f"the call on {which}: {answer}")
