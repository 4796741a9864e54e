"""What all ways have in common."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from enclu.host.events import Exit

if TYPE_CHECKING:
    from enclu.host.events import Event
    from enclu.host.frames import Registers
    from enclu.host.thread import Entry
    from enclu.sweep.audit.target import Target

ROOM = 20
"""Pages of untrusted memory for arguments."""
LEFT = 16
"""The first of them that no arguments are in."""
MOST_OCALLS = 64
"""Of one call; then it is given up."""
Inputs = Mapping[str, int]


@dataclass(frozen=True)
class Sample:
    """An ECALL, with its arguments in untrusted memory."""

    name: str
    registers: Inputs


@dataclass(frozen=True)
class Answer:
    """What an EEXIT says, by the protocol."""

    returned: bool
    """The ECALL is over; else it is an OCALL."""
    refused: bool
    """The runtime, or the function, says that something was wrong."""
    status: int
    """Of an OCALL: its number."""
    argument: int = 0
    """Of an OCALL."""

    def __str__(self) -> str:
        if not self.returned:
            return f"OCALL {self.status}"
        return f"it {'refused, with' if self.refused else 'returned'} {self.status:#x}"


@dataclass(frozen=True)
class Slot:
    """A place where the host gives an enclave a pointer."""

    name: str
    size: int
    """Bytes that the enclave may take to be there."""
    give: Callable[[int], Sample]
    """Prepares a call with this address there; it is made by entering with the sample."""
    usual: int
    """An address of untrusted memory that is right there."""
    certain: bool = True
    """It is known to be a pointer, not only tried as one."""
    then: Callable[[], Iterator[Slot]] | None = None
    """Pointers in what it leads to, if it is one."""
    overflow: Callable[[], Sample] | None = None
    """Prepares a call with a length for which address + length overflows."""


@dataclass(frozen=True)
class Result:
    """A place where a host answers an OCALL with a number or a pointer."""

    name: str
    give: Callable[[int], Inputs]
    """Puts the value there; with what the enclave is entered again."""


class Way(ABC):
    """Of one target."""

    name: str
    handles_exceptions = False
    """There is an entry for exceptions."""
    outputs = frozenset(("rdi", "rsi"))
    """Registers that say something at EEXIT; RAX, RBX and RCX are EEXIT's own."""
    warms = True
    """A first call only prepares later ones."""
    initializes = False
    """There is a call that has to come first."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.memory = target.process.memory
        self.room = self.memory.allocate(ROOM << 12, 4096)

    def page(self, number: int) -> int:
        """The address of a page of untrusted memory, cleared."""
        address = self.room + (number << 12)
        self.memory.write(address, bytes(4096))
        return address

    def elsewhere(self) -> int:
        """The address of untrusted memory that no arguments are in, cleared."""
        self.memory.write(self.room + (LEFT << 12), bytes((ROOM - LEFT) << 12))
        return self.room + (LEFT << 12)

    @abstractmethod
    def sample(self) -> Sample:
        """A call that does little, and needs nothing of the enclave's own to be known."""

    def samples(self) -> Iterator[Sample]:
        """Prepares calls, one after the other, that end differently."""
        yield self.sample()

    def numbered(self, number: int) -> Sample | None:
        """One of the samples, prepared; None if there are not so many."""
        return next(itertools.islice(self.samples(), number, None), None)

    def nested(self) -> Inputs | None:
        """As `sample`, with memory of its own, to be made while another call is under way."""
        return self.sample().registers

    def handle(self) -> Inputs:
        """Registers of the entry for exceptions."""
        raise NotImplementedError

    @abstractmethod
    def answer(self, registers: Registers) -> Answer:
        """What an EEXIT says."""

    def back(self, answer: Answer) -> Inputs | None:
        """The way back from an OCALL that has come to nothing; None if there is none to be known."""
        return None

    def stray_return(self) -> Inputs | None:
        """The way back from an OCALL where there is none under way; None if the protocol has no such thing."""
        return None

    def results(self, answer: Answer) -> Iterator[Result]:
        """Where an OCALL's results go."""
        return iter(())

    def slots(self) -> Iterator[Slot]:
        """Pointers that are passed to the enclave."""
        return iter(())

    def undecided(self) -> Iterator[tuple[str, str]]:
        """Subjects of pointers about which nothing can be said, and why."""
        return iter(())

    def finish(self, entry: Entry) -> Event:
        """The call to its end, with OCALLs that come to nothing, but for those of memory management."""
        for _ in itertools.islice(self.ocalls(entry), MOST_OCALLS + 1):
            pass  # the last one is not answered
        return entry.event

    def ocalls(self, entry: Entry) -> Iterator[Answer]:
        """Those that a call makes, each of which comes to nothing when the next one is asked for."""
        while isinstance(entry.event, Exit):
            answer = self.answer(entry.event.registers)
            if answer.returned:
                return
            yield answer
            inputs = self.back(answer)
            if inputs is None:
                return
            entry.enter(**inputs, timeout=2.0)

    def told(self, event: Event) -> str:
        """How the enclave was left, in words."""
        from enclu.sweep.audit.target import told

        return str(self.answer(event.registers)) if isinstance(event, Exit) else told(event)
