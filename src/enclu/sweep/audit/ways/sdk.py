"""Enclaves of Intel's SDK, and those that speak as they do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from enclu.host.conventions.sdk import abi
from enclu.host.conventions.sdk.abi import EnterCommand
from enclu.host.conventions.sdk.convention import SdkConvention
from enclu.host.edl.sdk_status import SgxStatus
from enclu.host.edl.syntax import EdlError
from enclu.host.edl.types import Types
from enclu.host.images import sdk_tables
from enclu.sweep.audit.ways.edl import Arguments, Pointer, public, result_offset
from enclu.sweep.audit.ways.way import Answer, Inputs, Result, Sample, Slot, Way

if TYPE_CHECKING:
    from enclu.host.frames import Registers
    from enclu.sweep.audit.target import Target

NO_FUNCTION = 0xFFFF
ALL = (1 << 64) - 1
FIRST_BUFFER, MOST_BUFFERS = 4, 10
"""Pages of the room, one for each pointer of an ECALL."""
TRIED = 8
"""ECALLs whose structure is tried where no EDL file is given."""


class SdkWay(Way):
    """`interface` is that of the convention, if an EDL file was given."""

    name = "sdk"
    handles_exceptions = True
    initializes = True

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        convention = target.enclave.convention
        assert isinstance(convention, SdkConvention)
        self.convention = convention
        self.interface = convention.interface
        self.types = Types(self.interface, convention.types) if self.interface is not None else None
        self._string_lengths = abi.string_lengths(convention.release)
        self.calls: list[tuple[int, Arguments]] = []
        self._unknown: list[tuple[str, str]] = []
        if self.interface is not None and self.types is not None:
            for number, ecall in public(self.interface):
                try:
                    made = Arguments(ecall, self.types, string_lengths=self._string_lengths)
                except (EdlError, ValueError, TypeError) as error:
                    self._unknown.append((ecall.name, str(error)))
                    continue
                if len(made.pointers) > MOST_BUFFERS or made.size > 4096:
                    self._unknown.append((ecall.name, f"its {len(made.pointers)} pointers are more than are tried"))
                    continue
                self.calls.append((number, made))

    def sample(self) -> Sample:
        return Sample("an ECALL with a number that is none", {"rdi": NO_FUNCTION, "rsi": self.page(0)})

    def samples(self) -> Iterator[Sample]:
        yield self.sample()
        for number, arguments in self.calls:
            yield self.call(number, arguments)

    def nested(self) -> Inputs:
        return {"rdi": NO_FUNCTION, "rsi": self.page(1)}

    def call(self, number: int, arguments: Arguments, addresses: dict[str, int] | None = None,
             counts: dict[str, int] | None = None) -> Sample:  # fmt: skip
        """An ECALL with usual arguments but for these."""
        at = self.page(0) if arguments.size else 0
        usual = self.buffers(arguments)
        self.memory.write(at or self.room, arguments.pack({**usual, **(addresses or {})}, counts))
        return Sample(f"{arguments.ecall.name}()", {"rdi": number, "rsi": at})

    def buffers(self, arguments: Arguments) -> dict[str, int]:
        """Each pointer's own page, with its content, at the end of it: what lies behind is another's."""
        found = {}
        for index, pointer in enumerate(arguments.pointers):
            page = self.page(FIRST_BUFFER + index)
            found[pointer.parameter.name] = page + 64
            self.memory.write(page + 64, pointer.content[: 4096 - 64])
        return found

    def handle(self) -> Inputs:
        return {"rdi": EnterCommand.ECMD_EXCEPT & ALL}

    def answer(self, registers: Registers) -> Answer:
        number = abi.signed(registers.rdi)
        if number != abi.OCMD_ERET:
            return Answer(False, False, number, registers.rsi)
        status = registers.rsi & 0xFFFF_FFFF
        return Answer(True, status != SgxStatus.SGX_SUCCESS, status)

    def back(self, answer: Answer) -> Inputs:
        """What is of memory management is done: nothing else could be looked at in an enclave that depends on it."""
        builtin = answer.status in abi.BUILTIN_OCALLS
        status = self.convention.builtin(answer.status, answer.argument) if builtin else 0
        return {"rdi": EnterCommand.ECMD_ORET & ALL, "rsi": status}

    def stray_return(self) -> Inputs:
        return {"rdi": EnterCommand.ECMD_ORET & ALL, "rsi": 0}

    def during(self, ocall: int) -> list[tuple[str, Inputs]]:
        """ECALLs that an OCALL does not allow, with structures of their own."""
        if self.interface is None or not 0 <= ocall < len(self.interface.ocalls):
            return []
        allowed = self.interface.ocalls[ocall].allow
        return [
            (ecall.name, {"rdi": number, "rsi": self.page(1)})
            for number, ecall in enumerate(self.interface.ecalls)
            if ecall.name not in allowed
        ]

    def private(self, number: int) -> Sample:
        """An ECALL that is not public, with a structure of zeros."""
        return Sample(f"ECALL {number}", {"rdi": number, "rsi": self.page(0)})

    def results(self, answer: Answer) -> Iterator[Result]:
        found = None
        if self.interface is not None and self.types is not None and answer.status >= 0:
            found = result_offset(self.interface, self.types, answer.status)
        if found is None:
            return
        name, offset = found

        def give(value: int) -> Inputs:
            self.memory.write(answer.argument + offset, (value & ALL).to_bytes(8, "little"))
            return self.back(answer)

        yield Result(f"the result of {name}()", give)

    # Pointers.

    def slots(self) -> Iterator[Slot]:
        if self.interface is None:
            yield from self._unnamed()
            return
        for number, arguments in self.calls:
            name = arguments.ecall.name
            if arguments.size:
                yield Slot(f"{name}(): its structure", arguments.size, self._structure(number, arguments), self.room)
            for index, pointer in enumerate(arguments.pointers):
                usual = self.room + ((FIRST_BUFFER + index) << 12) + 64
                counts = arguments.overflowing(pointer)
                overflow = None
                if counts is not None:
                    overflow = self._overflow(number, arguments, counts)
                yield Slot(
                    f"{name}(): {pointer.parameter}", pointer.size, self._pointer(number, arguments, pointer), usual,
                    overflow=overflow,
                )  # fmt: skip

    def _structure(self, number: int, arguments: Arguments) -> Callable[[int], Sample]:
        def give(address: int) -> Sample:
            made = self.call(number, arguments)
            if not self.target.inside(address) and self.room <= address < self.room + 4096:
                content = self.memory.read(self.room, arguments.size)
                self.memory.write(address, content)
            return Sample(made.name, {"rdi": number, "rsi": address & ALL})

        return give

    def _pointer(self, number: int, arguments: Arguments, pointer: Pointer) -> Callable[[int], Sample]:
        def give(address: int) -> Sample:
            made = self.call(number, arguments, {pointer.parameter.name: address})
            if self.room <= address < self.room + 0x10000:
                self.memory.write(address, pointer.content[:2048])
            return made

        return give

    def _overflow(self, number: int, arguments: Arguments, counts: dict[str, int]) -> Callable[[], Sample]:
        return lambda: self.call(number, arguments, counts=counts)

    def _unnamed(self) -> Iterator[Slot]:
        tables = sdk_tables.read(self.target.enclave.image.path)
        for number in range(min(len(tables.ecalls), TRIED) if tables is not None else TRIED):
            name = (tables.ecalls[number] if tables is not None else None) or f"ECALL {number}"

            def give(address: int, number: int = number, name: str = name) -> Sample:
                self.page(0)
                return Sample(f"{name}()", {"rdi": number, "rsi": address & ALL})

            yield Slot(f"{name}(): its structure", 64, give, self.room, certain=False)

    def undecided(self) -> Iterator[tuple[str, str]]:
        yield from self._unknown
        if self.interface is None:
            yield (
                "parameters of ECALLs",
                "no EDL file says what there is in their structures, which alone were tried: give it with --edl",
            )
