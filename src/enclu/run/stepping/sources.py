"""Instructions of enclaves whose results no two runs share: RDRAND, RDSEED, RDTSC and RDTSCP.  Here they do.

What each gets depends on its TCS, on CSSA, and on how many there were before it: so it is the same from a checkpoint
on, in another process, and whatever a handler or another thread executes in between.  Random numbers are as good as
those of BLAKE2, and known to everybody.  The time of a TCS goes on by what such an instruction takes.
An instruction that has been met stands as UD2 in its page from then on, so that it stops the thread also where nobody
steps; whoever reads the page for somebody gets the original.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from enclu.sgx.inside import MAX_LENGTH
from enclu.sgx.structs import GPR_NAMES

if TYPE_CHECKING:
    from enclu.linux.encl import Encl
    from enclu.native.ptrace import UserRegs
    from enclu.sgx.epc import EPCPage

UD2 = b"\x0f\x0b"
_ARITHMETIC, _CF = 0x8D5, 1
_FIRST_TSC, _TSC_STEP = 1 << 40, 100_000
"""Where time begins, and cycles from one such instruction to the next: some 50 us, as a stop takes."""
Stream = tuple[int, int]
"""A TCS, from ELRANGE's base, and CSSA."""


@dataclass(frozen=True)
class Source:
    """One such instruction."""

    name: str
    length: int
    opcode_at: int
    """Bytes of prefixes."""
    original: bytes
    """What stands where UD2 does now."""
    register: str = ""
    size: int = 8
    """Of RDRAND and RDSEED: where the result goes, and its bytes."""


def source_of(code: bytes) -> Source | None:
    """The source that an instruction is, if it is one."""
    at, operand_size, rex = 0, False, 0
    while code[at : at + 1] in (b"\x66", b"\xf2", b"\xf3"):
        operand_size |= code[at] == 0x66
        at += 1
    if len(code) > at and code[at] & 0xF0 == 0x40:
        rex = code[at]
        at += 1
    opcode = code[at : at + 3]
    original = opcode[:2]
    if original == b"\x0f\x31":
        return Source("RDTSC", at + 2, at, original)
    if opcode == b"\x0f\x01\xf9":
        return Source("RDTSCP", at + 3, at, original)
    if original == b"\x0f\xc7" and len(opcode) == 3 and opcode[2] >= 0xF0 and b"\xf3" not in code[:at]:
        name = "RDSEED" if opcode[2] & 8 else "RDRAND"
        register = GPR_NAMES[opcode[2] & 7 | (rex & 1) << 3]
        return Source(name, at + 3, at, original, register, 8 if rex & 8 else 2 if operand_size else 4)
    return None


class Sources:
    """Those of one enclave that have been met, and how many results they have given."""

    def __init__(self, encl: Encl) -> None:
        self._encl = encl
        self.sites: dict[int, Source] = {}
        self.given: Counter[Stream] = Counter()
        """Since the enclave was created, or what there had been at the checkpoint that it has gone back to."""
        self._most: Counter[Stream] = Counter()

    def find(self, rip: int) -> Source | None:
        """The source at an address, if there is one: the bytes of the enclave say."""
        code, known = self._code(rip), self.sites.get(rip)
        if known is not None and code[known.opcode_at :][:2] == UD2:
            return known
        self.sites.pop(rip, None)  # other code has been put there since
        found = source_of(code)
        if found is not None and rip + found.opcode_at & 0xFFF != 0xFFF:
            self.sites[rip] = found
        return found

    def _code(self, rip: int) -> bytes:
        encl, code = self._encl, b""
        for address in {rip, rip + MAX_LENGTH - 1} if rip & -4096 != rip + MAX_LENGTH - 1 & -4096 else {rip}:
            page = encl.resident(address)
            if page is None:
                continue
            low = max(rip, address & -4096)
            high = min(rip + MAX_LENGTH, (address & -4096) + 4096)
            piece = bytes(page.data[low & 0xFFF : (low & 0xFFF) + high - low])
            code = code + piece if low > rip else piece + code
        return code

    def place(self, rip: int) -> tuple[int, bytes]:
        """Where UD2 is to stand for the source at an address, which has been found."""
        return rip + self.sites[rip].opcode_at, UD2

    def original(self, address: int, data: bytes) -> bytes:
        """What was read from an address on, with the instructions themselves where UD2 is."""
        for rip, source in self.sites.items():
            at = rip + source.opcode_at
            low, high = max(at, address), min(at + 2, address + len(data))
            if low < high and data[low - address : high - address] == UD2[low - at : high - at]:
                data = data[: low - address] + source.original[low - at : high - at] + data[high - address :]
        return data

    def give_back(self, page: EPCPage) -> list[tuple[int, bytes]]:
        """The page has its instructions again; addresses and bytes of what has been changed."""
        changed = []
        for rip, source in list(self.sites.items()):
            at = rip + source.opcode_at
            if at & -4096 == page.enclaveaddress:
                del self.sites[rip]
                if page.data[at & 0xFFF : (at & 0xFFF) + 2] == UD2:
                    page.data[at & 0xFFF : (at & 0xFFF) + 2] = source.original
                    changed.append((at, source.original))
        return changed

    def execute(self, source: Source, regs: UserRegs, stream: Stream) -> bool:
        """Do what the instruction does; whether it is further than any of the stream's has been before."""
        if source.register:
            self._put(regs, source, self._random(stream))
            regs.rflags = regs.rflags & ~_ARITHMETIC | _CF
        else:
            value = self._time(stream)
            regs.rax, regs.rdx = value & 0xFFFF_FFFF, value >> 32 & 0xFFFF_FFFF
            if source.name == "RDTSCP":
                regs.rcx = 0
        regs.rip += source.length
        self.given[stream] += 1
        new = self.given[stream] > self._most[stream]
        if new:
            self._most[stream] = self.given[stream]
        return new

    def _random(self, stream: Stream) -> int:
        number = b"".join(part.to_bytes(8, "little") for part in (*stream, self.given[stream]))
        return int.from_bytes(hashlib.blake2b(number, digest_size=8).digest(), "little")

    def _time(self, stream: Stream) -> int:
        """Whoever interrupts another on the same TCS comes later."""
        tcs, cssa = stream
        return _FIRST_TSC + _TSC_STEP * (1 + sum(self.given[tcs, below] for below in range(cssa + 1)))

    @staticmethod
    def _put(regs: UserRegs, source: Source, value: int) -> None:
        if source.size == 2:
            value = getattr(regs, source.register) & ~0xFFFF | value & 0xFFFF
        elif source.size == 4:
            value &= 0xFFFF_FFFF
        setattr(regs, source.register, value)
