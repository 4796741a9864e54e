"""Enclaves of which no protocol is known: registers in, registers out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from enclu.sweep.audit.ways.way import Answer, Sample, Slot, Way

if TYPE_CHECKING:
    from enclu.host.frames import Registers

ALL = (1 << 64) - 1
EVERY = ("rdx", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15")


class RegistersWay(Way):
    name = "registers"
    outputs = frozenset(EVERY)

    def sample(self) -> Sample:
        return Sample("an entry", {"rdi": self.page(0), "rsi": self.page(1)})

    def answer(self, registers: Registers) -> Answer:
        return Answer(True, False, registers.rdi, registers.rsi)

    def slots(self) -> Iterator[Slot]:
        for register in ("rdi", "rsi", "rdx", "r8", "r9"):

            def give(address: int, register: str = register) -> Sample:
                return Sample("an entry", {**self.sample().registers, register: address & ALL})

            yield Slot(f"{register.upper()} at EENTER", 8, give, self.room + (2 << 12), certain=False)

    def undecided(self) -> Iterator[tuple[str, str]]:
        yield "the enclave's own protocol", "it is not known: of pointers only those in registers were tried"
