"""Enclaves of `enclu build`: struct sgx_call of enclave/call.h."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from enclu.host.conventions.enclu_abi import SGX_CALL, Enter, Leave, told
from enclu.sweep.audit.ways.way import Answer, Inputs, Result, Sample, Slot, Way

if TYPE_CHECKING:
    from enclu.host.frames import Registers

NO_FUNCTION = 0x7FFF_FFFF
FUNCTIONS = 16
"""Numbers whose argument is tried as a pointer."""
WORDS = 32
"""Of what that leads to."""
ALL = (1 << 64) - 1


class EncluWay(Way):
    name = "enclu"
    handles_exceptions = True
    outputs = frozenset(("rdi",))
    _current = 0
    """The structure of the last entry that was prepared."""

    def _call(self, page: int, function: int, argument: int = 0) -> Inputs:
        self._current = self.page(page)
        self.memory.write(self._current, SGX_CALL.pack(enter=Enter.ECALL, function=function, argument=argument & ALL))
        return {"rdi": self._current}

    def sample(self) -> Sample:
        return Sample("an ECALL of no function", self._call(0, NO_FUNCTION))

    def samples(self) -> Iterator[Sample]:
        yield self.sample()
        yield Sample("ECALL 0", self._call(0, 0))

    def nested(self) -> Inputs:
        return self._call(1, NO_FUNCTION)

    def handle(self) -> Inputs:
        self._current = self.page(2)
        self.memory.write(self._current, SGX_CALL.pack(enter=Enter.EXCEPTION))
        return {"rdi": self._current}

    def answer(self, registers: Registers) -> Answer:
        word = told(registers.rdi)
        if word is not None and word[0] == Leave.OCALL:
            return Answer(False, False, word[1] if word[1] is not None else ALL, self.room)
        result = SGX_CALL.unpack(self.memory.read(self._current, SGX_CALL.size))["result"]
        return Answer(True, word is not None and word[0] == Leave.REFUSED, result)

    def back(self, answer: Answer) -> Inputs:
        self._answered(ALL)
        return {"rdi": self.room}

    def _answered(self, value: int) -> None:
        self._current = self.room
        self.memory.write(self.room + SGX_CALL.offset("ocall_result"), (value & ALL).to_bytes(8, "little"))
        self.memory.write(self.room, Enter.ORET.to_bytes(8, "little"))

    def stray_return(self) -> Inputs:
        self._current = self.page(0)
        self.memory.write(self._current, Enter.ORET.to_bytes(8, "little"))
        return {"rdi": self._current}

    def results(self, answer: Answer) -> Iterator[Result]:
        def give(value: int) -> Inputs:
            self._answered(value)
            return {"rdi": self.room}

        yield Result(f"the result of OCALL {answer.status}", give)

    def slots(self) -> Iterator[Slot]:
        def call_at(address: int) -> Sample:
            content = self.memory.read(self._call(0, NO_FUNCTION)["rdi"], SGX_CALL.size)
            if self.room <= address < self.room + 4096:
                self.memory.write(address, content)
                self._current = address
            return Sample("an ECALL of no function", {"rdi": address & ALL})

        yield Slot("struct sgx_call", SGX_CALL.size, call_at, self.room)
        for function in range(FUNCTIONS):
            yield Slot(
                f"the argument of ECALL {function}", 64, self._argument(function), self.room + 0x3000, certain=False,
                then=functools.partial(self._words, function),
            )  # fmt: skip

    def _words(self, function: int) -> Iterator[Slot]:
        for word in range(WORDS):
            yield Slot(
                f"word {word} of what the argument of ECALL {function} leads to", 64, self._word(function, word),
                self.room + 0x5000, certain=False,
            )  # fmt: skip

    def _argument(self, function: int) -> Callable[[int], Sample]:
        def give(address: int) -> Sample:
            self.page(3)
            return Sample(f"ECALL {function}", self._call(0, function, address))

        return give

    def _word(self, function: int, word: int) -> Callable[[int], Sample]:
        def give(address: int) -> Sample:
            self.page(5)
            at = self.page(3)
            self.page(4)
            self.memory.write(at + 8 * word, (address & ALL).to_bytes(8, "little"))
            return Sample(f"ECALL {function}", self._call(0, function, at))

        return give

    def undecided(self) -> Iterator[tuple[str, str]]:
        yield (
            "arguments of ECALLs",
            f"no file says what they are: those of functions 0 to {FUNCTIONS - 1} were tried as pointers, and where "
            f"they are, the first {WORDS} words there, with zeros in all others; nothing else was",
        )
