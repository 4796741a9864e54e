"""Stand-ins for what the designs see of the rest."""

from __future__ import annotations

import errno
from collections.abc import Callable, Container
from dataclasses import dataclass, field

import pytest

from enclu.sgx.exceptions import PFEC, PageFault

VDSO = 0x7E90_0000_0000


class MM:
    """An address space as far as designs care: an identity, and the program's text with its protections.

    Stands for `linux.mm.MM`, its page tables, its kernel and that kernel's processors at once.
    """

    def __init__(self, text: dict[int, bytes] | None = None, executable: Container[int] = ()) -> None:
        self.vdso = VDSO
        self.text = text if text is not None else {}
        self._executable = executable
        self.page_tables = self.kernel = self.processors = self

    def executable(self, address: int) -> bool:
        return address in self._executable

    def patch_text(self, mm: MM, address: int, code: bytes) -> None:
        mm.text[address] = code


@dataclass
class Space:
    mm: MM = field(default_factory=MM)


@dataclass(eq=False)
class Thread:
    """A thread; the first of its process, or given its process's space."""

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


ENCLU = b"\x0f\x01\xd7"


class User(Cpu):
    """The same as user memory."""

    def read(self, address: int, size: int) -> bytes:
        try:
            return super().read(address, size)
        except PageFault:
            raise OSError(errno.EFAULT, "not mapped") from None

    def write(self, address: int, data: bytes) -> None:
        if address not in self.memory:
            raise OSError(errno.EFAULT, "not mapped")
        self.memory[address] = data + self.memory[address][len(data) :]


def refused(number: int, action: Callable[..., object], *arguments: object) -> None:
    """`action` raises OSError with this errno."""
    with pytest.raises(OSError) as error:
        action(*arguments)
    assert error.value.errno == number, error.value
