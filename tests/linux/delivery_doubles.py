"""Stand-ins for what the designs see of the rest."""

from __future__ import annotations

import errno
from collections.abc import Callable, Container
from dataclasses import dataclass, field

import pytest

from enclu.base.listeners import Events
from enclu.linux import mm
from enclu.linux.delivery.signal import SignalDelivery
from enclu.linux.kernel import Kernel
from enclu.sgx.exceptions import PFEC, PageFault
from enclu.sgx.machine import Machine
from tests.support.memory_processor import Kicker, MemoryPageTables, MemoryRegisters

VDSO = 0x7E90_0000_0000
MACHINE = Machine(1 << 20, bytes(32))


class MM(mm.MM):
    """An address space without enclaves, whose page tables and processors are in Python.

    `text` are the program's instructions, as far as a design replaces them.
    """

    def __init__(
        self, text: dict[int, bytes] | None = None, executable: Container[int] = (), processors: Kicker | None = None
    ) -> None:
        processors = processors or Kicker(text)
        super().__init__(Kernel(MACHINE, SignalDelivery(), Events(), processors), MemoryPageTables(executable))
        self.vdso = VDSO
        self.text = processors.text


@dataclass(eq=False)
class Thread:
    """A thread; the first of its process, or given its process's memory map."""

    mm: MM = field(default_factory=MM)


@dataclass
class Regs(MemoryRegisters):
    """Each of those that designs look at or change with a value of its own."""

    rip: int = 0
    rax: int = 0
    rbx: int = 0x1111
    rcx: int = 0x2222
    rdx: int = 0x3333
    rdi: int = 0x4444
    rsi: int = 0x5555
    rsp: int = 0x6666
    rbp: int = 0x7777


class Cpu:
    """Memory at some addresses."""

    def __init__(self, memory: dict[int, bytes]) -> None:
        self.memory = memory

    def read(self, address: int, size: int) -> bytes:
        if address not in self.memory:
            raise PageFault(address, PFEC.U)
        return self.memory[address][:size]


ENCLU = b"\x0f\x01\xd7"


class User(Cpu):
    """The same as user memory."""

    def read(self, address: int, size: int) -> bytes:
        try:
            return super().read(address, size)
        except PageFault:
            raise OSError(errno.EFAULT, "not mapped") from None

    def untouched(self, start: int, end: int) -> Callable[[int, int], bool]:
        return lambda low, high: False

    def read_into(self, address: int, view: memoryview) -> None:
        view[:] = self.read(address, len(view))

    def write(self, address: int, data: bytes) -> None:
        if address not in self.memory:
            raise OSError(errno.EFAULT, "not mapped")
        self.memory[address] = data + self.memory[address][len(data) :]


def refused(number: int, action: Callable[..., object], *arguments: object) -> None:
    """`action` raises OSError with this errno."""
    with pytest.raises(OSError) as error:
        action(*arguments)
    assert error.value.errno == number, error.value
