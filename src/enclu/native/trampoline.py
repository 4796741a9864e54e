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

from enclu.native import own_aex
from enclu.native.address_space import VDSO_BASE, VDSO_IMAGE
from enclu.native.shared_area import TICKETS, TICKETS_SIZE
from enclu.native.stop import Settled
from enclu.sgx.enclave_mode import COUNTED, WORD
from enclu.sgx.enclu.enter import check_frame, load_frame, load_registers
from enclu.sgx.exceptions import Fault
from enclu.sgx.leave import active_secs, shut_down
from enclu.sgx.structs import ENCLU, TCS, EncluLeaf

if TYPE_CHECKING:
    from collections.abc import Callable

    from enclu.native.thread import Thread

_WORD = (1 << 64) - 1
_STATUS = 0x8D5
"""CF, PF, AF, ZF, SF and OF of RFLAGS: those that the code changes."""
_ZF, _OF = 0x40, 0x800
_FIXUP = WORD["FIXUP"]


class Rule(enum.IntEnum):
    """What has become of the registers; see in_process_state.h."""

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
    LEFT = 13
    RESUMING = 14
    RESUMED = 15
    DECREASED = 16
    FAULTED = 17
    AEX_DONE = 18
    SHOWING = 19
    LOCKING = 20
    QUEUEING = 21
    QUEUED = 22
    OUT = 23


EXECUTED = frozenset((Rule.ENTERED, Rule.LEFT, Rule.RESUMING, Rule.RESUMED, Rule.DECREASED))
"""Rules by which the leaf has been executed."""


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

    def rule(self, rip: int, copies: list[Copy]) -> tuple[Rule, int]:
        """What holds for a thread that is stopped there; and the leaf that it executes, 0 if that is not known yet."""
        return self._rule_at(self._place(rip, copies)[0])

    def _place(self, rip: int, copies: list[Copy]) -> tuple[int, int]:
        """Offset in the image of the code that is at the address, -1 if none of it is; and the ENCLU that it is for."""
        if TICKETS <= rip < TICKETS + TICKETS_SIZE:
            return self._last, 0
        if VDSO_IMAGE[0] <= rip < VDSO_IMAGE[1]:
            return rip - VDSO_BASE, self.site
        copy = next((c for c in copies if c.start <= rip < c.start + c.size), None)
        return (-1, 0) if copy is None else (rip - copy.start + copy.template, copy.site)

    def _rule_at(self, offset: int) -> tuple[Rule, int]:
        at = bisect_right(self._offsets, offset) - 1
        number = self._undo[at][1] if at >= 0 else Rule.OUT
        return Rule(number & 0xFF), number >> 8

    def settle(self, thread: Thread, copies: list[Copy]) -> Settled:
        """Take the stopped thread out, whose registers have been read; they are to be written back afterwards."""
        offset, site = self._place(thread.regs.rip, copies)
        rule, leaf = self._rule_at(offset)
        words = thread.mode.words
        if rule is Rule.OUT:
            if words[_FIXUP] and thread.mode.enclave:
                own_aex.without_frame(thread)
                return Settled.ON
            return Settled.NOTHING
        if rule is Rule.SHOWING:
            own_aex.take_out(thread)
            return Settled.ON
        if rule in (Rule.LOCKING, Rule.QUEUEING, Rule.QUEUED):
            taking = thread.space.in_process
            assert taking is not None and taking.queue is not None
            taking.queue.settle(thread, locked=rule is not Rule.LOCKING, done=rule is Rule.QUEUED)
            return Settled.ON
        if rule in (Rule.FAULTED, Rule.AEX_DONE):
            return own_aex.settle(thread, over=rule is Rule.AEX_DONE)
        if self._common[0] <= offset < self._common[1]:
            site = words[WORD["SITE"]]
        if rule in EXECUTED:
            try:
                _COMPLETE[leaf](thread, rule)
            except Fault:
                thread.mode.words[WORD["MODE"]], rule = 0, Rule.CLAIMING  # nothing is lost at RESUMING
            else:
                words[COUNTED[EncluLeaf(leaf)]] = words[WORD["COUNT"]]
                words[WORD["RING"]] = words[WORD["RING_NEXT"]]
                return Settled.ON
        _go_back(thread, rule, leaf)
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


def _give_up(thread: Thread) -> None:
    """A TCS may have been claimed, and state put aside, for an entry that does not take place, or is over."""
    mode = thread.mode
    if thread.aside is not None:
        thread.widen(thread.machine.layout.xcr0 & ~mode.words[WORD["NARROW"]])
    if mode.tcs_la:
        _free_claimed(thread)
        shut_down(thread)


def _free_claimed(thread: Thread) -> None:
    """The page that the ticket said: where it was revoked before the claim, another TCS may have it by now."""
    at, taking = thread.mode.words[WORD["TCS"]], thread.space.in_process
    if at and taking is not None:
        tcs = taking.area.tcs(at)
        if TCS.get(tcs, "STATE") == thread.mode.owner:
            TCS.put(tcs, "STATE", 0)


def _restore_arguments(thread: Thread) -> None:
    regs, words = thread.regs, thread.mode.words
    regs.rdx, regs.rsi, regs.rdi = (words[WORD[name]] for name in ("RDX", "RSI", "RDI"))
    regs.rflags = _flags(regs.rflags, words[WORD["FLAGS"]] & 0xFFFF)


def _complete_entry(thread: Thread, _rule: Rule) -> None:
    regs, words = thread.regs, thread.mode.words
    secs = active_secs(thread)
    tcs, base = secs.used(thread.mode.tcs_la).data, secs.baseaddr
    _restore_arguments(thread)
    regs.rax, regs.rcx = TCS.get(tcs, "CSSA"), words[WORD["SITE"]] + len(ENCLU)
    regs.rip = base + TCS.get(tcs, "OENTRY") & _WORD
    regs.fs_base, regs.gs_base = base + TCS.get(tcs, "OFSBASE") & _WORD, base + TCS.get(tcs, "OGSBASE") & _WORD


def _complete_resume(thread: Thread, rule: Rule) -> None:
    """Raises Fault where the enclave has made a frame invalid that was valid when the code checked it."""
    regs, mode = thread.regs, thread.mode
    words, secs = mode.words, active_secs(thread)
    region, last = secs.frame(mode.gprsgx)
    if rule is Rule.RESUMING:
        check_frame(secs, region, last)
        load_frame(thread, secs, thread.xsave(), region)
    TCS.put(secs.used(mode.tcs_la).data, "CSSA", words[WORD["CSSA"]])
    load_registers(thread, last)
    regs.rip, regs.rsp, regs.rflags = (words[WORD[name]] for name in ("RIP", "RSP", "RFLAGS"))
    regs.fs_base, regs.gs_base = words[WORD["FSBASE"]], words[WORD["GSBASE"]]


def _complete_exit(thread: Thread, _rule: Rule) -> None:
    regs, mode = thread.regs, thread.mode
    _restore_arguments(thread)
    regs.rax, regs.rcx = EncluLeaf.EEXIT, mode.words[WORD["AEP"]]
    regs.rip = regs.rbx
    regs.fs_base, regs.gs_base = mode.save_fs_base, mode.save_gs_base
    _give_up(thread)


def _complete_edeccssa(thread: Thread, _rule: Rule) -> None:
    regs, words = thread.regs, thread.mode.words
    thread.mode.move_frame(words[WORD["NEXT"]])
    _restore_arguments(thread)
    regs.rax, regs.rcx = EncluLeaf.EDECCSSA, words[WORD["RCX"]]
    regs.rip = words[WORD["SITE"]] + len(ENCLU)


_COMPLETE: dict[int, Callable[[Thread, Rule], None]] = {
    EncluLeaf.EENTER: _complete_entry,
    EncluLeaf.ERESUME: _complete_resume,
    EncluLeaf.EEXIT: _complete_exit,
    EncluLeaf.EDECCSSA: _complete_edeccssa,
}
