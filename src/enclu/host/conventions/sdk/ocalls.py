"""The OCALLs that the SDK's trusted libraries make of its untrusted ones: CPUID, events, threads.

SDK: psw/urts/se_ocalls.cpp, enclave_mutex.cpp, enclave_thread.cpp; common/src/se_event.c.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from enclu.host.conventions.sdk.abi import EnterCommand
from enclu.host.conventions.sdk.status import SdkError, SgxStatus
from enclu.host.edl.sdk_files import SERVED
from enclu.host.guard import Event

if TYPE_CHECKING:
    from enclu.host.conventions.sdk.binding import Binding
    from enclu.host.enclave import Enclave
    from enclu.linux.intel_cpu import Cpuid

MUTEX_GET_EVENT = 0xF000_3001
"""SE_ERROR_MUTEX_GET_EVENT: no such TCS."""


class Runtime(Protocol):
    """The convention, as these OCALLs know it."""

    enclave: Enclave
    binding: Binding

    @property
    def cpuid(self) -> Cpuid: ...

    def command(self, command: EnterCommand, argument: int) -> None:
        """Enter the enclave for its runtime's sake."""


class SdkOcalls:
    """Callables by the names that the SDK's EDL files give them; a user's of the same name go first."""

    def __init__(self, convention: Runtime) -> None:
        self._convention = convention
        self.table: dict[str, Callable[..., Any]] = {name: getattr(self, method) for name, method in SERVED.items()}

    def cpuid(self, registers: ctypes.Array[ctypes.c_int], leaf: int, subleaf: int) -> None:
        for i, value in enumerate(self._convention.cpuid(leaf & 0xFFFF_FFFF, subleaf & 0xFFFF_FFFF)):
            registers[i] = ctypes.c_int(value).value

    # Events: each TCS has one, a counter that sleepers take from.

    def _event(self, tcs: int) -> Event | None:
        for enclave in list(self._convention.enclave.process.enclaves):
            binding = getattr(getattr(enclave, "convention", None), "binding", None)
            if enclave.base <= tcs < enclave.base + enclave.size and binding is not None:
                event: Event | None = binding.event(tcs)
                return event
        return None

    def wait(self, tcs: int) -> int:
        if not tcs:
            return SgxStatus.SGX_ERROR_INVALID_PARAMETER
        event = self._event(tcs)
        if event is None:
            return _as_int(MUTEX_GET_EVENT)
        event.wait()
        return SgxStatus.SGX_SUCCESS

    def set(self, tcs: int) -> int:
        if not tcs:
            return SgxStatus.SGX_ERROR_INVALID_PARAMETER
        event = self._event(tcs)
        if event is None:
            return _as_int(MUTEX_GET_EVENT)
        event.wake()
        return SgxStatus.SGX_SUCCESS

    def set_and_wait(self, waiter: int, own: int) -> int:
        return self.set(waiter) or self.wait(own)

    def set_multiple(self, waiters: Sequence[int] | None, total: int) -> int:
        if not waiters or not waiters[0]:
            return SgxStatus.SGX_ERROR_INVALID_PARAMETER
        for waiter in waiters[:total]:
            status = self.set(waiter)
            if status:
                return status
        return SgxStatus.SGX_SUCCESS

    def wait_for(self, tcs: int, seconds: int) -> int:
        event = self._event(tcs)
        if event is None:
            return SgxStatus.SGX_ERROR_DEVICE_BUSY
        event.wait(seconds or None)  # that the time is over is success, too
        return SgxStatus.SGX_SUCCESS

    def wake(self, tcs: int) -> int:
        event = self._event(tcs)
        if event is not None:
            event.wake()
        return SgxStatus.SGX_SUCCESS

    # Threads that the enclave starts.

    def create_thread(self, tcs: int) -> int:
        """pthread_create in the enclave: a thread that enters by ECMD_ECALL_PTHREAD."""
        thread = threading.Thread(target=self._thread, name="enclave pthread", daemon=True)
        call = self._convention.enclave.process.thread().calls[-1]
        started = self._convention.binding.start(thread, call)
        return SgxStatus.SGX_SUCCESS if started else SgxStatus.SGX_ERROR_OUT_OF_TCS

    def _thread(self) -> None:
        memory = self._convention.enclave.process.memory
        with memory.own(bytes(8)) as waiter:
            try:
                self._convention.command(EnterCommand.ECMD_ECALL_PTHREAD, waiter)
            except SdkError as error:
                if error.status != SgxStatus.SGX_PTHREAD_EXIT:
                    raise
            joining = int.from_bytes(memory.read(waiter, 8), "little")
        if joining:
            self.wake(joining)


def _as_int(value: int) -> int:
    return ctypes.c_int(value).value
