"""Registers: outside an enclave that was left, and inside, as an AEX saved them in a frame of the SSA."""

from __future__ import annotations

from dataclasses import dataclass

from enclu.native import extended_state
from enclu.sgx.structs import EXINFO, EXITINFO_VALID, EXITINFO_VECTOR, GPR_NAMES, GPRSGX


@dataclass(frozen=True)
class Registers:
    """General registers outside the enclave, after it was left.

    After an exception they are what the AEX loaded, with what the design's register ABI puts into them.  Under `vdso`
    and `vdso-2018` they have passed through the vDSO's function: RAX, RBX, RCX, RSP and RBP are its own there.
    """

    rax: int
    rcx: int
    rdx: int
    rbx: int
    rsp: int
    rbp: int
    rsi: int
    rdi: int
    r8: int
    r9: int
    r10: int
    r11: int
    r12: int
    r13: int
    r14: int
    r15: int

    def __str__(self) -> str:
        return " ".join(f"{name}={getattr(self, name):#x}" for name in GPR_NAMES)


@dataclass(frozen=True)
class Gprsgx(Registers):
    """GPRSGX: the registers of the enclave as an AEX saved them (SDM 3D table 35-7)."""

    rflags: int
    rip: int
    ursp: int
    urbp: int
    exitinfo: int
    aexnotify: int
    fsbase: int
    gsbase: int

    def __str__(self) -> str:
        return " ".join(f"{name}={value:#x}" for name, value in vars(self).items())


@dataclass(frozen=True)
class SsaFrame:
    """One frame of a TCS's SSA, filled by an AEX."""

    address: int
    gprsgx: Gprsgx
    maddr: int
    """EXINFO.MADDR: the address of the last #PF; 0 if MISCSELECT does not have EXINFO."""
    errcd: int
    """EXINFO.ERRCD: the error code of the last #PF or #GP."""
    xsave: bytes
    """The frame's beginning: the legacy region and header of XSAVE, and what XFRM has besides."""
    index: int
    """CSSA when it was filled."""

    @property
    def vector(self) -> int | None:
        """EXITINFO's vector; None after an interrupt, or an exception of which an enclave learns nothing."""
        return self.gprsgx.exitinfo & EXITINFO_VECTOR if self.gprsgx.exitinfo & EXITINFO_VALID else None


def frame_of(address: int, image: bytes, index: int, xfrm: int, *, exinfo: bool) -> SsaFrame:
    """The frame in these bytes, which are those at the address; `exinfo` says whether MISCSELECT has EXINFO."""
    gprsgx = GPRSGX.unpack(image[-GPRSGX.size :])
    told = EXINFO.unpack(image[-GPRSGX.size - EXINFO.size : -GPRSGX.size])
    if not exinfo:
        told = dict.fromkeys(told, 0)
    registers = Gprsgx(**{name.lower(): value for name, value in gprsgx.items()})
    xsave = image[: extended_state.layout().size_of(xfrm)]
    return SsaFrame(address, registers, told["MADDR"], told["ERRCD"], xsave, index)
