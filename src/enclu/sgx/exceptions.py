"""The exceptions of the processor that SGX raises or reports.

SDM volume 3A table 6-1 (vectors), section 4.7 (page-fault error code).
"""

from __future__ import annotations

import enum


class Vector(enum.IntEnum):
    """Exception vectors, named by their mnemonics (SDM 3A table 6-1)."""

    DE = 0
    DB = 1
    BP = 3
    OF = 4
    BR = 5
    UD = 6
    NM = 7
    DF = 8
    TS = 10
    NP = 11
    SS = 12
    GP = 13
    PF = 14
    MF = 16
    AC = 17
    MC = 18
    XM = 19
    CP = 21


MEANINGS = {
    Vector.DE: "divide error", Vector.DB: "debug exception", Vector.BP: "breakpoint", Vector.OF: "overflow",
    Vector.BR: "BOUND range exceeded", Vector.UD: "invalid opcode", Vector.NM: "device not available",
    Vector.DF: "double fault", Vector.TS: "invalid TSS", Vector.NP: "segment not present",
    Vector.SS: "stack-segment fault", Vector.GP: "general protection", Vector.PF: "page fault",
    Vector.MF: "x87 FPU floating-point error", Vector.AC: "alignment check", Vector.MC: "machine check",
    Vector.XM: "SIMD floating-point exception", Vector.CP: "control protection exception",
}  # fmt: skip
"""Descriptions of SDM 3A table 6-1."""


class PFEC(enum.IntEnum):
    """Page-fault error code bits (SDM 3A figure 4-12, kernel X86_PF_*).

    Numbers, not an `IntFlag`, whose operators are Python calls: every page fault meets several.
    """

    P = 1 << 0
    W = 1 << 1
    U = 1 << 2
    RSVD = 1 << 3
    I = 1 << 4  # noqa: E741 - the SDM's name of the bit
    PK = 1 << 5
    SS = 1 << 6
    SGX = 1 << 15


class Fault(Exception):
    """An exception taken by a logical processor.

    `vector` is the trap number, `error_code` what the processor pushes (0 where it pushes none), `address`
    the linear address of a page fault (CR2), else 0.  Faults leave RIP at the instruction that caused them.
    """

    def __init__(self, vector: int, error_code: int = 0, address: int = 0, why: str = "") -> None:
        self.vector = vector
        self.error_code = error_code
        self.address = address
        self.why = why
        self.exact = True
        """`error_code` is known.  That of a page fault may still have to be asked of the processor that took it."""
        self.leaf: int | None = None
        """The ENCLU leaf that raised it; None for every other instruction."""

    @property
    def reason(self) -> str:
        """Why, for people: what is known of the rule that was broken, else what such an exception means."""
        if self.why:
            return self.why
        if self.vector != Vector.PF:
            return MEANINGS[Vector(self.vector)]
        code = self.error_code
        what = "write" if code & PFEC.W else "fetch of an instruction" if code & PFEC.I else "read"
        if code & PFEC.SGX:
            return f"the EPCM does not allow this {what}"
        if code & PFEC.P:
            return f"the protection of the mapping does not allow this {what}"
        return f"{what} where nothing is mapped, or no page is that could be loaded"

    def __str__(self) -> str:
        text = f"#{Vector(self.vector).name}({self.error_code:#x})"
        if self.vector == Vector.PF:
            text += f" at {self.address:#x}"
        return f"{text}: {self.why}" if self.why else text


class GeneralProtection(Fault):
    """#GP(0)."""

    def __init__(self, why: str = "") -> None:
        super().__init__(Vector.GP, why=why)


class InvalidOpcode(Fault):
    """#UD."""

    def __init__(self, why: str = "") -> None:
        super().__init__(Vector.UD, why=why)


class PageFault(Fault):
    """#PF with an exact error code; CR2 is `address` (inside an enclave AEX clears its low 12 bits)."""

    def __init__(self, address: int, error_code: int, why: str = "") -> None:
        super().__init__(Vector.PF, error_code, address, why)
