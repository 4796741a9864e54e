"""Pages that were added together, and at which nobody has looked one by one."""

import errno

import pytest

from enclu.base.events import PageEvicted
from enclu.linux import add_pages, fault
from enclu.linux.mm import may_map
from enclu.sgx import encls
from enclu.sgx.epc import EPC, PageType
from enclu.sgx.processor import WINDOW
from enclu.sgx.structs import ErrorCode
from tests.support.bare_enclave import entered
from tests.support.memory_processor import BASE, UserBytes, World

RUN = 0x10000
FIRST = BASE + RUN >> 12


def with_run(pages: int = 40, epc_pages: int = 400, content: bytes = b"\7", flags: int = 0x203) -> World:
    world = World(epc_pages=epc_pages, size=0x40000)
    world.create()
    assert world.add(RUN, content * (pages * 4096), flags) == 0
    return world


def test_a_run_has_its_pages_though_nobody_has_asked_for_one() -> None:
    world = with_run()
    pages = world.encl.pages
    assert not pages.single() and len(pages) == 40 and FIRST + 39 in pages and FIRST + 40 not in pages
    page = pages[FIRST + 3].epc
    assert page is not None and page.valid and page.pt is PageType.REG and page.rwx == 3
    assert page.enclaveaddress == BASE + RUN + 0x3000 and page.secs is world.encl.secs
    assert bytes(page.data) == bytes([7]) * 4096
    assert pages[FIRST + 3].epc is page and sorted(pages) == list(range(FIRST, FIRST + 40)) and len(pages) == 40


def test_all_of_it_goes_with_the_enclave() -> None:
    world = with_run()
    assert world.encl.secs is not None
    _ = world.encl.pages[FIRST + 5]
    world.kernel.release(world.encl)
    assert world.machine.epc.used == 0 and world.encl.secs.children == 0


def test_a_page_cannot_be_added_twice() -> None:
    world = with_run()
    for offset, length in ((RUN + 0x27000, 0x2000), (RUN - 0x2000, 0x3000)):
        with pytest.raises(OSError) as caught:
            world.add(offset, bytes(length), 0x203)
        assert caught.value.errno == errno.EBUSY
    assert len(world.encl.pages) == 42


def test_a_mapping_with_more_than_the_run_was_added_with_is_eacces() -> None:
    world = with_run(flags=0x201)
    may_map(world.encl, BASE + RUN, BASE + RUN + 0x28000, 1)
    may_map(world.encl, BASE + RUN + 0x28000, BASE + RUN + 0x29000, 7)
    with pytest.raises(OSError) as caught:
        may_map(world.encl, BASE + RUN + 0x27000, BASE + RUN + 0x29000, 3)
    assert caught.value.errno == errno.EACCES


def test_a_removed_page_does_not_come_back() -> None:
    world = with_run()
    world.kernel.remove(world.encl.pages[FIRST + 7])
    del world.encl.pages[FIRST + 7]
    assert FIRST + 7 not in world.encl.pages and len(world.encl.pages) == 39
    with pytest.raises(KeyError):
        del world.encl.pages[FIRST + 7]
    used = world.machine.epc.used
    world.kernel.reclaimer.reclaim(64)
    assert world.stats.count(PageEvicted) == 39 and world.machine.epc.used < used - 38


def test_the_pages_loaded_longest_ago_are_evicted_first_asked_for_or_not() -> None:
    world = with_run()
    world.add(0x2000, bytes(0x1000), 0x203)
    _ = world.encl.pages[FIRST], world.encl.pages[FIRST + 30]
    world.kernel.reclaimer.reclaim(20)
    gone = [i for i in range(40) if world.encl.pages[FIRST + i].epc is None]
    assert gone == list(range(20))
    world.kernel.reclaimer.reload(world.encl.pages[FIRST])
    world.kernel.reclaimer.reclaim(21)
    assert world.encl.pages[BASE + 0x2000 >> 12].epc is None and world.encl.pages[FIRST].epc is not None
    assert all(world.encl.pages[FIRST + i].epc is None for i in range(1, 40))


def test_a_power_event_takes_pages_that_nobody_has_asked_for() -> None:
    world = with_run()
    world.kernel.drop_epc()
    page = world.encl.pages[FIRST + 9].epc
    assert page is not None and not page.valid


def test_pages_of_zeros_are_zeros_whatever_the_file_had_there() -> None:
    world = World(size=0x40000)
    world.create()
    world.memory.view(RUN, 0x28000)[:] = b"\xcc" * 0x28000
    assert world.add(RUN, bytes(0x28000), 0x203) == 0
    assert not any(world.encl.data_of(FIRST + 20))


def measured(offset: int, *sizes: int) -> bytes:
    """MRENCLAVE so far of pages of zeros from `offset` on, added by as many calls as there are sizes."""
    world = World(size=2 * WINDOW)
    world.create(BASEADDR=0)
    for size in sizes:
        assert world.add(offset, bytes(size), 0x203) == 0
        offset += size
    assert world.encl.secs is not None
    return world.encl.secs.measurement.digest()


def test_a_call_across_two_windows_of_memory_measures_what_two_calls_do() -> None:
    start = WINDOW - 0x4000
    assert measured(start, 0x18000) == measured(start, 0x4000, 0x14000)


def test_a_large_source_that_nobody_has_touched_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(add_pages, "MANY_PAGES", 40)
    monkeypatch.setattr(UserBytes, "untouched", lambda user, start, end: lambda low, high: low >= start + 0x10000)
    world = World(epc_pages=128, size=0x40000)
    world.create()
    world.memory.view(RUN, 0x28000)[:] = b"\xcc" * 0x28000
    assert world.add(RUN, b"\5" * 0x28000, 0x203) == 0
    assert bytes(world.memory.view(RUN, 0x28000)) == b"\5" * 0x10000 + bytes(0x18000)
    other = with_run(content=b"\5")
    assert world.encl.secs is not None and other.encl.secs is not None
    assert world.encl.secs.measurement.digest() != other.encl.secs.measurement.digest()
    assert len(world.encl.pages) == 40


def test_each_chunk_of_a_long_call_has_its_own_contents() -> None:
    world = World(epc_pages=128, size=0x40000)
    world.create()
    contents = bytes(0x10000) + b"\5" * 0x10000 + bytes(0x8000)
    assert world.add(RUN, contents, 0x203) == 0
    assert bytes(world.memory.view(RUN, 0x28000)) == contents


def test_eremove_of_a_run_while_somebody_is_inside_is_refused() -> None:
    world = with_run()
    (run,) = world.encl.pages.runs
    secs = world.encl.secs
    assert secs is not None
    entered(world.kernel.machine, secs)
    assert encls.eremove_untouched(run.epc) == ErrorCode.SGX_ENCLAVE_ACT
    assert run.epc[3].valid


def test_an_epc_gives_no_longer_runs_than_it_has_room_for() -> None:
    epc = EPC(16 * 4096)
    assert len(epc.allocate_run(10)) == 10 and len(epc.allocate_run(10)) == 6
    assert epc.free == 0 and epc.allocate() is None


def test_a_fault_shows_pages_of_a_run() -> None:
    world = with_run()
    world.map(RUN, 0x28000, 3)
    assert fault.supply(world.mm, BASE + RUN + 0x5000)
    assert world.mm.shown(BASE + RUN + 0x5000) == 3
