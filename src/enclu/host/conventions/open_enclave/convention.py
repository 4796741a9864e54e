"""The conventions of Open Enclave: what its host library and its enclaves' runtime agree upon.

Every entry and exit has a code, a function and a result in RDI, an argument in RSI; entries have memory for OCALLs in
RDX.  Open Enclave: host/sgx/linux/enter.c, host/sgx/calls.c, enclave/core/sgx/enter.S, calls.c, exception.c.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from enclu.host.arena import Given
from enclu.host.call import Call
from enclu.host.convention import Convention, Done
from enclu.host.conventions.libraries import Libraries
from enclu.host.conventions.open_enclave import abi, names, releases
from enclu.host.conventions.open_enclave.abi import Code, EcallFunction, OcallFunction, OeError, OeResult
from enclu.host.conventions.open_enclave.attestation import FORMAT_IDS, AttestationOcalls
from enclu.host.conventions.open_enclave.marshal import EcallMarshaller, OcallMarshaller, aligned
from enclu.host.conventions.open_enclave.system import LOGGER, SystemOcalls, foreign, log_interface
from enclu.host.conventions.open_enclave.system import interface as system_interface
from enclu.host.edl.types import Type, Types
from enclu.host.errors import EnclaveTimeout, HostError
from enclu.host.events import EnclaveException, Exit
from enclu.host.images import OpenEnclaveImage

if TYPE_CHECKING:
    from enclu.host.edl.interface import Interface
    from enclu.host.enclave import Enclave
    from enclu.host.frames import Registers
    from enclu.host.thread import CallUnderWay

ENCLAVE_HANDLE = 4096
"""Bytes of what enclaves take for their oe_enclave_t: an address that they hand back."""
LARGEST_BUFFER = 1 << 28
"""Bytes of one OCALL's buffer; an enclave that has more to say says something wrong."""
NO_ARGUMENTS = bytes(256)
"""A function's structure with every number zero and every pointer NULL."""
STOP = 10.0
"""Seconds that destructors may take."""
CPUID_TABLE = "oe_sgx_get_cpuid_table_ocall"
LOG_INIT = "oe_log_init_ecall"
SHORT_STRUCTURE, LONG_STRUCTURE = 32, 48
"""Bytes of the CPUID OCALL's structure, without and with what deep copies need (0.14 and later)."""

SYSTEM_PREFIX = "oe_"
"""Of names of Open Enclave's own functions."""

Function = int | str


class Unserved(Exception):
    """An OCALL of Open Enclave's own that is not served: enclaves know what to do without."""


class OeCall(Call):
    """`contexts` has an oe_ecall_context_t for each CSSA."""

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
        self.tables = self.names.tables
        """Calls name a table of functions; until 0.10."""
        self.deep_copy: bool | None = None
        """Structures have fields for deep copies.  Known from the first OCALL."""
        self.interface = interface
        self._types = Types(interface, foreign(types)) if interface is not None else None
        self._libraries = Libraries(enclave.process.memory, serve)
        self._system = SystemOcalls(self)
        self._ecalls: dict[str, EcallMarshaller] = {}
        self._ocalls: dict[tuple[int, int], Callable[[bytes, int], bytes]] = {}
        self._handle = enclave.process.memory.allocate(ENCLAVE_HANDLE)
        self._given = Given(enclave.process.arena)
        """Memory that the enclave has asked for."""
        self._starting = False
        self.release = releases.of(self.names, enclave.image.loader)
        """Of Open Enclave."""
        self.names.rename(self.release.renamed)
        self._say_what_is_missing()

    def _say_what_is_missing(self) -> None:
        """Releases before 0.9 are provided for in part."""
        if not self.release.missing:
            return
        own = sorted(name for name in self.names.ocalls.values() if name.startswith(SYSTEM_PREFIX))
        unserved = [name for name in own if self._own(name) is None and name not in self.enclave.ocalls]
        LOGGER.warning(
            "%s: built with Open Enclave %s; missing will be %s%s", self.enclave.image.path, self.release.name,
            self.release.missing, f"; of its own OCALLs: {', '.join(unserved)}" if unserved else "",
        )  # fmt: skip

    def _own(self, name: str) -> Callable[..., Any] | None:
        """What serves an OCALL of Open Enclave's own."""
        return None if name in self.release.other else self._system.table.get(name)

    @property
    def _args(self) -> Any:
        return abi.CALL_ARGS_WITH_TABLE if self.tables else abi.CALL_ARGS

    # The enclave's life.

    def start(self, timeout: float | None) -> None:
        """INIT_ENCLAVE: relocations, CPUID, constructors; then how much the enclave is to log."""
        self._starting = True
        self.command(EcallFunction.INIT_ENCLAVE, self._handle, timeout)
        self._starting = False
        if LOG_INIT in self.names.ecalls:
            level = 3  # OE_LOG_LEVEL_WARNING
            types = Types(log_interface(), foreign(None))
            marshaller = EcallMarshaller(log_interface().ecalls[0], types, self.deep_copy is not False)
            self._call(LOG_INIT, *marshaller.pack((str(self.enclave.image.path), level)), timeout)

    def stop(self) -> None:
        """CALL_AT_EXIT_FUNCTIONS, DESTRUCTOR; what the enclave had asked for is freed."""
        if not self._starting:
            for function in (EcallFunction.CALL_AT_EXIT_FUNCTIONS, EcallFunction.DESTRUCTOR):
                with contextlib.suppress(HostError):  # before 0.19, there is only the latter
                    self.command(function, 0, STOP)
        self._libraries.close()
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
            self._ecalls[name] = EcallMarshaller(interface.ecalls[number], self._types, self.deep_copy is not False)
        marshaller = self._ecalls[name]
        output = self._call(name if name in self.names.ecalls else number, *marshaller.pack(args), timeout)
        return None if output is None else marshaller.unpack(output, args)

    def _call(self, function: Function, data: bytes, output_size: int, timeout: float | None) -> bytes | None:
        """CALL_ENCLAVE_FUNCTION with these buffers; the output buffer."""
        number, what = self._number(function), f"{self.enclave.image.path}: ECALL {function}"
        data = data.ljust(max(aligned(len(data)), abi.ALIGNMENT), b"\0")
        output_size = max(aligned(output_size), abi.ALIGNMENT)
        memory, args = self.enclave.process.memory, self._args
        table = {"table_id": abi.DEFAULT_TABLE} if self.tables else {}
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
        layout = abi.CONTEXT_WITH_TABLE if self.tables else abi.CONTEXT
        with OeCall(self.enclave, timeout) as call:
            call.lease()
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

    def _ocall(self, call: OeCall, function: int, argument: int) -> tuple[int, int]:
        """Result and value for the enclave.  What goes wrong is raised when the ECALL is over."""
        try:
            call.check()
            known, name = self.release.function(function), self.release.functions.get(function)
            if known is None and name is not None:
                raise Unserved(f"{self.enclave.image.path}: the enclave's OE_OCALL_{name} is not supported")
            function = known or function
            if function == OcallFunction.CALL_HOST_FUNCTION:
                return self._host_function(argument), 0
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

    def _host_function(self, address: int) -> int:
        """CALL_HOST_FUNCTION: an OCALL of an EDL file, the program's or Open Enclave's own."""
        memory, args = self.enclave.process.memory, self._args
        image = memory.read(address, args.size)
        given = args.unpack(image)
        for name in ("input_buffer_size", "output_buffer_size"):
            if given[name] > LARGEST_BUFFER:
                raise OeError(f"{self._ocall_name(given)}: {name} {given[name]:#x}", OeResult.OE_INVALID_PARAMETER)
        data = memory.read(given["input_buffer"], given["input_buffer_size"])
        output_size = given["output_buffer_size"]
        key = (given.get("table_id", abi.DEFAULT_TABLE), given["function_id"])
        serve = self._ocalls.get(key)
        if serve is None:
            serve = self._ocalls[key] = self._server(key, given)
        output = serve(data, output_size)
        memory.write(given["output_buffer"], output)
        done = args.pack(**given | {"output_bytes_written": output_size, "result": OeResult.OE_OK})
        memory.write(address, done)
        return OeResult.OE_OK

    def _ocall_name(self, given: dict[str, int]) -> str:
        name = self.names.ocall(given.get("table_id", abi.DEFAULT_TABLE), given["function_id"])
        return f"{self.enclave.image.path}: the enclave's OCALL {name or given['function_id']}"

    def _server(self, key: tuple[int, int], given: dict[str, int]) -> Callable[[bytes, int], bytes]:
        """What serves an OCALL, given its input buffer and the size of the output buffer."""
        table, number = key
        name = self.names.ocall(table, number)
        own = table == abi.DEFAULT_TABLE
        interface = self.interface
        if name is None and own and interface is not None and number < len(interface.ocalls):
            name = interface.ocalls[number].name
        if name is None and self._starting and self.deep_copy is None and _may_be_cpuid(given):
            name = CPUID_TABLE  # the first that every enclave asks for
        if self.deep_copy is None and name == CPUID_TABLE:
            self.deep_copy = given["input_buffer_size"] != SHORT_STRUCTURE
        function = self.enclave.ocalls.get(name) if name is not None else None
        if function is None and own:
            function = self.enclave.ocalls.get(number)
        if function is None and interface is not None and self._types is not None and name in interface.ocall_numbers:
            function = self._libraries.function(interface.ocalls[interface.ocall_numbers[name]], self._types)
        if function is not None:
            if interface is not None and name in interface.ocall_numbers:
                assert self._types is not None
                return self._served(interface, self._types, name, function)
            return lambda data, size: _fitted(function(data, size), size)
        if name == FORMAT_IDS:
            return AttestationOcalls(self).format_ids
        served = self._own(name or "")
        if served is None and (not own or (name is not None and name.startswith(SYSTEM_PREFIX))):
            raise Unserved(f"{self._ocall_name(given)} is not supported")
        if served is None or name is None:
            raise OeError(f"{self._ocall_name(given)}: there is no function for it", OeResult.OE_NOT_FOUND)
        return self._served(system_interface(), Types(system_interface(), foreign(None)), name, served)

    def _served(
        self, interface: Interface, types: Types, name: str, python: Callable[..., Any]
    ) -> Callable[[bytes, int], bytes]:
        ocall = interface.ocalls[interface.ocall_numbers[name]]
        marshaller = OcallMarshaller(ocall, types, self.deep_copy is not False)
        return lambda data, size: marshaller.serve(python, data, size)

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


def _may_be_cpuid(given: dict[str, int]) -> bool:
    """By the sizes of the CPUID OCALL's buffers."""
    table = given["output_buffer_size"] - given["input_buffer_size"]
    return given["input_buffer_size"] in (SHORT_STRUCTURE, LONG_STRUCTURE) and table in (96, 128)


def _fitted(output: Any, size: int) -> bytes:
    """An OCALL's output buffer; without one, zeros, which say OE_OK."""
    data = b"" if output is None else bytes(output)
    if len(data) > size:
        raise ValueError(f"the OCALL's output buffer has {size} bytes, not {len(data)}")
    return data.ljust(size, b"\0")
