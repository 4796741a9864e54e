"""How an enclave was left: EEXIT, or an exception that the design delivered."""

from __future__ import annotations

import enum
import functools
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from enclu.host.errors import HostError
from enclu.host.frames import Registers, SsaFrame
from enclu.sgx.exceptions import Vector
from enclu.sgx.structs import EncluLeaf

if TYPE_CHECKING:
    from enclu.host.places import Place


@dataclass(frozen=True)
class Exit:
    """The enclave executed EEXIT."""

    registers: Registers


class Action(enum.Enum):
    """What to do about an exception, as handlers return it."""

    RESUME = "resume"
    """ERESUME: the cause is removed."""
    HANDLE = "handle"
    """Enter the enclave's own handler, at the next CSSA; ERESUME if that has repaired it."""
    UNWIND = "unwind"
    """Give up the ECALL, which returns None; the enclave's frame stays interrupted."""
    RAISE = "raise"
    """Raise the EnclaveException where the ECALL was made."""


@dataclass(eq=False)
class EnclaveException(HostError):
    """An exception of the enclave, or of the ENCLU that was to enter or resume it."""

    vector: int
    """Trap number."""
    error_code: int
    address: int
    """#PF: of the access, within an enclave that of its page; else 0."""
    leaf: EncluLeaf
    """EENTER or ERESUME if that is what faulted; after an AEX, ERESUME."""
    registers: Registers
    enclave: Any = field(default=None, repr=False)
    """The Enclave; None below that level."""
    tcs: int = 0
    count: int = 0
    """Which of the call's exceptions it is, from 1; 0 below that level."""
    handled: EnclaveException | None = field(default=None, repr=False)
    """The one before, for which the enclave's handler was entered: this may have happened in the handler."""
    above: int = field(default=0, repr=False)
    """How many frames of the SSA are above its own."""

    @functools.cached_property
    def ssa(self) -> SsaFrame:
        """The SSA frame that the AEX filled.  Raises HostError for a production enclave, or if ENCLU itself faulted.

        Read when first asked for, at the latest when the call is given up.
        """
        if self.enclave is None or self.leaf is not EncluLeaf.ERESUME:
            raise HostError(f"{self._what()}: no SSA frame tells of it")
        frame: SsaFrame = self.enclave.debugger.ssa(self.tcs, above=self.above)
        return frame

    @property
    def cssa(self) -> int | None:
        """CSSA when it happened: 0 for the ECALL's code, 1 for its handler; None where no SSA frame tells."""
        return self.ssa.index if self._told else None

    @property
    def place(self) -> Place | None:
        """Where the enclave was, from its RIP: symbol, file and line; None where no SSA frame tells."""
        return self.enclave.place(self.ssa.gprsgx.rip) if self._told else None

    def core(self, path: str | os.PathLike[str], *, enclaves: str = "debug") -> Path:
        """Write a core of the process with the enclaves, as it is now, and give its path.

        gdb opens it at the enclave's instruction, of a debug enclave; docs/cores.md.  `enclaves` says whose pages are
        in it: "debug" enclaves', "all" or "none".  The exception tells most while the enclave stands at it, in
        `on_exception` or before anything else is done in the process.  Raises HostError, OSError; FileExistsError, for
        no file is overwritten.
        """
        from enclu.host import cores  # seldom needed

        if self.enclave is None:
            raise HostError(f"{self._what()}: it is not known in which process")
        told = {"vector": self.vector, "error_code": self.error_code, "address": self.address, "reason": str(self)}
        frame = cores.frame_of(self.tcs, self.ssa, self.enclave.image.ssa_frame_size) if self._told else None
        return cores.write(self.enclave.process, Path(path), enclaves, exception=told, first=frame)

    @property
    def _told(self) -> bool:
        return self.enclave is not None and self.leaf is EncluLeaf.ERESUME and self.enclave.debug

    @property
    def name(self) -> str:
        """As the SDM calls it, for example "#PF"."""
        try:
            return f"#{Vector(self.vector).name}"
        except ValueError:
            return f"vector {self.vector}"

    def __str__(self) -> str:
        parts = [self._what(), *self._where()]
        if self.count > 1:
            parts.append(f"exception {self.count} of this call")
        handled = self.handled
        while handled is not None:
            parts += [f"after its handler was entered for {handled._what()}", *handled._where()]
            handled = handled.handled
        return ", ".join(parts)

    def _what(self) -> str:
        where = f" at {self.address:#x}" if self.address else ""
        what = "ENCLU[EENTER] itself" if self.leaf is EncluLeaf.EENTER else "the enclave"
        return f"{self.name} of {what}{where}, error code {self.error_code:#x}"

    def _where(self) -> list[str]:
        """Where it happened, and what it touched."""
        try:
            place, cssa = self.place, self.cssa
        except HostError:  # nobody has looked while the frame was there
            return []
        if place is None:
            return []
        touched = self.address and self.enclave.base <= self.address < self.enclave.base + self.enclave.size
        return [f"in {place}, CSSA {cssa}", *([f"touching {self.enclave.place(self.address)}"] if touched else [])]


@dataclass(frozen=True)
class Interrupted:
    """A time limit has ended what the enclave was doing: it stands at an AEX and could be resumed."""

    registers: Registers


Event = Exit | EnclaveException | Interrupted
