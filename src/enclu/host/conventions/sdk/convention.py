"""The conventions of Intel's SGX SDK: what its untrusted runtime (uRTS) and enclaves' trusted one (tRTS) agree upon.

An ECALL is an EENTER with its number in RDI and the address of its arguments in RSI.  The enclave leaves with RDI = -1
when the ECALL is over, and with an OCALL's number otherwise; the way back is an EENTER with RDI = ECMD_ORET.
SDK: psw/urts/enclave.cpp, linux/sig_handler.cpp; sdk/trts/linux/trts_pic.S, trts_nsp.cpp.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from enclu.host.call import Call
from enclu.host.convention import Convention, Done
from enclu.host.conventions.libraries import Libraries
from enclu.host.conventions.sdk import abi, cpu, edl_check, emm
from enclu.host.conventions.sdk.abi import BuiltinOcall, EnterCommand, SystemFeatures
from enclu.host.conventions.sdk.binding import Binding, TrustedThread
from enclu.host.conventions.sdk.ocalls import SdkOcalls
from enclu.host.conventions.sdk.status import SdkError, SgxStatus
from enclu.host.edl.interface import Interface
from enclu.host.edl.marshal import EcallMarshaller, OcallMarshaller
from enclu.host.edl.types import Type, Types
from enclu.host.errors import HostError
from enclu.host.events import EnclaveException, Exit
from enclu.host.images import IntelSdkImage, sdk_tables
from enclu.host.images.intel_sdk import REBUILD, RunTime
from enclu.sgx.structs import Attribute

if TYPE_CHECKING:
    from enclu.host.agent_process import AgentProcess
    from enclu.host.enclave import Enclave
    from enclu.host.frames import Registers
    from enclu.host.images import Image

MASK_64 = (1 << 64) - 1


class SdkCall(Call):
    """On the calling thread's TCS, or on the one that is kept for commands."""

    trusted: TrustedThread | None = None
    ended = False
    """The enclave's thread has exited: no call on its TCS goes on."""

    def finish(self) -> None:
        convention = self.enclave.convention
        if self.trusted is None:
            return
        assert isinstance(convention, SdkConvention)
        if self.tcs in self.enclave.lost:
            convention.binding.abandon(self.tcs, self)
        convention.binding.release(self.trusted, self, reset=self.ended)


class SdkConvention(Convention):
    """Enclaves that were built with the SDK.

    `ecall(number, ms)` takes what generated code gives: a number and the address of a structure, or its bytes (of a
    bytearray, what the enclave wrote comes back); OCALLs are called with an address.  With an interface from an EDL
    file, `ecall(name, ...)` takes the function's arguments, and OCALLs get theirs, by name.
    """

    handler_is_resumed = True
    needs = ("rdi", "rsi")
    interface: ClassVar[Interface | None] = None
    """Of the enclave, if an EDL file tells it; `Interface.convention` makes the class that has it."""
    types: ClassVar[Mapping[str, Type | int]] = {}
    """What types of C headers are, which no EDL file tells: classes of ctypes, or sizes."""
    run_time: ClassVar[RunTime | None] = None
    """How memory and TCSes are managed; None takes what the image's metadata says."""
    serve: ClassVar[str | Sequence[str]] = ()
    """Libraries of OCALLs that are served without a function of the user's."""

    @classmethod
    def check(cls, image: Image, process: AgentProcess) -> None:
        super().check(image, process)
        if isinstance(image, IntelSdkImage) and image.simulation:
            raise HostError(
                f"{image.path}: built for the SDK's simulation mode, where its host's functions stand for ENCLU: "
                f"{REBUILD}, and sign it again (`enclu measure` and `enclu inspect` read it all the same)"
            )

    def __init__(self, enclave: Enclave) -> None:
        super().__init__(enclave)
        interface = self.interface
        self.cpuid = cpu.of_process(enclave.process)
        image = enclave.image
        # Runtimes of others, whose images have no metadata, may speak as the SDK's.
        managed = self.run_time or (image.run_time if isinstance(image, IntelSdkImage) else RunTime())
        self.edmm = managed.edmm
        """Whether the enclave manages its memory, by SGX2."""
        self.modify: Callable[[Enclave, abi.EmmModify], int] = emm.modify
        """What changes pages when the enclave asks for it; an enclave_error_t.  A hostile host has one of its own."""
        dynamic = [enclave.base + offset for offset in managed.dynamic_tcs]
        self.binding = Binding(
            enclave.tcs_pool, dynamic, self._make_tcs, bind=managed.bind, minimum=managed.minimum_tcs
        )
        self._sdk_ocalls = SdkOcalls(self)
        self._libraries = Libraries(enclave.process.memory, self.serve)
        self._types = Types(interface, self.types) if interface is not None else None
        self._ecalls: dict[str, EcallMarshaller] = {}
        self._ocalls: dict[int, Callable[[int], None]] = {}
        if interface is not None:
            edl_check.check(image.path, interface)
            self._check_ocalls(interface)

    @cached_property
    def release(self) -> tuple[int, int, int] | None:
        """The SDK's release by which the enclave was built; None if it does not say."""
        return sdk_tables.release(self.enclave.image.path)

    @property
    def served(self) -> frozenset[str]:
        """Names of OCALLs of the SDK's own libraries, which are served without a function of the user's."""
        return frozenset(self._sdk_ocalls.table)

    # The enclave's life.

    def start(self, timeout: float | None) -> None:
        """ECMD_INIT_ENCLAVE: relocations, heap, what of the processor the libraries may use."""
        features = self._features()
        with self.enclave.process.memory.own(bytes(features)) as address:
            self.command(EnterCommand.ECMD_INIT_ENCLAVE, address, timeout)
        self.binding.reset()
        self.binding.fill(timeout)

    def stop(self) -> None:
        """ECMD_UNINIT_ENCLAVE: destructors run, memory goes back."""
        if self.edmm:
            with contextlib.suppress(SdkError, EnclaveException):
                self.command(EnterCommand.ECMD_UNINIT_ENCLAVE, 0)
        self._libraries.close()

    def _features(self) -> SystemFeatures:
        features = SystemFeatures(system_feature_set=abi.FEATURES_LAST | abi.FEATURES_EXTENDED)
        features.version = abi.SdkVersion.SDK_VERSION_3_0 if self.edmm else abi.SdkVersion.SDK_VERSION_1_5
        if self.edmm:
            features.system_feature_set |= abi.FEATURES_EDMM
        if self.enclave.attributes & Attribute.AEXNOTIFY:
            features.system_feature_set |= abi.FEATURES_AEX_NOTIFY
        features.cpu_features, features.cpu_features_ext = cpu.features(self.cpuid, self.enclave.xfrm)
        for leaf, registers in cpu.cpuinfo(self.cpuid).items():
            features.cpuinfo_table[leaf][:] = registers
        features.size = ctypes.sizeof(SystemFeatures)
        features.cpu_core_num = len(os.sched_getaffinity(0))
        return features

    def _make_tcs(self, tcs: int, timeout: float | None) -> None:
        """ECMD_MKTCS: the enclave prepares a page and has its type changed."""
        with self.enclave.process.memory.own(tcs.to_bytes(8, "little")) as address:
            self.command(EnterCommand.ECMD_MKTCS, address, timeout)

    # ECALLs.

    def ecall(self, function: int | str, *args: Any, timeout: float | None = None) -> Any:
        """As the class says.  Raises SdkError for every status but SGX_SUCCESS."""
        if isinstance(function, str):
            return self._typed_ecall(function, args, timeout)
        if function < 0 or len(args) > 1:
            raise SdkError(self._at(function), SgxStatus.SGX_ERROR_INVALID_FUNCTION)
        ms = args[0] if args else 0
        if isinstance(ms, int):
            self._enter(function, ms, timeout)
            return None
        memory = self.enclave.process.memory
        with memory.own(bytes(ms)) as address:
            self._enter(function, address, timeout)
            if isinstance(ms, bytearray):
                ms[:] = memory.read(address, len(ms))
        return None

    def command(self, command: EnterCommand, argument: int, timeout: float | None = None) -> None:
        """Enter the enclave for something that is no ECALL.  Raises SdkError."""
        self._enter(command, argument, timeout)

    def _typed_ecall(self, name: str, args: tuple[Any, ...], timeout: float | None) -> Any:
        if self.interface is None or self._types is None:
            raise HostError(f"{self.enclave.image.path}: ECALLs have names where an EDL file gives them")
        number = self.interface.ecall_numbers.get(name)
        if number is None:
            raise HostError(f"{self.interface.path}: there is no trusted function `{name}'")
        if name not in self._ecalls:
            ecall = self.interface.ecalls[number]
            self._ecalls[name] = EcallMarshaller(ecall, self._types, string_lengths=abi.string_lengths(self.release))
        with self.enclave.process.memory.lending() as memory:
            return self._ecalls[name].call(memory, args, lambda address: self._enter(number, address, timeout))

    def _enter(self, number: int, argument: int, timeout: float | None) -> bool:
        """EENTER with a number or command, on the calling thread's TCS, until it is over.

        False if an exception handler gave it up.  Raises SdkError.
        """
        utility = number in (EnterCommand.ECMD_INIT_ENCLAVE, EnterCommand.ECMD_MKTCS, EnterCommand.ECMD_UNINIT_ENCLAVE)
        with SdkCall(self.enclave, timeout) as call:
            if utility and self.binding.utility is not None:
                call.trusted = self.binding.utility
                call.trusted.calls.append(call)
            else:
                call.trusted = self.binding.acquire(call)
            if call.trusted is None:
                bound = "bound to a living thread" if self.binding.bind else "in use"
                why = f"each TCS of {len(self.enclave.tcs)} is {bound}"
                raise SdkError(self._at(number), SgxStatus.SGX_ERROR_OUT_OF_TCS, why)
            call.tcs = call.trusted.tcs
            status = self.run(call, rdi=number & MASK_64, rsi=argument)
            call.ended = status == SgxStatus.SGX_PTHREAD_EXIT
        if status:
            raise SdkError(self._at(number), status)
        return status is not None

    def _at(self, number: int) -> str:
        if number < 0:
            what = EnterCommand(number).name
        elif self.interface is not None and number < len(self.interface.ecalls):
            what = f"{self.interface.ecalls[number].name}()"
        else:
            what = f"ECALL {number}"
        return f"{self.enclave.image.path}: {what}"

    # What happens during a call.

    def exited(self, call: Call, registers: Registers) -> None:
        number = abi.signed(registers.rdi)
        if number == abi.OCMD_ERET:
            raise Done(registers.rsi & 0xFFFF_FFFF)
        status = self._ocall(call, number, registers.rsi)
        call.enter(rdi=EnterCommand.ECMD_ORET & MASK_64, rsi=status)

    def refusal(self, result: Any) -> str:
        return SgxStatus(result).name if result and result in list(SgxStatus) else ""

    def _ocall(self, call: Call, number: int, ms: int) -> int:
        """Serve an OCALL; the status for the enclave.  What a callable raises is raised when the ECALL is over."""
        if number in abi.BUILTIN_OCALLS:
            return self.builtin(number, ms)
        try:
            call.check()
            serve = self._ocalls.get(number)
            if serve is None:
                serve = self._ocalls[number] = self._server(number)
            serve(ms)
        except BaseException as error:
            call.fail(error)
            return SgxStatus.SGX_ERROR_UNEXPECTED
        return SgxStatus.SGX_SUCCESS

    def _server(self, number: int) -> Callable[[int], None]:
        """What serves an OCALL, given the address of its structure."""
        enclave, interface = self.enclave, self.interface
        memory = enclave.process.memory
        function = enclave.ocalls.get(number)
        if interface is None or number >= len(interface.ocalls):
            return lambda ms: self.ocall(number, ms)
        ocall = interface.ocalls[number]
        assert self._types is not None
        function = enclave.ocalls.get(ocall.name, function) or self._sdk_ocalls.table.get(ocall.name)
        function = function or self._libraries.function(ocall, self._types)
        if function is None:
            raise HostError(
                f"{enclave.image.path}: the enclave makes OCALL `{ocall.name}', for which there is no function"
                + self._libraries.hint(ocall, self._types)
            )
        marshaller = OcallMarshaller(ocall, self._types)
        return lambda ms: marshaller.call(memory, ms, function)

    def builtin(self, number: int, ms: int) -> int:
        """Serve one of `abi.BUILTIN_OCALLS`; the status for the enclave."""
        memory = self.enclave.process.memory
        if number == BuiltinOcall.EDMM_ALLOC:
            request = abi.EmmAlloc.from_buffer_copy(memory.read(ms, ctypes.sizeof(abi.EmmAlloc)))
            result = emm.alloc(self.enclave, request)
        elif number == BuiltinOcall.EDMM_MODIFY:
            result = self.modify(
                self.enclave, abi.EmmModify.from_buffer_copy(memory.read(ms, ctypes.sizeof(abi.EmmModify)))
            )
        else:
            return SgxStatus.SGX_ERROR_UNEXPECTED
        memory.write(ms, result.to_bytes(4, "little"))
        return SgxStatus.SGX_SUCCESS

    def _check_ocalls(self, interface: Interface) -> None:
        """Callables are for functions that there are."""
        for name in self.enclave.ocalls:
            if isinstance(name, str) and name not in interface.ocall_numbers:
                raise HostError(f"{interface.path}: there is no untrusted function `{name}' to call {name}() for")

    def repair(self, call: Call, exception: EnclaveException) -> bool:
        """ECMD_EXCEPT, at the next CSSA: the enclave prepares its handlers, which run when it is resumed."""
        call.enter(rdi=EnterCommand.ECMD_EXCEPT & MASK_64)
        return self.repaired(call, exception)

    def repaired(self, call: Call, exception: EnclaveException) -> bool:
        call.watch()
        event = call.entry.event
        if isinstance(event, Exit) and abi.signed(event.registers.rdi) == abi.OCMD_ERET:
            status = SgxStatus(event.registers.rsi & 0xFFFF_FFFF)
            if status == SgxStatus.SGX_SUCCESS:
                return True
            exception.add_note(f"the enclave's exception handling returned {status.name}")
        if call.failure is not None:  # perhaps what the enclave could not bear
            exception.__cause__ = call.failure
        return False
