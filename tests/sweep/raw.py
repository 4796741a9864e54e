"""Entries of enclaves with registers that no runtime has, and what they leave in them: raw.S in a host's process."""

from __future__ import annotations

import signal
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

import enclu
from enclu.base.abi import (
    MAP_ANONYMOUS,
    MAP_PRIVATE,
    PROT_EXEC,
    PROT_READ,
    PROT_WRITE,
    SA_NODEFER,
    SA_RESTORER,
    SA_SIGINFO,
)
from enclu.sgx.structs import EncluLeaf

SOURCE = Path(__file__).with_name("raw.S")
SIGALTSTACK = 131
SA_ONSTACK = 0x0800_0000
EXCEPTIONS = (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP)
STACK, STATE = 16384, 832
MXCSR, X87_CW = 0x1F80, 0x37F
"""As they are at the processor's start."""


def symbols(path: Path) -> dict[str, int]:
    """What the symbols of an ELF file stand for."""
    with path.open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        assert isinstance(table, SymbolTableSection)
        return {symbol.name: symbol["st_value"] for symbol in table.iter_symbols()}


@dataclass(frozen=True)
class Left:
    """How an enclave was left."""

    signo: int
    """0 after EEXIT; else of the signal by which an exception came, and the rest is of an EEXIT before."""
    registers: enclu.Registers
    rflags: int
    state: bytes
    """XSAVE, standard form."""

    @property
    def x87_values(self) -> bytes:
        return self.state[32:160]

    @property
    def vectors(self) -> bytes:
        """XMM registers and the upper halves of YMM."""
        return self.state[160:416] + self.state[576:832]


class Raw:
    """The calling Python thread's thread of a process."""

    def __init__(self, process: enclu.Process, directory: Path) -> None:
        self._memory = process.memory
        self._process = process
        program = directory / "raw.o"
        subprocess.run(["gcc", "-c", str(SOURCE), "-o", str(program)], check=True)
        with program.open("rb") as file:
            text = ELFFile(file).get_section_by_name(".text")
            assert text is not None
            code = text.data()
        protection, flags = PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS
        base = process.syscall("mmap", 0, len(code), protection, flags, -1, 0)
        self._at = {name: base + offset for name, offset in symbols(program).items()}
        self._memory.write(base, code)
        with self._memory.temporary(struct.pack("<QQQ", self._at["signal_stack"], 0, STACK)) as stack:
            process.syscall(SIGALTSTACK, stack, 0)
        self._catch(signal.SIGUSR1, "enter", 0)
        for signo in EXCEPTIONS:
            self._catch(signo, "caught", SA_ONSTACK | SA_NODEFER)

    def enter(
        self, tcs: int, *, leaf: EncluLeaf = EncluLeaf.EENTER, rdi: int = 0, rsi: int = 0, rsp: int = 0,
        rflags: int = 2, mxcsr: int = MXCSR, x87_cw: int = X87_CW, x87_values: int = 0,
    ) -> Left:  # fmt: skip
        """EENTER or ERESUME; `rsp` is the thread's own if it is 0, `x87_values` how many the x87 stack has."""
        given = (leaf, tcs, rdi & (1 << 64) - 1, rsi, rsp, rflags, mxcsr, x87_cw, x87_values, 0)
        self._memory.write(self._at["leaf"], struct.pack("<10Q", *given))
        pid = self._process.syscall("getpid")
        self._process.syscall("tgkill", pid, self._process.thread().tid, signal.SIGUSR1)
        (signo,) = struct.unpack("<Q", self._memory.read(self._at["outcome"], 8))
        *registers, rflags = struct.unpack("<17Q", self._memory.read(self._at["left_gprs"], 17 * 8))
        return Left(signo, enclu.Registers(*registers), rflags, self._memory.read(self._at["left_state"], STATE))

    def _catch(self, signo: int, handler: str, flags: int) -> None:
        action = struct.pack("<QQQQ", self._at[handler], flags | SA_RESTORER | SA_SIGINFO, self._at["restorer"], 0)
        with self._memory.temporary(action) as address:
            self._process.syscall("rt_sigaction", signo, address, 0, 8)
