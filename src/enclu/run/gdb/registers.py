"""A stopped thread's registers, as a debugger is to see them.

Of a thread that has left a debug enclave by an AEX, and has not gone on yet, they are the enclave's, from the SSA
frame: the exception is seen at its instruction.  Of a production enclave there is nothing to be seen but what an AEX
leaves (SDM 3D table 37-1).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from enclu.native.ptrace import UserRegs
from enclu.run.gdb import memory
from enclu.sgx.aex import RFLAGS_CLEARED
from enclu.sgx.epc import PAGE_SIZE
from enclu.sgx.structs import GPR_NAMES, GPRSGX, TCS, Attribute, EncluLeaf
from enclu.sgx.xsave import HEADER, XsaveLayout

if TYPE_CHECKING:
    from enclu.run.gdb.target import Register
    from enclu.run.task import Task
    from enclu.sgx.secs import Secs

_SAVED = {**{name: name.upper() for name in GPR_NAMES}, "rip": "RIP", "rflags": "RFLAGS", "fs_base": "FSBASE",
          "gs_base": "GSBASE"}  # fmt: skip
"""Where GPRSGX has a register."""


class Whose(enum.Enum):
    """Whose registers a debugger sees."""

    OWN = "the processor's"
    SSA = "an interrupted enclave's, from its SSA frame"
    OPAQUE = "those after an AEX from a production enclave"


@dataclass(frozen=True)
class SsaFrame:
    """Where an enclave's registers are while a thread is outside for an AEX."""

    secs: Secs
    tcs_la: int
    gprsgx: int

    @property
    def start(self) -> int:
        return (self.gprsgx & -PAGE_SIZE) - (self.secs.ssaframesize - 1) * PAGE_SIZE


def debuggable(secs: Secs) -> bool:
    return bool(secs.attributes & Attribute.DEBUG)


def frame_of(task: Task, secs: Secs, tcs_la: int, number: int = -1) -> SsaFrame | None:
    """SSA frame `number` of a TCS of a debug enclave, by default the one that was filled last; None without one."""
    try:
        tcs = memory.read_enclave(task.mm, tcs_la, memory.TCS_SIZE).ljust(TCS.size, b"\0")
    except OSError:
        return None
    number = TCS.get(tcs, "CSSA") - 1 if number < 0 else number
    if not 0 <= number < TCS.get(tcs, "NSSA"):
        return None
    size = secs.ssaframesize * PAGE_SIZE
    return SsaFrame(secs, tcs_la, secs.baseaddr + TCS.get(tcs, "OSSA") + (number + 1) * size - GPRSGX.size)


class View:
    """The registers of one stopped thread."""

    def __init__(self, task: Task, left: tuple[int, int] | None) -> None:
        """`left` is the EID and the TCS that the thread has left by an AEX, if it has not gone on since.

        Raises ThreadGone, or OSError where an enclave's memory cannot be read.
        """
        self.task = task
        self.whose = Whose.OWN
        self.frame: SsaFrame | None = None
        self.regs = task.fetch()
        self.secs: Secs | None = None
        mode = task.mode
        if mode.enclave:
            self.secs = task.machine.enclaves.get(mode.eid)
            if self.secs is not None and not debuggable(self.secs):
                self.whose, self.regs = Whose.OPAQUE, _after_aex(task)
        elif left is not None:
            self.secs = task.machine.enclaves.get(left[0])
            if self.secs is not None and debuggable(self.secs):
                self.frame = frame_of(task, self.secs, left[1])
                if self.frame is not None:
                    self.whose, self.regs = Whose.SSA, self._from_ssa(self.frame)
        self._image: bytearray | None = None

    @property
    def rip(self) -> int:
        return self.regs.rip

    def _from_ssa(self, frame: SsaFrame) -> UserRegs:
        regs = UserRegs.from_buffer_copy(self.task.regs)
        saved = memory.read_enclave(self.task.mm, frame.gprsgx, GPRSGX.size)
        for name, field in _SAVED.items():
            setattr(regs, name, GPRSGX.get(saved, field))
        return regs

    @property
    def image(self) -> bytearray:
        """The XSAVE image that goes with them."""
        if self._image is None:
            self._image = image = self.task.xsave()
            layout = self.task.machine.layout
            if self.frame is not None:
                secs = self.frame.secs
                area = memory.read_enclave(self.task.mm, self.frame.start, secs.xsave_pages * PAGE_SIZE)
                layout.restore(image, secs.xfrm, [memoryview(bytearray(area))])
            elif self.whose is Whose.OPAQUE and self.secs is not None:
                layout.synthesise(image, self.secs.xfrm, None)
        return self._image

    def read(self, register: Register) -> bytes:
        if register.user:
            value = getattr(self.regs, register.user) & (1 << register.bits) - 1
            return int(value).to_bytes(register.size, "little")
        if register.name == "ftag":
            return _tags(self.image).to_bytes(register.size, "little")
        return bytes(self.image[register.offset : register.offset + (register.stored or register.size)]).ljust(
            register.size, b"\0"
        )

    def write(self, register: Register, data: bytes) -> None:
        """Raises PermissionError for a production enclave's, OSError where they cannot be written."""
        if self.whose is Whose.OPAQUE:
            raise PermissionError("a production enclave's registers")
        if register.user:
            self._write_user(register.user, int.from_bytes(data, "little"))
            return
        image = self.image
        if register.name == "ftag":
            image[4] = _abridged(int.from_bytes(data, "little"))
        else:
            data = data[: register.stored or register.size]
            image[register.offset : register.offset + len(data)] = data
        image[HEADER : HEADER + 8] = (
            int.from_bytes(image[HEADER : HEADER + 8], "little") | 1 << register.component
        ).to_bytes(8, "little")
        if self.frame is None:
            self.task.xrstor(image)
            return
        secs = self.frame.secs
        area = bytearray(memory.read_enclave(self.task.mm, self.frame.start, secs.xsave_pages * PAGE_SIZE))
        pages = [memoryview(area)[at : at + PAGE_SIZE] for at in range(0, len(area), PAGE_SIZE)]
        layout: XsaveLayout = self.task.machine.layout
        layout.save(image, secs.xfrm, pages)
        # What is behind the region is GPRSGX of a frame of one page: as it was.
        memory.write_enclave(self.task.mm, self.frame.start, bytes(area))

    def _write_user(self, name: str, value: int) -> None:
        regs = self.regs
        if self.frame is not None:
            if name not in _SAVED:
                raise PermissionError(f"{name} is in no SSA frame")
            field = _SAVED[name]
            memory.write_enclave(self.task.mm, self.frame.gprsgx + GPRSGX.offset(field), value.to_bytes(8, "little"))
            setattr(regs, name, value)
            return
        if name == "rflags":
            value |= regs.rflags & ~0xFFFF_FFFF
        setattr(regs, name, value)
        self.task.store()


def _after_aex(task: Task) -> UserRegs:
    """What an AEX would leave, were there one now."""
    regs, mode = UserRegs(), task.mode
    secs = task.machine.enclaves[mode.eid]
    last = secs.used(mode.gprsgx).data
    at = PAGE_SIZE - GPRSGX.size
    aep = TCS.get(secs.used(mode.tcs_la).data, "AEP")
    regs.rax, regs.rbx, regs.rcx, regs.rip = EncluLeaf.ERESUME, mode.tcs_la, aep, aep
    regs.rsp, regs.rbp = GPRSGX.get(last, "URSP", at), GPRSGX.get(last, "URBP", at)
    regs.rflags = task.regs.rflags & ~RFLAGS_CLEARED
    regs.fs_base, regs.gs_base = mode.save_fs_base, mode.save_gs_base
    for name in ("cs", "ss", "ds", "es", "fs", "gs", "orig_rax"):
        setattr(regs, name, getattr(task.regs, name))
    return regs


def _tags(image: bytearray) -> int:
    """FTW with two bits a register, from the one bit that XSAVE keeps (SDM 1 section 10.5.1.1)."""
    top = int.from_bytes(image[2:4], "little") >> 11 & 7
    tags = 0
    for physical in range(8):
        tag = 3
        if image[4] >> physical & 1:
            at = 32 + 16 * (physical - top & 7)
            significand = int.from_bytes(image[at : at + 8], "little")
            exponent = int.from_bytes(image[at + 8 : at + 10], "little") & 0x7FFF
            special = not (0 < exponent < 0x7FFF and significand >> 63)
            tag = 1 if exponent == significand == 0 else 2 * special
        tags |= tag << 2 * physical
    return tags


def _abridged(tags: int) -> int:
    return sum(1 << i for i in range(8) if tags >> 2 * i & 3 != 3)
