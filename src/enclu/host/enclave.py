"""An enclave in a process: where it is, its TCSes, its ECALLs."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, Self

from enclu.host.agent_process import AgentProcess
from enclu.host.debugger import Debugger
from enclu.host.errors import HostError, ProcessDied
from enclu.host.events import Action, EnclaveException
from enclu.host.keys import MachineKeys
from enclu.host.tcs import TcsPool
from enclu.host.thread import executing

if TYPE_CHECKING:
    from enclu.host.images import Image
    from enclu.host.loader import Loaded
    from enclu.host.places import Place
    from enclu.host.stepping import Stepping, Watcher
    from enclu.host.steps import PageCallback, StepCallback, StepTrace
    from enclu.host.thread import CallUnderWay, Entry
    from enclu.sweep.behaviour import Behaviour
    from enclu.sweep.verdict import Verdict


class EnclaveMachine(MachineKeys, ABC):
    """The machine as its processes know it: one that starts more of them."""

    @abstractmethod
    def process(self, delivery: str = "vdso", cpu: str = "host") -> EnclaveProcess:
        """As Machine.process."""

    @abstractmethod
    def close(self) -> None:
        """End all processes."""


class EnclaveProcess(AgentProcess, ABC):
    """The process as its enclaves know it: one that has enclaves, and loads more."""

    machine: EnclaveMachine
    enclaves: list[Enclave]

    @abstractmethod
    def load(self, *args: Any, **named: Any) -> Enclave:
        """As Process.load."""


class Calling(Protocol):
    """What an enclave asks of its convention (`convention.Convention`)."""

    def start(self, timeout: float | None) -> None: ...

    def stop(self) -> None: ...

    def ecall(self, *args: Any, **named: Any) -> Any: ...

    def program(self, *args: Any, **named: Any) -> int: ...

    def give_up(self, call: Any) -> None: ...


class Enclave:
    """Made by `Process.load`.  A context manager, which unloads it."""

    convention: Calling
    """How ECALLs and OCALLs go; chosen by the image's format unless given."""

    def __init__(
        self, process: EnclaveProcess, image: Image, loaded: Loaded,
        ocalls: Mapping[Any, Callable[..., Any]] | Sequence[Callable[..., Any]],
        on_exception: Callable[[EnclaveException], Action] | None,
    ) -> None:  # fmt: skip
        self.process = process
        self.image = image
        self._loaded_as = loaded
        self.base = loaded.base
        """ELRANGE's address."""
        self.size = loaded.size
        self.fd = loaded.fd
        self.attributes = loaded.attributes
        self.xfrm = loaded.xfrm
        self.ocalls = dict(ocalls) if isinstance(ocalls, Mapping) else dict(enumerate(ocalls))
        """Callables by number."""
        self.on_exception = on_exception
        """Called with every EnclaveException, on the Python thread of the ECALL; without one, Action.HANDLE."""
        self.tcs_pool = TcsPool(self.base + offset for offset in image.tcs)
        self.watcher: Watcher | None = None
        """Who is asked before each EENTER of an ECALL, and told of its interrupts."""
        self.loaded = True
        self._mapped: list[tuple[str, int, int]] = [("munmap", self.base, self.size), ("close", self.fd, 0)]
        """The system calls that undo it: each is made once, for somebody else may have the addresses afterwards."""

    @property
    def tcs(self) -> list[int]:
        """Addresses of the TCSes that can be entered."""
        return self.tcs_pool.every

    @property
    def lost(self) -> list[int]:
        """TCSes that were left interrupted, by an exception, a timeout or what broke into a call: not entered again."""
        return self.tcs_pool.lost

    @property
    def debug(self) -> bool:
        """Whether ATTRIBUTES.DEBUG is set."""
        return self._loaded_as.debug

    @functools.cached_property
    def stepping(self) -> Stepping:
        """What a hostile host sees and does, in a process of `Machine.process(stepping=True)`.  Raises HostError."""
        from enclu.host.stepping import Stepping

        return Stepping(self.process, self.image, self._loaded_as)

    @functools.cached_property
    def debugger(self) -> Debugger:
        """Its memory and the frames of its SSA, if it is a debug enclave."""
        return Debugger(self.process, self.image, self._loaded_as)

    def place(self, address: int) -> Place:
        """What is at an address of the process, in the words of its programmer, as far as the image tells."""
        from enclu.host.places import Places

        return Places.of(self.image).at(address - self.base)

    def ecall(self, function: Any, *args: Any, timeout: float | None = None, **named: Any) -> Any:
        """Make an ECALL, in the way of the convention.

        OCALLs are made on the calling Python thread.  Raises EnclaveException if the enclave has an exception that
        nobody handles; EnclaveTimeout after `timeout` seconds in the enclave, which then is left by an AEX and
        abandoned; whatever an OCALL raised, when the enclave has returned; ProcessDied.
        """
        if not self.loaded:
            raise HostError(f"{self.image.path}: the enclave is unloaded")
        return self.convention.ecall(function, *args, timeout=timeout, **named)

    def step(
        self, function: Any, *args: Any, on_step: StepCallback | None = None, at: int | None = None,
        address: int | None = None, times: int = 1, pages: Iterable[int] = (), on_page: PageCallback | None = None,
        registers: Mapping[str, int] | None = None, record: int = 1 << 16, timeout: float | None = None, **named: Any,
    ) -> StepTrace:  # fmt: skip
        """Make an ECALL as a hostile host does, in a process of `Machine.process(stepping=True)`: docs/stepping.md.

        The enclave is interrupted before its first instruction; or after `at` instructions, or before the one at
        `address` is executed for the `times`-th time, whichever comes first.  `on_step` is called with a Step at each
        interrupt, on the calling Python thread, while the enclave stands there; what it returns comes next: a Move, a
        RunTo, a Skip, or None for one more instruction and the next interrupt.  Without it there is the one interrupt
        `at` or `address`, and then the enclave runs to its end; without these, too, instructions are only recorded.

        `pages` are addresses of the enclave whose pages are withdrawn (mprotect(2)).  Whichever instruction touches one
        has a #PF: `on_page` is called with a PageFault, the page comes back, and those before it are withdrawn again
        as soon as the enclave has made progress, so that the faults follow its way.  What `on_page` returns comes next
        as with `on_step`; None leaves what was planned.  No other handler of exceptions learns of these faults.

        `registers`: what the enclave finds in them at its first EENTER, by the names of `stepping.REGISTERS`; the host
        has its own again afterwards.

        Everything of the ECALL counts: what the enclave executes after OCALLs, and in its exception handler.  The
        addresses of the first `record` instructions are kept; with 0, and without `pages`, the enclave runs to an
        address and to its end at full speed, and what it executes on the way is not counted.

        The result has the ECALL's.  Raises what `ecall` raises, and what a callback raised, when the enclave has
        been given up; HostError under a design that cannot resume enclaves, or in a process that cannot step.
        """
        from enclu.host import steps  # seldom used

        if not self.process.design.resumes:
            raise HostError(f"`{self.process.delivery}` has no way to resume an enclave after an interrupt")
        wishes = steps.Wishes(on_step, at, address, times, pages, on_page, registers, record)
        return steps.step(self, wishes, function, args, timeout, named)

    def sweep(
        self, function: Any, *args: Any, where: str = "all", host: str | Iterable[str | Behaviour] = "int:resume",
        warm: int = 0, hang: float = 2.0, rsp: int | str | None = None, **named: Any,
    ) -> list[Verdict]:  # fmt: skip
        """Sweep an ECALL, in a process of `Machine.process(stepping=True)`: docs/hostile-host.md.

        At each of these instructions of it ("all", "functions", "window", or ranges, as `enclu sweep --where` has
        them) the behaviour of the host is tried, written as `--host` has it, or each of several.  A verdict for each,
        in their order.
        `warm` ECALLs come before the first that counts; one that takes `hang` seconds hangs.  `rsp` is the host's RSP
        at the first EENTER: an offset in ELRANGE, an address, or "trusted", in the enclave's stack.  OCALLs are to
        answer the same each time.  Afterwards the enclave is as it was, but for what the `warm` ones did.

        Raises what `enclu.sweep.sweep_call` does, which sweeps more than one ECALL as one call.
        """
        from enclu.sweep.loaded import sweep_ecall  # the one import upwards: users look for it here

        return sweep_ecall(self, function, args, named, where=where, host=host, warm=warm, hang=hang, rsp=rsp)

    def run(self, *args: Any, **named: Any) -> int:
        """Run the program that the enclave is, to its exit status: enclaves of Fortanix EDP (EdpConvention.program)."""
        if not self.loaded:
            raise HostError(f"{self.image.path}: the enclave is unloaded")
        return self.convention.program(*args, **named)

    async def ecall_async(self, function: Any, *args: Any, timeout: float | None = None, **named: Any) -> Any:
        """`ecall`, on a thread of its own."""
        return await asyncio.to_thread(self.ecall, function, *args, timeout=timeout, **named)

    def lease(self, call: CallUnderWay) -> int:
        """A free TCS, which goes to `call.leased`.

        Waits for one that other threads use.  Raises HostError if there is none to wait for.
        """
        pool, waited = self.tcs_pool, False
        while not pool.take(call.leased):
            if not self._others(call):
                raise HostError(f"{self.image.path}: {self._why_no_tcs(call)}")
            waited = True
            pool.await_free()
        if waited and pool.free:
            pool.wake()
        return call.leased[-1]

    @property
    def entries(self) -> list[Entry]:
        """Under way, of any thread and convention."""
        end = self.base + self.size
        threads = list(self.process.threads)
        return [entry for thread in threads for entry in list(thread.entries) if self.base <= entry.tcs < end]

    def _others(self, call: CallUnderWay) -> bool:
        """Whether there are TCSes that calls of other threads have, or have just had."""
        calls = [user for thread in list(self.process.threads) for user in list(thread.calls)]
        kept = {
            tcs
            for user in calls
            if user.enclave is self and (user.thread is call.thread or not executing(user.frame))
            for tcs in list(user.leased)
        }
        return not kept.issuperset(self.tcs)

    def _why_no_tcs(self, call: CallUnderWay) -> str:
        if any(user.enclave is self and user.leased for user in call.thread.calls):
            return "every TCS is in use by calls of this thread"
        return "every TCS was left interrupted by an exception or a timeout; load the enclave again"

    def unload(self) -> None:
        """Unmap and close it.  Nothing if unloaded already.  Raises HostError while a call is under way."""
        if not self.loaded and not self._mapped:
            return
        if self.process.alive:
            self.process.thread()  # what this one has left of calls that were broken into is over
        if self.busy:
            raise HostError(f"{self.image.path}: a call is under way")
        if self.loaded and self.process.alive:
            with contextlib.suppress(ProcessDied):
                self.convention.stop()
        self.release()

    @property
    def busy(self) -> bool:
        """Whether a call or an entry by hand is under way, of any thread."""
        called = [call for thread in list(self.process.threads) for call in list(thread.calls)]
        if any(call.enclave is self and executing(call.frame) for call in called):
            return True
        over = {id(call.entry) for call in called if hasattr(call, "entry")}
        return any(id(entry) not in over for entry in self.entries)

    def release(self) -> None:
        """Unmap and close it, without a word to the enclave."""
        self.loaded = False
        with contextlib.suppress(ProcessDied):
            while self._mapped and self.process.alive:
                self.process.syscall(*self._mapped.pop(0))
        with contextlib.suppress(ValueError):
            self.process.enclaves.remove(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.unload()
