"""Instructions that control flow reaches."""

from __future__ import annotations

from enclu.native.reach import reached

BASE = 0x1000


def test_both_ways_of_a_condition_and_what_is_called_are_reached() -> None:
    code = bytes.fromhex("7402 90 c3 e801000000 c3 f4")  # je +2; nop; ret; call +1; ret; hlt
    assert reached(code, BASE, BASE) == {0x1000: 2, 0x1002: 1, 0x1003: 1, 0x1004: 5, 0x1009: 1, 0x100A: 1}


def test_nothing_behind_a_jump_is_reached() -> None:
    code = bytes.fromhex("eb03 0fae21 c3")  # jmp over the bytes of an XSAVE
    assert reached(code, BASE, BASE) == {0x1000: 2, 0x1005: 1}


def test_bytes_inside_an_instruction_are_no_instruction() -> None:
    code = bytes.fromhex("48b80fae21c390909090 c3")
    assert reached(code, BASE, BASE) == {0x1000: 10, 0x100A: 1}
