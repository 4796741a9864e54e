"""What a call is made under that is swept: undisturbed, recorded, with memory changed before it begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from enclu.host.convention import Convention
from enclu.host.errors import EnclaveTimeout, HostError
from enclu.host.events import EnclaveException, Exit
from enclu.host.stepping import ALWAYS, FaultWatcher
from enclu.sweep.behaviour import Action, Behaviour
from enclu.sweep.host_state import shared
from enclu.sweep.outcome import Kind, Run, shown

if TYPE_CHECKING:
    from enclu.host.call import Call
    from enclu.host.thread import CallUnderWay
    from enclu.sweep.session import Session

SWITCHED = 256
"""Instructions within which an enclave has its own stack."""
CLEARED = 16384
"""Bytes below the untrusted stack pointer that are zero whenever the enclave is entered: what an interrupt leaves there
of its handler is nothing that an enclave has put there, and would make runs differ that are alike."""


class SweepError(HostError):
    """The call cannot be swept."""


class NoSuchMemory(SweepError):
    """Host and enclave share less in this call than the host is to change."""


class NoReference(SweepError):
    """The call does not return, though nobody disturbs it."""


class Watcher(FaultWatcher):
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
            run.shown = shown(result, self.session.base, self.session.enclave.size)
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
            self.run.ended, self.run.note = Kind.CRASH, exception_text(self.session, error)
        else:
            raise error


class Plain(Watcher):
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


class Changed(Plain):
    """With memory that is changed before it begins."""

    def __init__(self, session: Session, behaviour: Behaviour) -> None:
        super().__init__(session)
        self._behaviour = behaviour

    def begins(self) -> None:
        for action in self._behaviour.writes:
            write(self.session, action, self._blocks)
        super().begins()

    def failed(self, error: Exception) -> None:
        try:
            super().failed(error)
        except SweepError:
            raise
        except Exception:
            self.run.ended, self.run.note = Kind.DIFFERENT, raised(error)


class Recorded(Plain):
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
        self.stepping.arm(self.tcs, free=True, clear=CLEARED, unnotified=True)
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


class Probe(Watcher):
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
            self.stepping.arm(self.tcs, free=True, unnotified=True)
        else:
            self.stepping.arm(self.tcs, until=1, unnotified=True)
        assert self._call is not None
        self._call.entry.resume(self.session.hang)
        return True


def write(session: Session, action: Action, blocks: frozenset[int]) -> None:
    """Change the shared memory.  Raises NoSuchMemory."""
    if action.block >= len(blocks):
        raise NoSuchMemory(f"{action}: host and enclave share {_counted(len(blocks))} of memory in this call")
    process, address = session.enclave.process, sorted(blocks)[action.block]
    size = dict(process.arena.blocks)[address]
    if action.offset + len(action.data) > size:
        raise NoSuchMemory(f"{action}: block {action.block} has {size} bytes")
    process.memory.write(address + action.offset, action.data)


def _counted(blocks: int) -> str:
    return "1 block" if blocks == 1 else f"{blocks} blocks"


def raised(error: Exception) -> str:
    return f"the host raises {type(error).__name__}: {error}"


def exception_text(session: Session, error: EnclaveException) -> str:
    where = ""
    if session.base <= error.address < session.base + session.enclave.size:
        where = " at its own memory"
    elif error.address:
        where = " at memory outside"
    return f"{error.name}{where}"
