"""ENCLU_SGX_IOC_DEBUG_ACCESS on the memory-only processor: pages, mappings, bytes."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclu.linux import uapi
from enclu.linux.debug import debug_access
from enclu.linux.uapi import DEBUG_ACCESS
from enclu.sgx.structs import Attribute
from tests.linux.test_mm_and_paging import crowded, evicted
from tests.support.memory_processor import BASE, World

DEBUG = int(Attribute.MODE64BIT | Attribute.DEBUG)
ARG, BUFFER = 0x100, 0x10000
DATA = BASE + 0x6000


@pytest.fixture(scope="module")
def world() -> World:
    return World(attributes=DEBUG).build()


def access(world: World, address: int, length: int, flags: int = 0) -> int:
    """Bytes, if it succeeds."""
    world.user.write(ARG, DEBUG_ACCESS.pack(address=address, buffer=BUFFER, length=length, flags=flags, count=99))
    debug_access(world.mm, world.user, ARG)
    return counted(world)


def counted(world: World) -> int:
    return int(DEBUG_ACCESS.unpack(world.user.read(ARG, DEBUG_ACCESS.size))["count"])


def read(world: World, address: int, length: int) -> bytes:
    assert access(world, address, length) == length
    return world.user.read(BUFFER, length)


def refused(number: int, world: World, address: int, length: int, flags: int = 0) -> int:
    """Bytes until then."""
    with pytest.raises(OSError) as caught:
        access(world, address, length, flags)
    assert caught.value.errno == number
    return counted(world)


@given(st.lists(st.tuples(st.integers(0, 0x1FFF), st.binary(min_size=1, max_size=5000)), max_size=4))
def test_bytes_come_and_go_wherever_they_are(world: World, writes: list[tuple[int, bytes]]) -> None:
    model = bytearray(read(world, DATA, 0x2000))
    for offset, data in writes:
        piece = data[: 0x2000 - offset]
        world.user.write(BUFFER, piece)
        assert access(world, DATA + offset, len(piece), uapi.ENCLU_SGX_DEBUG_WRITE) == len(piece)
        model[offset : offset + len(piece)] = piece
        assert read(world, DATA + offset, len(piece)) == piece
    assert read(world, DATA, 0x2000) == model


def test_an_evicted_page_is_loaded() -> None:
    world = crowded(DEBUG)
    index = evicted(world)
    assert read(world, index << 12, 16) == bytes([index - (BASE >> 12) - 0xF] * 16)
    assert world.encl.pages[index].epc is not None


def test_a_page_that_does_not_exist_is_not_added() -> None:
    world = World(attributes=DEBUG).build()
    pages = len(world.encl.pages)
    assert refused(errno.EFAULT, world, DATA, 0x3000) == 0x2000
    assert len(world.encl.pages) == pages


def test_what_is_not_mapped_in_the_process_is_out_of_reach() -> None:
    world = World(attributes=DEBUG).build()
    world.mm.munmap(DATA + 0x1000, 0x1000)
    assert refused(errno.EFAULT, world, DATA, 0x2000) == 0x1000


def test_a_mapping_without_access_does_for_a_debugger() -> None:
    world = World(attributes=DEBUG).build()
    world.page(0x6000).data[:4] = b"data"
    world.mm.mprotect(DATA, DATA + 0x1000, 0)
    assert read(world, DATA, 4) == b"data"


def test_a_production_enclave_is_efault() -> None:
    assert refused(errno.EFAULT, World().build(), DATA, 8) == 0


def test_an_enclave_can_be_read_before_einit() -> None:
    world = World(attributes=DEBUG)
    world.create()
    world.add(0x6000, b"early".ljust(4096, b"\0"), 0x203)
    world.map(0x6000, 0x1000, 3)
    assert read(world, DATA, 5) == b"early"


def test_a_lost_page_is_eio() -> None:
    world = World(attributes=DEBUG).build()
    world.kernel.drop_epc()
    assert refused(errno.EIO, world, DATA, 8) == 0
    assert refused(errno.EIO, world, DATA, 8, uapi.ENCLU_SGX_DEBUG_WRITE) == 0


def test_a_version_that_was_tampered_with_is_efault() -> None:
    world = crowded(DEBUG)
    page = world.encl.pages[evicted(world)]
    assert page.backing is not None
    va, slot, ciphertext, pcmd = page.backing
    page.backing = (va, slot, bytes([ciphertext[0] ^ 1]) + ciphertext[1:], pcmd)
    assert refused(errno.EFAULT, world, page.address, 8) == 0


@pytest.mark.parametrize("flags", [2, 1 << 63])
def test_unknown_flags_are_einval(world: World, flags: int) -> None:
    assert refused(errno.EINVAL, world, DATA, 8, flags) == 99
