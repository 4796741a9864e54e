"""Enclaves of Fortanix EDP: programs and libraries, which have no entry for exceptions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from enclu.host.conventions.edp.abi import BYTE_BUFFER, NORMAL_EXIT, Usercall
from enclu.sweep.audit.ways.way import Answer, Inputs, Result, Sample, Slot, Way

if TYPE_CHECKING:
    from enclu.host.frames import Registers
    from enclu.sweep.audit.target import Target

ALL = (1 << 64) - 1
NAME = b"audit"
PARAMETERS = ("rdi", "rsi", "rdx", "r8", "r9")


class EdpWay(Way):
    """What it does is up to its first usercall, unless that is ALLOC or FREE, which are served."""

    name = "edp"
    warms = False  # of a program, the first is the last
    outputs = frozenset(("rdi", "rsi", "rdx", "r8", "r9"))
    _given = 2
    """The page of the room that was given last."""

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        target.tcs = target.enclave.tcs_pool.every[0]  # of a program, the others are for its threads

    def sample(self) -> Sample:
        self._given = 2
        array = self.page(0)
        self.memory.write(array + 64, NAME)
        self.memory.write(array, BYTE_BUFFER.pack(data=array + 64, len=len(NAME)))
        return Sample("an entry with one argument", {"rdi": array, "rsi": 1})

    def nested(self) -> Inputs:
        return {"rdi": self.page(1), "rsi": 0}

    def answer(self, registers: Registers) -> Answer:
        if registers.rdi == NORMAL_EXIT:
            return Answer(True, False, registers.rsi, registers.rdx)
        over = registers.rdi == Usercall.EXIT
        return Answer(over, over and bool(registers.rsi & 0xFF), registers.rdi, registers.rsi)

    def back(self, answer: Answer) -> Inputs | None:
        if answer.status == Usercall.FREE:
            return {}
        if answer.status != Usercall.ALLOC or answer.argument > 4096 or self._given == 15:
            return None
        self._given += 1
        return {"rsi": 0, "rdx": self.page(self._given)}

    def results(self, answer: Answer) -> Iterator[Result]:
        if answer.status == Usercall.ALLOC:
            yield Result("the memory that the usercall alloc gives", lambda value: {"rsi": 0, "rdx": value & ALL})

    def slots(self) -> Iterator[Slot]:
        for register in PARAMETERS:

            def give(address: int, register: str = register) -> Sample:
                inputs = {"rdi": 1, "rsi": 1, register: address & ALL}
                return Sample("an entry", inputs)

            yield Slot(f"parameter {register.upper()}", 16, give, self.page(0), certain=False)

    def undecided(self) -> Iterator[tuple[str, str]]:
        yield (
            "parameters of entries",
            "no file says what they are; each was tried as a pointer, once with 1 in the others",
        )
