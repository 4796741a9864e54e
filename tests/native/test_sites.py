"""Changed instructions: who reads for somebody else gets what stood there."""

from __future__ import annotations

from typing import cast

import pytest

from enclu.native.address_space import AddressSpace
from enclu.native.sites import Kind, Sites

BASE = 0x1000


class Memory:
    """An address space that is bytes."""

    def __init__(self, code: bytes) -> None:
        self.bytes = bytearray(code)

    def poke(self, address: int, data: bytes) -> None:
        self.bytes[address - BASE : address - BASE + len(data)] = data

    def peek(self, address: int, size: int) -> bytes:
        return bytes(self.bytes[address - BASE : address - BASE + size])


ORIGINAL = b"\x90\x0f\xa2\x90" + bytes(range(0x40, 0x4C)) + b"\xc3"


@pytest.fixture
def memory() -> Memory:
    return Memory(ORIGINAL)


@pytest.fixture
def sites(memory: Memory) -> Sites:
    found = Sites()
    space = cast(AddressSpace, memory)
    found.put(space, BASE + 4, Kind.PATH_CALL, ORIGINAL[4:16], b"\xcc" * 12)
    found.put(space, BASE + 1, Kind.CPUID, b"\x0f\xa2", b"\x0f\x0b")
    return found


def read(sites: Sites, memory: Memory, low: int, high: int) -> bytes:
    data = bytearray(memory.peek(BASE + low, high - low))
    sites.give_originals(BASE + low, memoryview(data))
    return bytes(data)


def test_every_part_of_memory_is_read_as_it_was(sites: Sites, memory: Memory) -> None:
    assert memory.bytes != ORIGINAL
    for low in range(len(ORIGINAL) + 1):
        for high in range(low, len(ORIGINAL) + 1):
            assert read(sites, memory, low, high) == ORIGINAL[low:high]


def test_what_was_written_over_a_site_is_read_as_it_is(sites: Sites, memory: Memory) -> None:
    memory.poke(BASE + 1, b"\x66\x90")
    assert read(sites, memory, 0, 4) == b"\x90\x66\x90\x90"
    assert not sites.stands(cast(AddressSpace, memory), BASE + 1, Kind.CPUID)


def test_a_site_is_of_one_kind(sites: Sites, memory: Memory) -> None:
    space = cast(AddressSpace, memory)
    assert sites.stands(space, BASE + 1, Kind.CPUID)
    assert not sites.stands(space, BASE + 4, Kind.CPUID)
    assert not sites.stands(space, BASE, Kind.CPUID)


def test_a_copy_changes_no_more(sites: Sites, memory: Memory) -> None:
    child, other = sites.copy(), Memory(bytes(memory.bytes))
    child.put(cast(AddressSpace, other), BASE, Kind.CPUID, b"\x90", b"\xcc")
    assert read(child, other, 0, len(ORIGINAL)) == ORIGINAL
    assert not sites.stands(cast(AddressSpace, other), BASE, Kind.CPUID)
