"""#DB of an INT1: where the instruction is, and where the thread goes on from."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from enclu.native.debug_registers import TRAP_BRKPT, int1_at
from enclu.native.exceptions import undo_trap
from enclu.native.ptrace import UserRegs
from enclu.native.thread import Thread

BASE = 0x40_1000


def thread_at(offset: int, code: bytes) -> Thread:
    memory = SimpleNamespace(peek=lambda address, size: code[address - BASE : address - BASE + size])
    return cast(Thread, SimpleNamespace(regs=UserRegs(rip=BASE + offset), space=memory))


@pytest.mark.parametrize("offset", [2, 1], ids=["trap", "fault"])
def test_an_int1_is_found_and_gone_back_to_whatever_the_host_makes_of_it(offset: int) -> None:
    thread = thread_at(offset, b"\x90\xf1\x90\x90")
    assert int1_at(thread) == BASE + 1
    undo_trap(thread, TRAP_BRKPT)
    assert thread.regs.rip == BASE + 1


def test_another_stop_that_says_the_same_is_none_and_leaves_rip_alone() -> None:
    thread = thread_at(2, b"\x90\x90\x90\x90")
    assert int1_at(thread) is None
    undo_trap(thread, TRAP_BRKPT)
    assert thread.regs.rip == BASE + 2
