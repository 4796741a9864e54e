"""The conventions of Open Enclave: what its host library and its enclaves' runtime agree upon.

Every entry and exit has a code, a function and a result in RDI, an argument in RSI; entries have memory for OCALLs in
RDX.  Open Enclave: host/sgx/linux/enter.c, host/sgx/calls.c, enclave/core/sgx/enter.S, calls.c, exception.c.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from enclu.host.arena import Given
from enclu.host.call import Call
from enclu.host.convention import Convention, Done
from enclu.host.conventions.open_enclave import abi, names, releases
from enclu.host.conventions.open_enclave.abi import Code, EcallFunction, OcallFunction, OeError, OeResult
from enclu.host.conventions.open_enclave.marshal import EcallMarshaller, aligned
from enclu.host.conventions.open_enclave.ocalls import HostFunctions, Unserved
from enclu.host.conventions.open_enclave.system import LOGGER, SystemOcalls, foreign, log_interface
from enclu.host.edl.types import Type, Types
from enclu.host.errors import EnclaveTimeout, HostError
from enclu.host.events import EnclaveException, Exit
from enclu.host.images import OpenEnclaveImage

if TYPE_CHECKING:
    from enclu.host.edl.interface import Interface
    from enclu.host.edl.syntax import Ecall
    from enclu.host.enclave import Enclave
    from enclu.host.frames import Registers
    from enclu.host.thread import CallUnderWay

ENCLAVE_HANDLE = 4096
"""Bytes of what enclaves take for their oe_enclave_t: an address that they hand back."""
NO_ARGUMENTS = bytes(256)
"""A function's structure with every number zero and every pointer NULL."""
STOP = 10.0
"""Seconds that destructors may take."""
LOG_INIT, LOG_LEVEL_WARNING = "oe_log_init_ecall", 3
Function = int | str


class OeCall(Call):
    """`contexts` has an oe_ecall_context_t for each CSSA; `function` is the runtime's that is called."""

    function: int

    contexts: int
    context_size: int

    @property
    def context(self) -> int:
        return self.contexts + self.depth * self.context_size


class OpenEnclaveConvention(Convention):
    """Enclaves that were built with Open Enclave, from 0.9 on; older ones in part.

    `ecall(function, data, output_size)` takes what generated code gives: the function's number, or its name if the
    image has symbols, and its input buffer; the result is the output buffer.  OCALLs are called by name or number with
    (input buffer, size of the output buffer) and return the latter's bytes.  Without `data`, every argument is zero.

    With an interface from an EDL file, `ecall(name, ...)` takes the function's arguments, and OCALLs get theirs; other
    functions go on as without.
    Open Enclave's own OCALLs (CPUID, logging, standard input and output, waiting) are served; a callable of the same
    name goes first.
    """

    handler_is_resumed = True
    needs = ("rdi", "rsi", "rdx")

    def __init__(
        self, enclave: Enclave, interface: Interface | None = None, types: Mapping[str, Type | int] | None = None,
        serve: str | Sequence[str] = (),
    ) -> None:  # fmt: skip
        super().__init__(enclave)
        if not isinstance(enclave.image, OpenEnclaveImage):
            raise HostError(f"{enclave.image.path}: this is no Open Enclave image")
        self.names = names.read(enclave.image.elf)
        self.interface = interface
        self._types = Types(interface, foreign(types)) if interface is not None else None
        self._ecalls: dict[str, EcallMarshaller] = {}
        self._handle = enclave.process.memory.allocate(ENCLAVE_HANDLE)
        self._given = Given(enclave.process.arena)
        """Memory that the enclave has asked for."""
        self._initialized = False
        self.release = releases.of(self.names, enclave.image.loader)
        """Of Open Enclave."""
        self.names.rename(self.release.renamed)
        self._system = SystemOcalls(self)
        self.host_functions = HostFunctions(self, self.release, self._system, interface, self._types, serve)
        self.host_functions.say_what_is_missing()

    # The enclave's life.

    def start(self, timeout: float | None) -> None:
        """INIT_ENCLAVE: relocations, CPUID, constructors; then how much the enclave is to log."""
        self.command(EcallFunction.INIT_ENCLAVE, self._handle, timeout)
        self._initialized = True
        if LOG_INIT in self.names.ecalls:
            marshaller = self._marshaller(log_interface().ecalls[0], Types(log_interface(), foreign(None)))
            self._call(LOG_INIT, *marshaller.pack((str(self.enclave.image.path), LOG_LEVEL_WARNING)), timeout)

    def stop(self) -> None:
        """CALL_AT_EXIT_FUNCTIONS, DESTRUCTOR; what the enclave had asked for is freed."""
        if self._initialized:
            for function in (EcallFunction.CALL_AT_EXIT_FUNCTIONS, EcallFunction.DESTRUCTOR):
                with contextlib.suppress(HostError):  # before 0.19, there is only the latter
                    self.command(function, 0, STOP)
        self.host_functions.close()
        self.enclave.process.memory.free(self._handle)
        self._given.give_back()

    # ECALLs.

    def ecall(self, function: Function, *args: Any, timeout: float | None = None) -> Any:
        """As the class says; None if an exception handler gave up the call.  Raises OeError."""
        if self.interface is not None and function in self.interface.ecall_numbers:
            assert isinstance(function, str)
            return self._typed_ecall(self.interface, function, args, timeout)
        data, output_size = (*args, None, None)[:2]
        if len(args) > 2 or not isinstance(data, bytes | bytearray | memoryview | None):
            raise TypeError("without an EDL file, an ECALL takes its input buffer and the size of its output buffer")
        data = NO_ARGUMENTS if data is None else bytes(data)
        return self._call(function, data, len(data) if output_size is None else output_size, timeout)

    def command(self, function: EcallFunction, argument: int, timeout: float | None = None) -> None:
        """An ECALL of the runtime's.  Raises OeError."""
        result = self._enter(function, argument, timeout)
        if result is not None and result:
            raise OeError(f"{self.enclave.image.path}: {function.name}", result)

    def _typed_ecall(self, interface: Interface, name: str, args: tuple[Any, ...], timeout: float | None) -> Any:
        number = interface.ecall_numbers[name]
        assert self._types is not None
        if name not in self._ecalls:
            self._ecalls[name] = self._marshaller(interface.ecalls[number], self._types)
        marshaller = self._ecalls[name]
        output = self._call(name if name in self.names.ecalls else number, *marshaller.pack(args), timeout)
        return None if output is None else marshaller.unpack(output, args)

    def _marshaller(self, ecall: Ecall, types: Types) -> EcallMarshaller:
        return EcallMarshaller(ecall, types, self.host_functions.deep_copy is not False)

    def _call(self, function: Function, data: bytes, output_size: int, timeout: float | None) -> bytes | None:
        """CALL_ENCLAVE_FUNCTION with these buffers; the output buffer."""
        number, what = self._number(function), f"{self.enclave.image.path}: ECALL {function}"
        data = data.ljust(max(aligned(len(data)), abi.ALIGNMENT), b"\0")
        output_size = max(aligned(output_size), abi.ALIGNMENT)
        memory, args = self.enclave.process.memory, self.names.call_args
        table = {"table_id": abi.DEFAULT_TABLE} if self.names.tables else {}
        with (
            memory.own(data) as source,
            memory.own(bytes(output_size)) as target,
            memory.own(
                args.pack(
                    **table, function_id=number, input_buffer=source, input_buffer_size=len(data),
                    output_buffer=target, output_buffer_size=output_size, result=OeResult.OE_UNEXPECTED,
                )
            ) as address,
        ):  # fmt: skip
            result = self._enter(EcallFunction.CALL_ENCLAVE_FUNCTION, address, timeout)
            if result is None:
                return None
            output = memory.read(target, output_size)
        result = result or int.from_bytes(output[:4], "little")
        if result:
            raise OeError(what, result)
        return output

    def _number(self, function: Function) -> int:
        if isinstance(function, int):
            return function & (1 << 64) - 1
        if function in self.names.ecalls:
            return self.names.ecalls.index(function)
        known = ", ".join(filter(None, self.names.ecalls)) or "the image has no symbols, call them by number"
        raise HostError(f"{self.enclave.image.path}: there is no ECALL `{function}': {known}")

    def _enter(self, function: int, argument: int, timeout: float | None) -> int | None:
        """One ECALL on a TCS of the calling thread; its result, None if it was given up."""
        layout = abi.CONTEXT_WITH_TABLE if self.names.tables else abi.CONTEXT
        with OeCall(self.enclave, timeout) as call:
            call.lease()
            call.function = function
            buffer = call.allocate(abi.OCALL_BUFFER_SIZE)
            context = layout.pack(ocall_buffer_size=abi.OCALL_BUFFER_SIZE, ocall_buffer=buffer)
            call.contexts, call.context_size = call.allocate(context + layout.pack()), layout.size
            result: int | None = self.run(
                call, rdi=abi.call_argument(Code.ECALL, function), rsi=argument, rdx=call.context
            )
            return result

    @property
    def current(self) -> CallUnderWay:
        """The ECALL that the calling thread is in."""
        return self.enclave.process.thread().calls[-1]

    # What happens during a call.

    def exited(self, call: Call, registers: Registers) -> None:
        assert isinstance(call, OeCall)
        code, function, result = abi.parts(registers.rdi)
        if code == Code.ERET:
            raise Done(result or registers.rsi & 0xFFFF_FFFF)
        if code != Code.OCALL:
            raise HostError(f"{self.enclave.image.path}: the enclave left with code {code}, which is none")
        result, value = self._ocall(call, function, registers.rsi)
        call.enter(rdi=abi.call_argument(Code.ORET, function, result), rsi=value, rdx=call.context)

    def refusal(self, result: Any) -> str:
        return OeResult(result).name if result in list(OeResult) and result else ""

    def _ocall(self, call: OeCall, function: int, argument: int) -> tuple[int, int]:
        """Result and value for the enclave.  What goes wrong is raised when the ECALL is over."""
        try:
            call.check()
            known, name = self.release.function(function), self.release.functions.get(function)
            if known is None and name is not None:
                raise Unserved(f"{self.enclave.image.path}: the enclave's OE_OCALL_{name} is not supported")
            initializing = call.function == EcallFunction.INIT_ENCLAVE
            function = known or function
            if function == OcallFunction.CALL_HOST_FUNCTION:
                return self.host_functions.call(argument, initializing=initializing), 0
            if function == OcallFunction.MALLOC:
                return OeResult.OE_OK, self._malloc(argument)
            if function == OcallFunction.FREE:
                self._free(argument)
                return OeResult.OE_OK, 0
            if function == OcallFunction.THREAD_WAIT:
                return self._system.wait(argument), 0
            if function == OcallFunction.THREAD_WAKE:
                return self._system.wake(argument), 0
            if function == OcallFunction.GET_TIME:
                import time

                return OeResult.OE_OK, time.time_ns() // 1_000_000
            return OeResult.OE_NOT_FOUND, 0
        except EnclaveTimeout:
            raise
        except Unserved as error:
            LOGGER.warning("%s", error)
            return OeResult.OE_UNSUPPORTED, 0
        except OeError as error:
            call.fail(error)
            return error.result, 0
        except BaseException as error:
            call.fail(error)
            return OeResult.OE_FAILURE, 0

    # Memory for the enclave.

    def _malloc(self, size: int) -> int:
        """Address of so many bytes; 0 if there are none."""
        blocks = self.current.blocks
        try:
            address = self.enclave.process.memory.take(max(size, 1), 16, blocks)
        except HostError:
            return 0
        self._given.add(blocks)
        return address

    def give(self, data: bytes) -> int:
        """The address of bytes that the enclave will free."""
        address = self._malloc(aligned(len(data)))
        if not address:
            raise OeError(f"{self.enclave.image.path}: no memory for the enclave", OeResult.OE_OUT_OF_MEMORY)
        self.enclave.process.memory.write(address, data)
        return address

    def _free(self, address: int) -> None:
        with contextlib.suppress(KeyError):
            self._given.free(address)

    def realloc(self, address: int, size: int) -> int:
        """As realloc(3)."""
        moved = self._malloc(size)
        if moved and address in self._given:
            memory = self.enclave.process.memory
            memory.write(moved, memory.read(address, size)[:size])
            self._free(address)
        return moved

    # Exceptions.

    def repair(self, call: Call, exception: EnclaveException) -> bool:
        """VIRTUAL_EXCEPTION_HANDLER, at the next CSSA: the enclave prepares its handlers, which run when resumed."""
        assert isinstance(call, OeCall)
        if not self.release.handlers:
            exception.add_note(f"handlers of Open Enclave {self.release.name} are not called")
            return False
        call.depth = 1
        try:
            argument = abi.call_argument(Code.ECALL, EcallFunction.VIRTUAL_EXCEPTION_HANDLER)
            call.enter(rdi=argument, rdx=call.context)
        except BaseException:
            call.depth = 0
            raise
        return self.repaired(call, exception)

    def repaired(self, call: Call, exception: EnclaveException) -> bool:
        try:
            call.watch()
        finally:
            call.depth = 0
        event = call.entry.event
        if not isinstance(event, Exit):
            return False
        code, _, result = abi.parts(event.registers.rdi)
        answer = event.registers.rsi & 0xFFFF_FFFF
        if code == Code.ERET and not result and answer == abi.EXCEPTION_CONTINUE_EXECUTION:
            return True
        aborting = answer in (OeResult.OE_ENCLAVE_ABORTING, OeResult.OE_ENCLAVE_ABORTED)
        exception.add_note("the enclave is aborting" if aborting else "the enclave does not handle it")
        return False
