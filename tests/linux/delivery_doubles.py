"""Stand-ins for what the designs see of the rest."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field

from enclu.sgx.exceptions import PFEC, PageFault


class MM:
    """An address space as far as designs care: an identity."""


@dataclass
class Space:
    mm: MM = field(default_factory=MM)


@dataclass
class Process:
    space: Space = field(default_factory=Space)


@dataclass
class Regs:
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


class User(Cpu):
    """The same as user memory."""

    def read(self, address: int, size: int) -> bytes:
        try:
            return super().read(address, size)
        except PageFault:
            raise OSError(errno.EFAULT, "not mapped") from None
