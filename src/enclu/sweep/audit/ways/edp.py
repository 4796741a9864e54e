"""Enclaves of Fortanix EDP: programs and libraries, which have no entry for exceptions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from enclu.host.conventions.edp.abi import NORMAL_EXIT, Usercall
from enclu.sweep.audit.ways.way import Answer, Inputs, Result, Sample, Slot, Way

if TYPE_CHECKING:
    from enclu.host.frames import Registers

ALL = (1 << 64) - 1
PARAMETERS = ("rdi", "rsi", "rdx", "r8", "r9")


class EdpWay(Way):
    """What it does is up to its first usercall, unless that is ALLOC or FREE, which are served."""

    name = "edp"
    outputs = frozenset(("rdi", "rsi", "rdx", "r8", "r9"))
    _given = 2
    """The page of the room that was given last."""

    def sample(self) -> Sample:
        self._given = 2
        return Sample("an entry with no arguments", {"rdi": self.page(0), "rsi": 0})

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
