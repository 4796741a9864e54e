"""Enclaves of Open Enclave."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from enclu.host.conventions.open_enclave import abi
from enclu.host.conventions.open_enclave.abi import Code, EcallFunction, OcallFunction, OeResult
from enclu.host.conventions.open_enclave.convention import OpenEnclaveConvention
from enclu.sweep.audit.ways.way import Answer, Inputs, Result, Sample, Slot, Way

if TYPE_CHECKING:
    from enclu.host.frames import Registers
    from enclu.sweep.audit.target import Target

NO_FUNCTION = 0xFFFF
FUNCTIONS = 8
"""Numbers of functions whose buffers are tried."""
BUFFER = 256
ALL = (1 << 64) - 1


class OpenEnclaveWay(Way):
    name = "open-enclave"
    handles_exceptions = True
    initializes = True
    outputs = frozenset(("rdi", "rsi"))

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        convention = target.enclave.convention
        assert isinstance(convention, OpenEnclaveConvention)
        self._convention = convention
        self._layout = abi.CONTEXT_WITH_TABLE if convention.names.tables else abi.CONTEXT

    def _context(self, page: int) -> int:
        address = self.page(page)
        buffer = self.page(page + 1)
        self.memory.write(address, self._layout.pack(ocall_buffer_size=4096, ocall_buffer=buffer))
        return address

    def _call(self, page: int, function: int, **changed: int) -> Inputs:
        """Pages: the arguments, input, output, then two of the context's."""
        address, source, target = self.page(page), self.page(page + 1), self.page(page + 2)
        table = {"table_id": abi.DEFAULT_TABLE} if self._convention.names.tables else {}
        values = {
            "input_buffer": source, "input_buffer_size": BUFFER, "output_buffer": target, "output_buffer_size": BUFFER,
            "result": OeResult.OE_UNEXPECTED, **table, **changed,
        }  # fmt: skip
        self.memory.write(address, self._convention.names.call_args.pack(function_id=function, **values))
        rdi = abi.call_argument(Code.ECALL, EcallFunction.CALL_ENCLAVE_FUNCTION)
        return {"rdi": rdi, "rsi": address, "rdx": self._context(page + 3)}

    def sample(self) -> Sample:
        return Sample("an ECALL with a number that is none", self._call(0, NO_FUNCTION))

    def samples(self) -> Iterator[Sample]:
        yield self.sample()
        yield Sample("ECALL 0", self._call(0, 0))

    def nested(self) -> Inputs:
        return self._call(8, NO_FUNCTION)

    def handle(self) -> Inputs:
        argument = abi.call_argument(Code.ECALL, EcallFunction.VIRTUAL_EXCEPTION_HANDLER)
        return {"rdi": argument, "rdx": self._context(13)}

    def answer(self, registers: Registers) -> Answer:
        code, function, result = abi.parts(registers.rdi)
        if code == Code.ERET:
            status = result or registers.rsi & 0xFFFF_FFFF
            return Answer(True, status not in (0, abi.EXCEPTION_CONTINUE_EXECUTION), status)
        return Answer(False, False, function, registers.rsi)

    def back(self, answer: Answer) -> Inputs:
        known = self._convention.release.function(answer.status)
        result, value = OeResult.OE_UNSUPPORTED, 0
        if known == OcallFunction.MALLOC:
            result, value = OeResult.OE_OK, self.page(15) if answer.argument <= 4096 else 0
        elif known == OcallFunction.FREE:
            result = OeResult.OE_OK
        rdi = abi.call_argument(Code.ORET, answer.status, result)
        return {"rdi": rdi, "rsi": value, "rdx": self.room + (3 << 12)}

    def stray_return(self) -> Inputs:
        rdi = abi.call_argument(Code.ORET, OcallFunction.MALLOC)
        return {"rdi": rdi, "rsi": 0, "rdx": self._context(3)}

    def results(self, answer: Answer) -> Iterator[Result]:
        if self._convention.release.function(answer.status) != OcallFunction.MALLOC:
            return

        def give(value: int) -> Inputs:
            rdi = abi.call_argument(Code.ORET, answer.status, OeResult.OE_OK)
            return {"rdi": rdi, "rsi": value & ALL, "rdx": self.room + (3 << 12)}

        yield Result("the memory that oe_host_malloc() gives", give)

    def slots(self) -> Iterator[Slot]:
        size = self._convention.names.call_args.size
        yield Slot("oe_call_function_args_t", size, self._register("rsi"), self.room)
        yield Slot("oe_ecall_context_t", self._layout.size, self._register("rdx"), self.room + (3 << 12), certain=False)
        for function in range(min(FUNCTIONS, len(self._convention.names.ecalls) or FUNCTIONS)):
            for page, name in ((1, "input_buffer"), (2, "output_buffer")):
                yield Slot(f"ECALL {function}: {name}", BUFFER, self._buffer(function, name), self.room + (page << 12))

    def _register(self, register: str) -> Callable[[int], Sample]:
        def give(address: int) -> Sample:
            inputs = self._call(0, NO_FUNCTION)
            return Sample("an ECALL with a number that is none", {**inputs, register: address & ALL})

        return give

    def _buffer(self, function: int, name: str) -> Callable[[int], Sample]:
        return lambda address: Sample(f"ECALL {function}", self._call(0, function, **{name: address & ALL}))

    def undecided(self) -> Iterator[tuple[str, str]]:
        yield (
            "pointers within buffers",
            "offsets there are relative to the buffer, and checked by generated code; [user_check] pointers in them "
            "were not tried",
        )
