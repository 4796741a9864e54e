"""The SECS stays in the EPC as long as a child does, however small the EPC."""

import errno

import pytest

from enclu.base.events import PageRefused, PageReloaded
from enclu.linux import fault
from enclu.linux.traps import Resolution
from enclu.sgx.exceptions import Fault, Vector
from tests.support.memory_processor import BASE, REG_RW, TCS_PAGE, World, tcs_image

PAGES = 30


def tiny(epc_pages: int) -> World:
    """An initialised enclave of 30 data pages, each with content of its own, in a tiny EPC."""
    world = World(epc_pages=epc_pages, size=0x80000)
    world.create()
    for i in range(PAGES):
        world.add(0x1000 + i * 4096, bytes([i + 1]) * 4096, REG_RW)
    world.add(0x3F000, tcs_image(ossa=0x1000), TCS_PAGE)
    world.init()
    world.map(0x1000, PAGES * 4096, 3)
    world.map(0x40000, 0x40000, 3)
    return world


def assert_secs_is_with_its_children(world: World) -> None:
    secs, page = world.encl.secs, world.encl.secs_page
    assert secs is not None and page is not None
    resident = sum(p.epc is not None for p in world.encl.pages.values())
    assert secs.children == resident
    assert page.epc is not None or not resident


@pytest.mark.parametrize("epc_pages", [8, 10, 12, 17, 19, 24])
def test_reloading_keeps_the_secs(epc_pages: int) -> None:
    world = tiny(epc_pages)
    for address in [BASE + 0x1000 + i * 4096 for i in range(PAGES)] * 3:
        if world.mm.resident(address) is None:
            assert fault.handle(world.mm, Fault(Vector.PF, 4, address)) is Resolution.RESOLVED
        assert bytes(world.page(address - BASE).data[:1]) == bytes([(address - BASE) >> 12])
        assert_secs_is_with_its_children(world)
    assert world.stats.count(PageReloaded) > PAGES and world.machine.epc.peak <= epc_pages


@pytest.mark.parametrize("epc_pages", [8, 12, 19])
def test_augmenting_keeps_the_secs(epc_pages: int) -> None:
    world = tiny(epc_pages)
    for i in range(40):
        assert fault.handle(world.mm, Fault(Vector.PF, 6, BASE + 0x40000 + i * 4096)) is Resolution.RESOLVED
        assert_secs_is_with_its_children(world)


def test_a_tampered_secs_is_sigbus_and_leaks_no_page() -> None:
    world = tiny(12)
    while world.encl.secs_page is not None and world.encl.secs_page.epc is not None:
        world.kernel.reclaimer.reclaim()
    own = world.encl.secs_page
    assert own is not None and own.backing is not None
    va, slot, ciphertext, pcmd = own.backing
    own.backing = (va, slot, bytes([ciphertext[0] ^ 1]) + ciphertext[1:], pcmd)
    used = world.machine.epc.used
    for address, code in ((BASE + 0x1000, 4), (BASE + 0x40000, 6)):
        assert fault.handle(world.mm, Fault(Vector.PF, code, address)) is Resolution.SIGBUS
    assert world.machine.epc.used == used and world.stats.count(PageRefused) == 2
    with pytest.raises(OSError) as caught:
        world.encl.load(BASE + 0x1000)
    assert caught.value.errno == errno.EFAULT
    world.kernel.release(world.encl)
    assert world.machine.epc.used == 0
