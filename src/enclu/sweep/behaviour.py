"""What a hostile host does at one instruction of an ECALL: an event, and how the host goes on from it.

pf:handle,resume        #PF by a page that was withdrawn, the enclave's handler, ERESUME
int:write=0+8=ff,resume an interrupt, a byte of shared memory changed, ERESUME
ud:handle,resume        #UD, which no host can bring about at an instruction of its choice
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from enclu.host.errors import HostError
from enclu.sgx.exceptions import MEANINGS, Vector

INTERRUPT, PAGE_FAULT = "int", "pf"
_RAISED = {v.name.lower(): v for v in Vector if v not in (Vector.PF, Vector.DF, Vector.TS, Vector.MC)}
_WRITE = re.compile(r"write=(\d+)\+(\d+)=([0-9a-fA-F]+)")


class BehaviourError(HostError):
    """There is no such behaviour of a host."""


class Move(enum.StrEnum):
    """What a host may do while an enclave stands interrupted."""

    RESUME = "resume"
    """ERESUME, and serve the rest of the call."""
    HANDLE = "handle"
    """Enter the enclave's exception handler, at the next CSSA."""
    AGAIN = "again"
    """Make the same ECALL on the same TCS, at the next CSSA."""
    OTHER = "other"
    """Make the same ECALL on another TCS."""
    WRITE = "write"
    """Change memory that host and enclave share."""


@dataclass(frozen=True)
class Action:
    """One of them."""

    move: Move
    block: int = 0
    """WRITE: which block of the shared memory, as reports number them, from 0."""
    offset: int = 0
    data: bytes = b""

    def __str__(self) -> str:
        if self.move is Move.WRITE:
            return f"write={self.block}+{self.offset}={self.data.hex()}"
        return self.move


@dataclass(frozen=True)
class Behaviour:
    """An event, and what the host does then."""

    event: str
    """INTERRUPT, PAGE_FAULT, or another exception by its mnemonic, in lower case."""
    actions: tuple[Action, ...]

    @classmethod
    def parse(cls, text: str) -> Behaviour:
        """As the module says.  Raises BehaviourError."""
        event, _, words = text.partition(":")
        if event not in (INTERRUPT, PAGE_FAULT, *_RAISED):
            raise BehaviourError(f"no event is called {event!r}: {INTERRUPT}, {PAGE_FAULT}, {', '.join(_RAISED)}")
        return cls(event, tuple(_action(word) for word in (words or Move.RESUME).split(",")))

    @property
    def vector(self) -> int | None:
        """Of an exception that is raised, and not brought about by the host."""
        return _RAISED.get(self.event)

    @property
    def causable(self) -> bool:
        """A host can bring it about, at this instruction: else it is forged."""
        return self.vector is None

    @property
    def writes(self) -> tuple[Action, ...]:
        return tuple(action for action in self.actions if action.move is Move.WRITE)

    @property
    def described(self) -> str:
        """For people."""
        if self.event == INTERRUPT:
            return "an interrupt"
        if self.event == PAGE_FAULT:
            return "#PF, by withdrawing the page of the next instruction"
        return f"#{self.event.upper()}, {MEANINGS[Vector(_RAISED[self.event])]}"

    def __str__(self) -> str:
        return f"{self.event}:{','.join(map(str, self.actions))}"


def _action(word: str) -> Action:
    written = _WRITE.fullmatch(word)
    if written is not None and len(written[3]) % 2 == 0:
        return Action(Move.WRITE, int(written[1]), int(written[2]), bytes.fromhex(written[3]))
    if word in list(Move) and word != Move.WRITE:
        return Action(Move(word))
    moves = ", ".join(move for move in Move if move is not Move.WRITE)
    raise BehaviourError(f"{word!r} is nothing that a host does: {moves}, write=BLOCK+OFFSET=HEX")
