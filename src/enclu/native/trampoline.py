"""Threads that are stopped in `linux/vdso/in_process.h` are taken out of it: back before the ENCLU, or on behind it.

Up to the byte that says that the leaf has been executed, nothing has happened that anybody could see, and the thread
stands before its ENCLU; from there on, it stands behind it.  The table .undo of the image says, for each instruction,
what is where at that point.
"""

from __future__ import annotations

import enum
from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

from enclu.native.address_space import VDSO_BASE, VDSO_IMAGE
from enclu.native.shared_area import TICKETS, TICKETS_SIZE
from enclu.sgx.enclave_mode import WORD
from enclu.sgx.leave import active_secs, shut_down
from enclu.sgx.structs import ENCLU, TCS, EncluLeaf

if TYPE_CHECKING:
    from enclu.native.thread import Thread

_WORD = (1 << 64) - 1
_STATUS = 0x8D5
"""CF, PF, AF, ZF, SF and OF of RFLAGS: those that the code changes."""
_ZF, _OF = 0x40, 0x800


class Rule(enum.IntEnum):
    """What has become of the registers; see in_process.h."""

    AT_ENCLU = 0
    SWAPPED = 1
    SWAPPED_LESS = 2
    FOUND = 3
    FOUND_NZ = 4
    FOUND_Z = 5
    KEPT_NZ = 6
    KEPT_Z = 7
    KEPT_AX = 8
    KEPT = 9
    SITED = 10
    CLAIMING = 11
    ENTERED = 12
    ENTERED_COUNTED = 13
    LEAVING = 14
    LEFT = 15
    LEFT_COUNTED = 16
    OUT = 17


class Settled(enum.Enum):
    """What has been done to a stopped thread."""

    NOTHING = enum.auto()
    """It was somewhere else."""
    BACK = enum.auto()
    """It stands before its ENCLU."""
    ON = enum.auto()
    """Its ENCLU has been executed."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy of the template, for one ENCLU."""

    start: int
    size: int
    template: int
    """Offset in the image of what was copied."""
    site: int


class Trampoline:
    """The code of one image, and its copies."""

    def __init__(self, symbols: dict[str, int], undo: list[tuple[int, int]], site: int) -> None:
        """`site` is the offset of the vDSO function's ENCLU, if the image has one."""
        self._undo = undo
        self._offsets = [offset for offset, _ in undo]
        self.site = VDSO_BASE + site
        self._common = symbols["enclu_in_process_start"], symbols["enclu_in_process_end"]
        self._last = symbols["enclu_eenter_last"]
        self._exits = symbols["enclu_eexit"]
        self._enters = symbols.get("enclu_vdso_eenter", 1 << 32)

    def rule(self, rip: int, copies: list[Copy]) -> Rule:
        """What holds for a thread that is stopped there."""
        return self._rule_at(self._place(rip, copies)[0])

    def _place(self, rip: int, copies: list[Copy]) -> tuple[int, int]:
        """Offset in the image of the code that is at the address, -1 if none of it is; and the ENCLU that it is for."""
        if TICKETS <= rip < TICKETS + TICKETS_SIZE:
            return self._last, 0
        if VDSO_IMAGE[0] <= rip < VDSO_IMAGE[1]:
            return rip - VDSO_BASE, self.site
        copy = next((c for c in copies if c.start <= rip < c.start + c.size), None)
        return (-1, 0) if copy is None else (rip - copy.start + copy.template, copy.site)

    def _rule_at(self, offset: int) -> Rule:
        at = bisect_right(self._offsets, offset) - 1
        return Rule(self._undo[at][1]) if at >= 0 else Rule.OUT

    def settle(self, thread: Thread, copies: list[Copy]) -> Settled:
        """Take the stopped thread out, whose registers have been read; they are to be written back afterwards."""
        offset, site = self._place(thread.regs.rip, copies)
        rule = self._rule_at(offset)
        if rule is Rule.OUT:
            return Settled.NOTHING
        words = thread.mode.words
        if self._common[0] <= offset < self._common[1]:
            site = words[WORD["SITE"]]
        if rule in (Rule.ENTERED, Rule.ENTERED_COUNTED):
            words[WORD["EENTERS"]] += rule is Rule.ENTERED
            _complete_entry(thread)
            return Settled.ON
        if rule in (Rule.LEFT, Rule.LEFT_COUNTED):
            words[WORD["EEXITS"]] += rule is Rule.LEFT
            _complete_exit(thread)
            return Settled.ON
        exits = self._exits <= offset < self._enters
        _go_back(thread, rule, EncluLeaf.EEXIT if exits else EncluLeaf.EENTER)
        thread.regs.rip = site
        return Settled.BACK


def _flags(rflags: int, ax: int) -> int:
    """RFLAGS with what LAHF and SETO left in AX."""
    return rflags & ~_STATUS | ax >> 8 & 0xD5 | (_OF if ax & 1 else 0)


def _go_back(thread: Thread, rule: Rule, leaf: int) -> None:
    regs, words = thread.regs, thread.mode.words
    if rule in (Rule.SWAPPED, Rule.SWAPPED_LESS):
        lacks = leaf if rule is Rule.SWAPPED_LESS else 0
        regs.rax, regs.rcx = regs.rcx + lacks & _WORD, regs.rax
    elif rule in (Rule.FOUND, Rule.FOUND_NZ, Rule.FOUND_Z):
        regs.rax, regs.rcx = leaf, regs.rax
    elif rule is not Rule.AT_ENCLU:
        flags = regs.rax if rule is Rule.KEPT_AX else words[WORD["FLAGS"]]
        if rule >= Rule.KEPT_AX:
            regs.rflags = _flags(regs.rflags, flags & 0xFFFF)
        regs.rax, regs.rcx = leaf, words[WORD["RCX"]]
    if rule in (Rule.FOUND_NZ, Rule.KEPT_NZ):
        regs.rflags &= ~_ZF
    elif rule in (Rule.FOUND_Z, Rule.KEPT_Z):
        regs.rflags |= _ZF
    if rule is Rule.CLAIMING:
        regs.rdx, regs.rsi, regs.rdi = (words[WORD[name]] for name in ("RDX", "RSI", "RDI"))
        if not thread.mode.enclave:
            _give_up(thread)
    elif rule is Rule.LEAVING:
        regs.rdx = words[WORD["RDX"]]


def _give_up(thread: Thread) -> None:
    """A TCS may have been claimed, and state put aside, for an entry that does not take place, or is over."""
    mode = thread.mode
    if thread.aside is not None:
        thread.widen(thread.machine.layout.xcr0 & ~mode.words[WORD["NARROW"]])
    if mode.tcs_la:
        shut_down(thread)


def _complete_entry(thread: Thread) -> None:
    regs, words = thread.regs, thread.mode.words
    secs = active_secs(thread)
    tcs, base = secs.used(thread.mode.tcs_la).data, secs.baseaddr
    regs.rdx, regs.rsi, regs.rdi = (words[WORD[name]] for name in ("RDX", "RSI", "RDI"))
    regs.rflags = _flags(regs.rflags, words[WORD["FLAGS"]] & 0xFFFF)
    regs.rax, regs.rcx = TCS.get(tcs, "CSSA"), words[WORD["SITE"]] + len(ENCLU)
    regs.rip = base + TCS.get(tcs, "OENTRY") & _WORD
    regs.fs_base, regs.gs_base = base + TCS.get(tcs, "OFSBASE") & _WORD, base + TCS.get(tcs, "OGSBASE") & _WORD


def _complete_exit(thread: Thread) -> None:
    regs, mode = thread.regs, thread.mode
    words = mode.words
    regs.rdx = words[WORD["RDX"]]
    regs.rflags = _flags(regs.rflags, words[WORD["FLAGS"]] & 0xFFFF)
    regs.rax, regs.rcx = EncluLeaf.EEXIT, words[WORD["AEP"]]
    regs.rip = regs.rbx
    regs.fs_base, regs.gs_base = mode.save_fs_base, mode.save_gs_base
    _give_up(thread)
