"""What is to happen to a thread while it executes an enclave on a certain TCS."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from enclu.linux import uapi

if TYPE_CHECKING:
    from collections.abc import Mapping

FREE, INTERRUPT, RAISE = uapi.ENCLU_SGX_STEP_FREE, uapi.ENCLU_SGX_STEP_INTERRUPT, uapi.ENCLU_SGX_STEP_RAISE
ALWAYS = uapi.ENCLU_SGX_STEP_ALWAYS


@dataclass
class Plan:
    """struct enclu_sgx_step, and how far it has come."""

    eid: int
    """The enclave."""
    tcs: int
    until: int
    """Instructions to execute, ALWAYS for as many as there are."""
    address: int
    """Before the instruction here, for the `times`-th time, it happens, if that is earlier; 0: nowhere."""
    times: int
    then: int
    signo: int
    vector: int
    error_code: int
    room: int
    """Instructions whose addresses are kept."""
    registers: Mapping[str, int] | None
    """What the next EENTER finds in registers, by the names of `uapi.STEP_REGISTERS`; None: what is there."""
    stack: tuple[int, bytes] | None = None
    """What to write, and where, at the next entry."""
    clear: int = 0
    """Bytes below URSP that are zero at each entry."""
    unnotified: bool = False
    """The next ERESUME is to go on as if nothing had interrupted."""

    executed: int = 0
    recorded: list[int] = field(default_factory=list)
    """Addresses of the instructions that were executed, as far as there is room."""
    entries: int = 0
    """How often the enclave was entered or resumed."""
    loaded: bool = False
    """An EENTER had `registers`."""
    stopped: bool = False
    """What was to happen has happened."""
    drawn: int = 0
    """How many values of sources that change by themselves had not been recorded before."""
    left: bytes = b""
    """struct enclu_sgx_registers at the last EEXIT, if `registers` were given, and the XSAVE image."""
    xsave: bytes = b""
    counted: bool = False
    """That the thread is about to execute what is at `address` has been counted."""
    runs: bool = field(init=False)
    """It runs to the address, for nobody asks for each instruction."""
    rip: int | None = None
    """The instruction that the thread was about to execute when somebody else looked after it."""

    def __post_init__(self) -> None:
        self.runs = self.address != 0 and not self.room and self.until == ALWAYS

    @property
    def over(self) -> bool:
        """The thread goes on freely."""
        return self.stopped or (self.then == FREE and not self.room and self.until == 0)

    def executes(self, rip: int) -> None:
        """The instruction there has been executed."""
        self.executed += 1
        self.counted = False
        if len(self.recorded) < self.room:
            self.recorded.append(rip)
