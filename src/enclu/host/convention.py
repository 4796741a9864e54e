"""How ECALLs and OCALLs go.  What all conventions share: the loop around one call."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from enclu.host.errors import EnclaveTimeout, HostError
from enclu.host.events import Action, EnclaveException, Exit, Interrupted
from enclu.host.frames import Registers
from enclu.sgx.structs import EncluLeaf

if TYPE_CHECKING:
    from enclu.host.agent_process import AgentProcess
    from enclu.host.call import Call
    from enclu.host.enclave import Enclave
    from enclu.host.images import Image

NAMES = {
    "edp": ("edp", "EdpConvention"),
    "enclu": ("enclu", "EncluConvention"),
    "open-enclave": ("open_enclave", "OpenEnclaveConvention"),
    "registers": ("registers", "RegistersConvention"),
    "sdk": ("sdk", "SdkConvention"),
}
"""Conventions: modules and classes of `enclu.host.conventions`, imported when they are used."""
TOLD = 16
"""Of so many exceptions of a call that its handler is resumed for, the places are kept for what may follow."""


class Done(Exception):
    """Raised by `exited` when the call is over; its argument is the result."""


class Convention(ABC):
    """One for each enclave."""

    handler_is_resumed: ClassVar[bool] = False
    """`repair` only prepares the enclave's handler, which runs when it is resumed."""
    needs: ClassVar[tuple[str, ...]] = ("rdi",)
    """Registers that it enters enclaves with."""

    @classmethod
    def check(cls, image: Image, process: AgentProcess) -> None:
        """Before it is loaded: raise HostError if an enclave of this image cannot be entered in this way."""
        passed = process.design.registers
        missing = [name for name in cls.needs if name not in passed]
        if missing:
            raise HostError(
                f"{image.path}: `{process.delivery}` enters enclaves with {', '.join(passed).upper()} only, "
                f"and this one needs {', '.join(missing).upper()}, too"
            )

    def __init__(self, enclave: Enclave) -> None:
        self.enclave = enclave

    def start(self, timeout: float | None) -> None:  # noqa: B027 - nothing by default
        """The enclave is loaded: what it wants to hear first, by calls that may take so many seconds each."""

    def stop(self) -> None:  # noqa: B027
        """The enclave is about to be unloaded."""

    @abstractmethod
    def ecall(self, *args: Any, **named: Any) -> Any:
        """As Enclave.ecall, with the function first and `timeout` named."""

    def program(self, *args: Any, **named: Any) -> int:
        """As Enclave.run.  Raises HostError for enclaves that are no programs."""
        raise HostError(f"{self.enclave.image.path}: this enclave is not a program; make ECALLs")

    @abstractmethod
    def exited(self, call: Call, registers: Registers) -> None:
        """After an EEXIT: make the OCALL and enter again by `call.enter`, or raise Done with the call's result."""

    def ocall(self, number: Any, *args: Any) -> Any:
        """Call the OCALL's callable.  Raises what that raises, HostError if there is none."""
        function = self.enclave.ocalls.get(number)
        if function is None:
            raise HostError(
                f"{self.enclave.image.path}: the enclave makes OCALL {number}, for which there is no function"
            )
        return function(*args)

    def repair(self, call: Call, exception: EnclaveException) -> bool:
        """Enter the enclave at the next CSSA for it to handle the exception; whether it has, and can be resumed."""
        return False

    def repaired(self, call: Call, exception: EnclaveException) -> bool:
        """The rest of `repair`, from where the enclave was left when it had been entered for that."""
        return False

    def run(self, call: Call, **registers: int) -> Any:
        """The call from EENTER to its end; its result."""
        call.unfinished = True
        call.registers = registers
        if self.enclave.watcher is not None:
            self.enclave.watcher.enters(call)
        call.entry = call.thread.enter(call.tcs, **registers, timeout=call.left())
        return self.go_on(call)

    def go_on(self, call: Call) -> Any:
        """The call from where it stands to its end; its result."""
        enclave, entry = self.enclave, call.entry
        try:
            while True:
                call.watch()
                event = entry.event
                call.entered |= not isinstance(event, EnclaveException) or event.leaf is EncluLeaf.ERESUME
                if isinstance(event, Exit):
                    self.exited(call, event.registers)
                elif isinstance(event, Interrupted) or call.left() == 0.0:
                    raise EnclaveTimeout
                elif not self._handled(call, event):
                    return None
        except EnclaveTimeout as late:
            if late.args:
                raise
            raise EnclaveTimeout(
                f"{enclave.image.path}: the call did not return in time{call.where()}; it is abandoned"
            ) from None
        except Done as done:
            call.unfinished = False
            if enclave.watcher is not None:
                enclave.watcher.returned(call, done.args[0])
            if call.failure is not None:
                raise call.failure from None
            return done.args[0]

    def _handled(self, call: Call, exception: EnclaveException) -> bool:
        """Do about the exception what was decided; False to give up the call."""
        enclave = self.enclave
        call.met(exception)
        action = enclave.on_exception(exception) if enclave.on_exception else Action.HANDLE
        if action is Action.RESUME:
            call.entry.resume(call.left())
            return True
        inside = exception.leaf is EncluLeaf.ERESUME
        if action is Action.HANDLE and inside:
            if self.handler_is_resumed and enclave.debug and call.exceptions <= TOLD:
                exception.ssa  # noqa: B018 - before the handler's first half changes it
            call.repairs.append(exception)
            try:
                if self.repair(call, exception):
                    call.entry.resume(call.left())
                    call.handled = exception
                    return True
            except EnclaveException as other:
                _handled_before(other, exception)
                raise
            finally:
                call.repairs.pop()
            event = call.entry.event
            if isinstance(event, Interrupted):
                raise EnclaveTimeout
            if isinstance(event, EnclaveException) and event is not exception:
                call.met(event)
                _handled_before(event, exception)
                exception = event
        if exception.handled is None:
            exception.handled = call.handled
        if inside and enclave.debug:
            exception.ssa  # noqa: B018 - as long as it is there
        if not inside and not call.entered:
            call.unfinished = False  # the enclave has not learnt of the call
        if action is Action.UNWIND:
            return False
        if isinstance(action, Action):
            raise exception
        raise HostError(f"on_exception returned {action!r}, which is no Action")

    def refusal(self, result: Any) -> str:
        """What the enclave says by a result that tells that it has not done what was asked; nothing otherwise."""
        return ""

    def give_up(self, call: Call) -> None:
        """The enclave was left before the call was over, and will not be resumed.  May be called again."""
        self.enclave.tcs_pool.abandon(call.tcs)


def _handled_before(exception: EnclaveException, handled: EnclaveException) -> None:
    """The exception has happened in the handler of another, which is the last of those that it tells of."""
    depth, last = 1, exception
    while last.handled is not None:
        depth, last = depth + 1, last.handled
    last.handled, handled.above = handled, depth
    if exception.leaf is EncluLeaf.ERESUME and exception.enclave is not None and exception.enclave.debug:
        exception.ssa, handled.ssa  # noqa: B018 - as long as they are there


def named(name: str) -> type[Convention]:
    """Raises HostError for a name that is none."""
    if name not in NAMES:
        raise HostError(f"no convention is called {name!r}: {', '.join(NAMES)}")
    module, convention = NAMES[name]
    found: type[Convention] = getattr(importlib.import_module(f"enclu.host.conventions.{module}"), convention)
    return found
