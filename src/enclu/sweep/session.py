"""One enclave, and the call of it that is swept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from enclu.host.errors import HostError, ProcessDied
from enclu.sweep.behaviour import Behaviour
from enclu.sweep.host_state import OwnMemory, shared
from enclu.sweep.ladder import Ladder
from enclu.sweep.outcome import Kind, Point, Run
from enclu.sweep.watchers import SWITCHED, Changed, NoReference, Plain, Probe, Recorded, SweepError, Watcher

if TYPE_CHECKING:
    from enclu.host.enclave import Enclave
    from enclu.host.stepping import Stepping

BEGINNING = 1 << 63
"""Number of the checkpoint before the call.  Lower ones are for the enclave's user."""
TRUSTED = "trusted"
"""An RSP that points into the enclave's own stack."""
BELOW = 64
"""Bytes below where the enclave's stack pointer is at first."""
HANG = 2.0
"""Seconds after which a call is said to hang."""
WARM = 60.0
"""Seconds that a call may take that comes before the first that counts."""
MOST = 1 << 18
"""Instructions of a call that are stepped through, from the first on, unless more are asked for."""


class Session:
    """One enclave, and the call of it that is swept: `make` makes it, once it is called."""

    def __init__(
        self, enclave: Enclave, make: Callable[[Enclave], object], *, rsp: int | str | None = None,
        hang: float = HANG,
    ) -> None:  # fmt: skip
        """`rsp` is what the host has in RSP at the call's first EENTER: an address, from ELRANGE's base if it is less
        than ELRANGE's size; or TRUSTED.  Raises HostError where nothing steps.
        """
        if isinstance(rsp, str) and rsp != TRUSTED:
            raise HostError(f"{rsp!r} is no RSP: a number, or {TRUSTED!r}")
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
        self.registers = None
        if isinstance(rsp, int):
            self.registers = {"rsp": rsp + self.base if 0 <= rsp < enclave.size else rsp}
        """What the host has in registers at the call's first EENTER; None: its own."""
        self._trusted = rsp == TRUSTED
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
        first = Recorded(self, most)
        self._call(first)
        self.tcs, self.reference, self.longer = first.tcs, first.run, first.longer
        self.rips = [rip - self.base for rip in first.rips]
        self.entries = [number for number, rip in enumerate(self.rips) if rip == self.rips[0]]
        for number, rip in first.faulting.items():
            self.rips[number : number + 1] = [rip]
        self._back()
        self._check(self.reference)
        again = Plain(self)
        self._call(again)
        self.drawn += self.stepping.state(self.tcs).drawn
        self._back()
        self._check(again.run)
        self.unlike = again.run.differs(self.reference, {})
        if self._trusted:
            self._point_into_stack()

    def _try_out(self) -> None:
        """One that returns, before any that is recorded, for that has no limit."""
        plain = Plain(self, limit=WARM)
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
        """Drop the checkpoints and the plan.  The enclave stays as `prepare` and `sweep` have left it."""
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

    def _point_into_stack(self) -> None:
        """From now on the host's RSP at the first EENTER points into the enclave's stack.

        That is below what the call has on it when the enclave has switched to it.  Raises SweepError where it never
        does.
        """
        probe = Probe(self)
        self._call(probe)
        self._back()
        if not probe.found:
            raise SweepError(f"{self.enclave.image.path}: within {SWITCHED} instructions RSP is never in the enclave")
        self.registers = {"rsp": probe.found - BELOW}

    def changed(self, behaviour: Behaviour) -> Run | None:
        """The call with the memory changed before it begins; None if the behaviour changes none.

        If that kills the process, the run has ended so, and another session is needed.
        """
        if not behaviour.writes:
            return None
        changed, own = Changed(self, behaviour), OwnMemory(self.enclave.process)
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
        ladder = Ladder(self, behaviour, list(points), changed, told)
        try:
            self._call(ladder)
        finally:
            if self.enclave.process.alive:
                self._back()

    def _call(self, watcher: Watcher) -> None:
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
