"""The leaf that a CPUID is for, where the code leaves no choice."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from enclu.native import text_scan
from enclu.native.cpuid_leaf import leaves

BASE = 0x1000
CPUID = b"\x0f\xa2"
KNOWN = {
    "the constant before it": ("b804000000 0fa2 c3", 4),
    "zero, by XOR": ("31c0 0fa2 c3", 0),
    "a constant in another register": ("bf04000000 89f8 0fa2 c3", 4),
    "a constant kept through a loop": ("bf04000000 31f6 ffc6 89f8 89f1 0fa2 a81f 75f4 c3", 4),
    "the same constant on two ways": ("85ff 7407 b802000000 eb05 b802000000 0fa2 c3", 2),
    "a constant behind padding that nothing leads to": ("b804000000 eb01 90 0fa2 c3", 4),
    "an upper half, which does not count": ("48b80700000001000000 0fa2 c3", 7),
}
"""Machine code, from the start of a function to its end."""
UNKNOWN = {
    "an argument": "89f8 0fa2 c3",
    "different constants on two ways": "85ff 7407 b802000000 eb05 b804000000 0fa2 c3",
    "what was not set on one way": "85ff 7405 b804000000 0fa2 c3",
    "a constant before a call": "b804000000 e800000000 0fa2 c3",
    "a constant that was counted on": "b804000000 ffc0 0fa2 c3",
    "a constant of which a byte was replaced": "b804000000 b007 0fa2 c3",
    "what the CPUID before it left": "b804000000 0fa2 0fa2 c3",
    "code to which a table may jump": "b804000000 ffe1 b804000000 0fa2 c3",
    "code that handles exceptions, and joins": "b804000000 eb02 89f8 0fa2 c3",
    "an instruction that is jumped into": "b804000000 7401 f00fb10f 0fa2 c3",
    "memory": "8b07 0fa2 c3",
    "bytes that are no instruction": "b804000000 0fa2 06 c3",
}


TABLE = 0x8000
"""Where a jump table is, for LEA (7 bytes at BASE) to form its address."""
SWITCH = f"488d0d {(TABLE - BASE - 7).to_bytes(4, 'little').hex()} 48630481 4801c8 ffe0 "
"""lea rcx, [rip + TABLE]; movsxd rax, [rcx + rax * 4]; add rax, rcx; jmp rax: 16 bytes."""


def asked(code: str, *entries: int) -> int | None:
    """Of the last CPUID."""
    image = bytes.fromhex(code)
    return leaves(image, BASE, entries).get(BASE + image.rindex(CPUID))


@pytest.mark.parametrize("case", KNOWN)
def test_it_is_known(case: str) -> None:
    code, expected = KNOWN[case]
    assert asked(code) == expected


@pytest.mark.parametrize("case", UNKNOWN)
def test_it_is_not_known(case: str) -> None:
    assert asked(UNKNOWN[case]) is None


def test_code_elsewhere_that_jumps_behind_the_constant_may_want_another() -> None:
    code = "b804000000 90 0fa2 c3"
    assert asked(code) == 4
    assert asked(code, BASE + 5) is None


@pytest.mark.parametrize(
    ("offsets", "known"), [((16,), 4), ((16, 23), 4), ((16, 21), None), ((0, 0x7FFF), 4), ((), None)]
)
def test_a_jump_table_leads_where_its_entries_say(offsets: tuple[int, ...], known: int | None) -> None:
    """To the constant; to the end besides; between constant and CPUID; back, and nowhere; nothing known of it."""
    image = bytes.fromhex(SWITCH + "b804000000 0fa2 c3")
    tables = {TABLE: [BASE + offset for offset in offsets]}
    assert leaves(image, BASE, (), lambda address: tables.get(address, [])).get(BASE + 21) == known


def test_code_whose_address_is_formed_may_be_jumped_to() -> None:
    image = bytes.fromhex("488d0d 07000000 ffe1 b804000000 0fa2 c3")
    assert leaves(image, BASE, ()).get(BASE + 14) is None


def test_the_loaders_loops_over_the_caches_are_known() -> None:
    """They are why it is looked for: leaves 2 and 4, dozens of times at each start of a program.

    What it asks besides is behind jump tables for the models of processors.
    """
    maps = Path("/proc/self/maps").read_text()
    loader = re.search(r"/\S*/ld-linux-x86-64\S*|/\S*/ld-2\S*", maps)
    assert loader is not None, "no dynamic loader is mapped"
    found, _ = text_scan.scan(Path(loader[0]).read_bytes(), ())
    leaves = [known for _, known in found]
    assert {0, 2, 4, 7, 0x8000_0000} <= {*leaves}
