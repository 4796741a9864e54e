"""The convention of enclaves made with what we ship for C (src/enclu/enclave): struct sgx_call of its call.h."""

from __future__ import annotations

from typing import Any

from enclu.host.call import Call
from enclu.host.convention import Convention, Done
from enclu.host.conventions.enclu_abi import FRAMES, SGX_CALL, UNTOLD, Enter, Leave, call_word
from enclu.host.errors import HostError
from enclu.host.events import EnclaveException, Exit, Interrupted
from enclu.host.frames import Registers

FAILED = (1 << 64) - 1
"""What an enclave gets from an OCALL that raised something."""
RESET_LIMIT = 10.0
"""Seconds that an enclave may take to forget what it was doing."""


class EncluCall(Call):
    """`memory` has a struct sgx_call for each depth."""

    memory = 0

    @property
    def here(self) -> int:
        return self.memory + self.depth * SGX_CALL.size


class EncluConvention(Convention):
    """An ECALL has a number, an argument and a result, all 64-bit numbers; so has an OCALL, called with its argument.

    An argument of bytes is copied to untrusted memory, and its address passed; a `bytearray` is copied back, too.
    """

    def ecall(
        self, function: int, argument: int | bytes | bytearray = 0, *, timeout: float | None = None
    ) -> int | None:
        """The enclave's result; None if an exception handler gave up the call."""
        with EncluCall(self.enclave, timeout) as call:
            call.lease()
            call.memory = call.allocate(FRAMES * SGX_CALL.size)
            address = argument if isinstance(argument, int) else call.allocate(bytes(argument))
            image = SGX_CALL.pack(enter=Enter.ECALL, function=function & FAILED, argument=address & FAILED)
            memory = self.enclave.process.memory
            memory.write(call.memory, image)
            result: int | None = self.run(call, rdi=call.memory, **self._told(Enter.ECALL, function & FAILED))
            if isinstance(argument, bytearray):
                argument[:] = memory.read(address, len(argument))
            return result

    def exited(self, call: Call, registers: Registers) -> None:
        assert isinstance(call, EncluCall)
        memory = self.enclave.process.memory
        state = SGX_CALL.unpack(memory.read(call.here, SGX_CALL.size))
        if state["exit"] == Leave.DONE:
            raise Done(state["result"])
        if state["exit"] == Leave.REFUSED:
            raise HostError(f"{self.enclave.image.path}: the enclave serves no ECALL here: it is interrupted")
        if state["exit"] != Leave.OCALL:
            raise HostError(
                f"{self.enclave.image.path}: the enclave left with sgx_call.exit {state['exit']}, which is none"
            )
        try:
            call.check()
            result = self.ocall(state["ocall"], state["ocall_argument"]) or 0
        except BaseException as error:
            call.fail(error)
            result = FAILED
        memory.write(call.here + SGX_CALL.offset("ocall_result"), (int(result) & FAILED).to_bytes(8, "little"))
        memory.write(call.here, Enter.ORET.to_bytes(8, "little"))
        call.enter(rdi=call.here, **self._told(Enter.ORET))

    def _told(self, enter: Enter, number: int = UNTOLD) -> dict[str, int]:
        """Registers that tell traces why the enclave is entered, where the design passes them."""
        return {"rsi": call_word(enter, number)} if "rsi" in self.enclave.process.design.registers else {}

    def repair(self, call: Call, exception: EnclaveException) -> bool:
        assert isinstance(call, EncluCall)
        if call.depth + 1 == FRAMES:
            return False
        call.depth += 1
        self.enclave.process.memory.write(call.here, SGX_CALL.pack(enter=Enter.EXCEPTION))
        try:
            call.enter(rdi=call.here, **self._told(Enter.EXCEPTION))
        except BaseException:
            call.depth -= 1
            raise
        return self.repaired(call, exception)

    def repaired(self, call: Call, exception: EnclaveException) -> bool:
        try:
            return bool(self._until_done(call))
        finally:
            call.depth -= 1

    def _until_done(self, call: Call) -> Any:
        """Of the enclave's handler, which may make OCALLs and raise exceptions itself."""
        while True:
            call.watch()
            event = call.entry.event
            if isinstance(event, Interrupted):
                return 0
            if isinstance(event, EnclaveException) and not self._handled(call, event):
                return 0
            if isinstance(event, Exit):
                try:
                    self.exited(call, event.registers)
                except Done as done:
                    return done.args[0]

    def give_up(self, call: Call) -> None:
        """Have the enclave give up what it was doing for this call (EDECCSSA), so that the TCS can be used again."""
        assert isinstance(call, EncluCall)
        outer = call.outer()
        depth = outer.depth if outer is not None and outer.tcs == call.tcs else 0
        waiting = sum(
            other.enclave is self.enclave and other.tcs == call.tcs and other.depth == depth
            for other in call.thread.calls[: call.thread.calls.index(call)]
        )
        for _ in range(FRAMES + 1):
            with call.thread.enter(
                call.tcs, rdi=self._reset(call, depth << 32 | waiting), **self._told(Enter.RESET), timeout=RESET_LIMIT
            ) as entry:
                if not isinstance(entry.event, Exit):
                    break
            done = SGX_CALL.unpack(self.enclave.process.memory.read(call.memory, SGX_CALL.size))
            if done["result"] == depth:
                return
        self.enclave.tcs_pool.abandon(call.tcs)

    def _reset(self, call: EncluCall, kept: int) -> int:
        self.enclave.process.memory.write(call.memory, SGX_CALL.pack(enter=Enter.RESET, argument=kept))
        return call.memory
