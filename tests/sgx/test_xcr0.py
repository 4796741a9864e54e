"""Instructions that depend on XCR0: where they may begin, what they are, and the address of their operand."""

from __future__ import annotations

import pytest

from enclu.sgx import xcr0
from enclu.sgx.xcr0 import Kind
from tests.support.memory_processor import MemoryRegisters

REGS = MemoryRegisters(rax=0x1000, rcx=0x2000, rbx=0x10, rsp=0x7000, rip=0x40_0000, gs_base=0x10_0000_0000)
INSTRUCTIONS = {
    "0fae21": (Kind.SAVES, 0x2000),  # xsave (%rcx)
    "480fae642440": (Kind.SAVES, 0x7040),  # xsave64 0x40(%rsp)
    "0fc721": (Kind.SAVES, 0x2000),  # xsavec (%rcx)
    "0fae3458": (Kind.SAVES, 0x1020),  # xsaveopt (%rax,%rbx,2)
    "65480fae29": (Kind.RESTORES, 0x10_0000_2000),  # xrstor64 %gs:(%rcx)
    "0fae2d00010000": (Kind.RESTORES, 0x40_0107),  # xrstor 0x100(%rip)
    "0fae2c2500020000": (Kind.RESTORES, 0x200),  # xrstor 0x200
    "41480fae21": (Kind.SAVES, 0x2000),  # xsave64 (%rcx): the first REX is ignored
    "410fae20": (Kind.SAVES, 0),  # xsave (%r8)
    "670fae61f0": (Kind.SAVES, 0x1FF0),  # xsave -0x10(%ecx)
    "0f01d0": (Kind.READS, None),
}
OTHERS = ["0faee8", "660fae31", "f30fae21", "f00fae21", "0f01d1", "0faef0", "0fc7f0", "90", "0fae", "0fae6424", ""]


@pytest.mark.parametrize("code", INSTRUCTIONS)
def test_an_instruction_is_known_with_its_size_and_its_operand(code: str) -> None:
    kind, address = INSTRUCTIONS[code]
    found = xcr0.decode(bytes.fromhex(code) + bytes(9))
    assert found is not None
    assert (found.kind, found.size) == (kind, len(code) // 2)
    assert address is None or found.address(REGS) == address


@pytest.mark.parametrize("code", OTHERS)
def test_others_are_none_of_them(code: str) -> None:
    assert xcr0.decode(bytes.fromhex(code)) is None


@pytest.mark.parametrize("code", INSTRUCTIONS)
def test_each_is_found_in_the_midst_of_other_bytes(code: str) -> None:
    text = b"\x90\xe8" + bytes.fromhex(code) + b"\x90"
    begins = {start for match in xcr0.PATTERN.finditer(text) for start in xcr0.starts(text, match.start())}
    assert 2 in begins


def test_an_instruction_may_begin_at_each_of_its_prefixes() -> None:
    assert list(xcr0.starts(bytes.fromhex("90 65 48 0fae29"), 3)) == [3, 2, 1]


def test_no_instruction_is_longer_than_the_longest() -> None:
    assert min(xcr0.starts(b"\x65" * 40 + b"\x0f\xae\x21", 40)) == 40 - 12


@pytest.mark.parametrize(
    ("there", "compacted", "taken"), [(3, 0, True), (7, 0, False), (3, 1 << 63 | 3, True), (3, 1 << 63 | 7, False)]
)
def test_an_image_is_restorable_if_all_it_has_is_in_xcr0(there: int, compacted: int, taken: bool) -> None:
    image = bytes(512) + there.to_bytes(8, "little") + compacted.to_bytes(8, "little") + bytes(48)
    assert xcr0.restorable(image, 3) is taken
