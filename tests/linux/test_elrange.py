"""An ELRANGE of 2^46 bytes costs what its pages cost."""

from __future__ import annotations

import tracemalloc

import pytest

from enclu.base.events import PageEvicted
from enclu.linux import fault
from enclu.linux.mm import may_map
from enclu.linux.traps import Resolution
from enclu.sgx.exceptions import PFEC, Fault, Vector
from tests.support.memory_processor import REG_RW, TCS_PAGE, World, tcs_image

SIZE = 1 << 46
FAR = SIZE - 4096
MOST_MEMORY = 2 << 20


@pytest.fixture
def sparse() -> World:
    """Pages at both ends and at the border of a window, in an ELRANGE that begins at 0, all of it mapped."""
    world = World(size=SIZE)
    world.create(BASEADDR=0)
    world.add(0x10000, tcs_image(ossa=0x11000), TCS_PAGE)
    world.add((1 << 36) - 4096, b"a" * 4096 + b"b" * 4096, REG_RW)
    world.add(FAR, b"z" * 4096, REG_RW)
    world.init()
    may_map(world.encl, 0x10000, SIZE, 3)
    world.mm.mmap(world.encl, 0x10000, SIZE - 0x10000, 3)
    return world


def content(world: World, address: int) -> bytes:
    page = world.encl.pages[address >> 12].epc
    assert page is not None
    return bytes(page.data)


def test_pages_may_be_anywhere(sparse: World) -> None:
    assert content(sparse, (1 << 36) - 4096) == b"a" * 4096
    assert content(sparse, 1 << 36) == b"b" * 4096
    assert content(sparse, FAR) == b"z" * 4096


def test_only_pages_that_were_added_have_objects(sparse: World) -> None:
    assert len(sparse.encl.pages) == 4
    assert sparse.machine.epc.used == 4 + 2, "and those of SECS and version array"


def test_changing_all_of_it_takes_no_memory(sparse: World) -> None:
    tracemalloc.start()
    try:
        sparse.mm.mprotect(0x10000, SIZE, 1)
        sparse.encl.zap((0, SIZE))
        sparse.kernel.drop_epc()
        sparse.mm.munmap(0x10000, SIZE - 0x10000)
        sparse.kernel.release(sparse.encl)
        assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
    finally:
        tracemalloc.stop()


def test_a_fault_anywhere_adds_one_page(sparse: World) -> None:
    address = (1 << 45) + 0x123
    before = sparse.machine.epc.used
    assert fault.handle(sparse.mm, Fault(Vector.PF, PFEC.U, address)) is Resolution.RESOLVED
    assert sparse.machine.epc.used == before + 1
    assert set(content(sparse, address)) == {0}


def test_evicted_pages_come_back_to_their_places() -> None:
    world = World(size=SIZE, epc_pages=24)
    world.create(BASEADDR=0)
    places = [i * (SIZE // 64) + 0x10000 for i in range(64)]
    for i, place in enumerate(places):
        world.add(place, bytes([i]) * 4096, REG_RW)
    world.init()
    for i, place in enumerate(places):
        world.encl.load(place)
        assert content(world, place) == bytes([i]) * 4096
    assert world.stats.count(PageEvicted)
