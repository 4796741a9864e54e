"""Memory maps against EPCM, faults, EAUG, eviction and reload."""

import errno
from collections.abc import Sequence

import pytest

from enclu.base.events import PageEvicted, PageRefused, PageReloaded
from enclu.linux import cpuid, fault, procfs
from enclu.linux.mm import NEEDS, may_map
from enclu.linux.reclaim import SGX_NR_TO_SCAN
from enclu.linux.traps import Resolution
from enclu.sgx.enclave_mode import CODE_EACH, CODE_OF_FRAME, CODE_SHIFTS, CODE_UNKNOWN
from enclu.sgx.enclu import execute
from enclu.sgx.exceptions import PFEC, Fault, PageFault, Vector
from enclu.sgx.processor import Access
from enclu.sgx.structs import SECINFO, EncluLeaf
from tests.support.memory_processor import BASE, REG_R, MemoryPageTables, World


@pytest.fixture
def world() -> World:
    return World().build()


@pytest.mark.parametrize(("offset", "length", "prot"), [(0x5000, 0x1000, 2), (0x5000, 0x2000, 4), (0, 0x20000, 0)])
def test_mapping_with_more_than_the_pages_allow_is_eacces(world: World, offset: int, length: int, prot: int) -> None:
    with pytest.raises(OSError) as caught:
        may_map(world.encl, BASE + offset, BASE + offset + length, prot)
    assert caught.value.errno == errno.EACCES


def test_mprotect_beyond_the_pages_is_eacces_and_changes_nothing(world: World) -> None:
    with pytest.raises(OSError):
        world.mm.mprotect(BASE + 0x5000, BASE + 0x6000, 7)
    vma = world.mm.find_vma(BASE + 0x5000)
    assert vma is not None and vma.prot == 5


def test_a_range_has_enclave_parts_and_others(world: World) -> None:
    parts = [
        (low - BASE, high - BASE, vma is not None) for low, high, vma in world.mm.segments(BASE + 0x3000, BASE + 0x6000)
    ]
    assert parts == [(0x3000, 0x4000, True), (0x4000, 0x5000, False), (0x5000, 0x6000, True)]


class FullPageTables(MemoryPageTables):
    """Of a process with all the mappings it may have: what would split one fails, unless it makes one of all."""

    full = False

    def protect_all(self, ranges: Sequence[tuple[int, int]], prot: int) -> None:
        for start, end in ranges:
            self.protect(start, end, prot)

    def protect(self, start: int, end: int, prot: int) -> None:
        if self.full and (prot or (start, end) != (BASE + 0x5000, BASE + 0x10000)):
            raise OSError(errno.ENOMEM, "vm.max_map_count")
        super().protect(start, end, prot)


def full_world() -> tuple[World, FullPageTables]:
    world = World().build()
    tables = world.mm.page_tables = FullPageTables()
    return world, tables


def test_a_page_that_cannot_be_shown_is_sigbus_and_not_taken_for_shown() -> None:
    world, tables = full_world()
    tables.full = True
    assert not fault.supply(world.mm, BASE + 0x6000)
    assert fault.handle(world.mm, Fault(Vector.PF, 4, BASE + 0x6000)) is Resolution.SIGBUS
    tables.full = False
    assert fault.supply(world.mm, BASE + 0x6000)


class ForbiddenPageTables(MemoryPageTables):
    """Of a process that may not have them changed: by its own seccomp filter, say."""

    def protect(self, start: int, end: int, prot: int) -> None:
        raise OSError(errno.EPERM, "mprotect")


def test_a_page_that_cannot_be_shown_may_be_touched_all_the_same() -> None:
    world = World().build()
    world.mm.page_tables = ForbiddenPageTables()
    world.mm.touch(BASE + 0x6000, BASE + 0x7000)
    assert not world.mm.shown(BASE + 0x6000)


def test_what_is_touched_is_shown_alone() -> None:
    world = World().build()
    world.mm.touch(BASE + 0x6000, BASE + 0x7000)
    assert [bool(world.mm.shown(BASE + at)) for at in (0x5000, 0x6000, 0x7000)] == [False, True, False]


def test_pages_that_cannot_be_hidden_alone_are_hidden_with_their_neighbours() -> None:
    world, tables = full_world()
    fault.supply(world.mm, BASE + 0x6000)
    tables.full = True
    world.mm.zap(world.encl, [(BASE + 0x6000, BASE + 0x7000)])
    assert not any(tables.prot[(BASE + at) >> 12] for at in (0x6000, 0x7000))
    assert not world.mm.granted(BASE + 0x7000, Access.READ)


def test_a_sealed_mapping_keeps_its_protection(world: World) -> None:
    world.mm.seal(BASE + 0x6000, BASE + 0x7000)
    with pytest.raises(OSError) as caught:
        world.mm.mprotect(BASE + 0x6000, BASE + 0x7000, 1)
    assert caught.value.errno == errno.EPERM
    assert world.mm.sealed(BASE + 0x6000, BASE + 0x6001) and not world.mm.sealed(BASE + 0x7000, BASE + 0x8000)
    assert world.mm.fork(world.page_tables).sealed(BASE + 0x6000, BASE + 0x7000)


def test_a_child_has_not_what_is_not_to_be_forked(world: World) -> None:
    world.mm.dont_copy(BASE + 0x6000, BASE + 0x7000)
    child = world.mm.fork(world.page_tables)
    assert child.find_vma(BASE + 0x6000) is None and child.find_vma(BASE + 0x7000) is not None


def test_a_mapping_moved_out_of_elrange_has_no_pages(world: World) -> None:
    place = 0x7000_0000_0000
    world.mm.move(BASE + 0x6000, BASE + 0x7000, place)
    assert world.mm.find_vma(BASE + 0x6000) is None
    assert fault.handle(world.mm, Fault(Vector.PF, 4, place)) is Resolution.SIGBUS
    world.mm.munmap(BASE, 0x10000)
    assert world.encl.mms, "the mapping refers to the enclave"


def test_pages_appear_on_fault_with_their_neighbours(world: World) -> None:
    assert not world.page_tables.prot
    assert fault.supply(world.mm, BASE + 0x6123)
    assert world.page_tables.prot == {(BASE + 0x6000) >> 12: 3, (BASE + 0x7000) >> 12: 3}
    assert not fault.supply(world.mm, BASE + 0x6123)


@pytest.mark.parametrize("access", Access)
@pytest.mark.parametrize("state", ["", "blocked", "pending", "modified"])
@pytest.mark.parametrize("rwx", [0, 1, 3, 4, 5, 7])
@pytest.mark.parametrize("prot", [0, 1, 2, 3, 4, 5, 7])
def test_error_codes_are_known_before_the_access_is(
    world: World, prot: int, rwx: int, state: str, access: Access
) -> None:
    at = BASE + 0x6000
    world.mm.mprotect(at, at + 0x1000, 0)
    page, vma = world.encl.pages[at >> 12], world.mm.find_vma(at)
    assert page.epc is not None and vma is not None
    page.max_prot, vma.prot, page.epc.rwx = 7, prot, rwx
    if state:
        setattr(page.epc, state, True)
    world.mm.show(at, at + 0x1000)
    code = fault.codes(world.mm, at) >> CODE_SHIFTS[access] & 0xFFFF
    if world.mm.allowed(at) & NEEDS[access]:
        assert code == CODE_UNKNOWN
    else:
        told = Fault(Vector.PF, world.mm.hardware_code(at, PFEC.U | access), at)
        assert code == told.error_code and fault.verdict_of_vma(world.mm, told) is Resolution.SIGSEGV_ACCERR


def test_where_no_enclave_is_the_hosts_error_code_is_right(world: World) -> None:
    assert fault.codes(world.mm, BASE - 0x1000) == CODE_EACH * CODE_OF_FRAME
    assert fault.codes(world.mm, 1 << 63) == CODE_EACH * (CODE_OF_FRAME | PFEC.P)


def test_of_a_page_that_may_come_no_error_code_is_known(world: World) -> None:
    assert fault.codes(world.mm, BASE + 0x6000) == 0
    fault.supply(world.mm, BASE + 0x6000)
    assert fault.codes(world.mm, BASE + 0x6000) != 0


def test_a_tcs_is_never_shown(world: World) -> None:
    assert not fault.supply(world.mm, BASE)


def test_unmapping_a_middle_leaves_both_ends(world: World) -> None:
    world.mm.munmap(BASE + 0x1000, 0x1000)
    assert world.mm.find_vma(BASE) and world.mm.find_vma(BASE + 0x2000)
    assert world.mm.find_vma(BASE + 0x1000) is None
    assert world.encl.mms == {world.mm}
    world.mm.munmap(BASE, 0x10000)
    assert not world.encl.mms


def test_a_forked_child_knows_addresses_but_may_not_enter(world: World) -> None:
    child = world.mm.fork(world.page_tables)
    assert child.enclave_ranges() == world.mm.enclave_ranges()
    cpu = world.processor()
    cpu.mm = child
    cpu.regs.rax, cpu.regs.rbx = EncluLeaf.EENTER, BASE
    with pytest.raises(PageFault):
        execute(cpu)
    assert fault.handle(child, Fault(Vector.PF, 4, BASE)) is Resolution.SIGBUS


@pytest.mark.parametrize(
    ("address", "code", "want"),
    [(0x1000, 4, Resolution.SIGSEGV_MAPERR), (BASE + 0x5000, 6, Resolution.SIGSEGV_ACCERR),
     (BASE + 0x6000, 0x8007, Resolution.SIGSEGV_ACCERR), (BASE + 0x9000, 6, Resolution.RESOLVED)],
)  # fmt: skip
def test_page_faults_are_judged_as_the_kernel_does(world: World, address: int, code: int, want: Resolution) -> None:
    assert fault.handle(world.mm, Fault(Vector.PF, code, address)) is want


def test_eaug_adds_a_pending_page_that_only_eaccept_opens(world: World) -> None:
    at = BASE + 0x9000
    assert fault.handle(world.mm, Fault(Vector.PF, 6, at)) is Resolution.RESOLVED
    page = world.page(0x9000)
    assert page.pending and page.rwx == 3
    assert world.mm.hardware_code(at, 7) == 0x8007
    cpu = world.processor()
    cpu.regs.rax, cpu.regs.rbx = EncluLeaf.EENTER, BASE
    execute(cpu)
    world.page(0x7000).data[:64] = SECINFO.pack(FLAGS=0x20B)
    cpu.regs.rax, cpu.regs.rbx, cpu.regs.rcx = EncluLeaf.EACCEPT, BASE + 0x7000, at
    execute(cpu)
    assert cpu.regs.rax == 0 and not page.pending
    world.kernel.invalidate(page)
    assert world.page_tables.prot[at >> 12] == 3


def test_what_may_be_written_may_be_read(world: World) -> None:
    """x86 has no page that can be written only."""
    world.mm.mprotect(BASE, BASE + 0x1000, 2)
    assert world.mm.translate(BASE, Access.READ) is world.page(0)
    with pytest.raises(PageFault):
        world.mm.translate(BASE, Access.FETCH)
    cpu = world.processor()
    cpu.regs.rax, cpu.regs.rbx = EncluLeaf.EENTER, BASE
    execute(cpu)
    assert cpu.mode.enclave


def test_what_may_be_written_is_read_as_far_as_the_epcm_lets_it(world: World) -> None:
    world.page(0x6000).rwx = 1
    world.mm.mprotect(BASE + 0x6000, BASE + 0x7000, 2)
    assert world.mm.allowed(BASE + 0x6000) == 1


def test_error_codes_tell_vma_from_epcm(world: World) -> None:
    mm = world.mm
    mm.mprotect(BASE + 0x6000, BASE + 0x7000, 1)
    assert mm.hardware_code(BASE + 0x6000, 7) == 0x7
    world.page(0x7000).rwx = REG_R & 7
    assert mm.hardware_code(BASE + 0x7000, 6) == 0x8007


def crowded(attributes: int = 4) -> World:
    """An enclave of 40 data pages in an EPC of 24, every page with content of its own."""
    world = World(epc_pages=24, size=0x40000, attributes=attributes)
    world.create()
    for i in range(40):
        world.add(0x10000 + i * 4096, bytes([i + 1]) * 4096, 0x203)
    from tests.support.memory_processor import TCS_PAGE, tcs_image

    world.add(0, tcs_image(ossa=0x1000), TCS_PAGE)
    world.add(0x1000, bytes(0x3000), 0x203)
    world.init()
    world.map(0, 0x40000, 0)
    world.mm.munmap(BASE, 0x40000)
    world.map(0x10000, 40 * 4096, 3)
    world.map(0, 0x4000, 3)
    return world


def mostly_outside() -> tuple[World, int]:
    """The same after evictions that leave no data page in the EPC; the first of them, by index."""
    world = crowded()
    for _ in range(3):
        world.kernel.reclaimer.reclaim()
    return world, BASE + 0x10000 >> 12


def test_more_pages_than_the_epc_survive_eviction() -> None:
    world = crowded()
    assert world.stats.count(PageEvicted) > 16
    assert world.machine.epc.peak <= 24
    for i in range(40):
        assert fault.supply(world.mm, BASE + 0x10000 + i * 4096) or world.mm.resident(BASE + 0x10000 + i * 4096)
        assert bytes(world.page(0x10000 + i * 4096).data) == bytes([i + 1]) * 4096
    assert world.stats.count(PageReloaded) > 0


def test_nothing_is_evicted_before_the_epc_is_full() -> None:
    """Linux begins at SGX_NR_LOW_PAGES, 32, and ksgxd goes on to SGX_NR_HIGH_PAGES, 64."""
    world = World(epc_pages=24, size=0x80000).build()
    address = BASE + 0x10000
    while world.machine.epc.free:
        assert fault.handle(world.mm, Fault(Vector.PF, 6, address)) is Resolution.RESOLVED
        address += 4096
    assert world.stats.count(PageEvicted) == 0
    assert fault.handle(world.mm, Fault(Vector.PF, 6, address)) is Resolution.RESOLVED
    assert world.stats.count(PageEvicted) == SGX_NR_TO_SCAN


def test_a_page_evicted_out_of_order_comes_alone_and_those_in_order_bring_the_next() -> None:
    world, first = mostly_outside()
    assert all(world.encl.pages[first + i].epc is None for i in range(40))
    came = []
    for i in (5, 0, 1, 2):
        before = world.stats.count(PageReloaded)
        if world.encl.pages[first + i].epc is None:
            assert fault.supply(world.mm, (first + i) << 12)
        came.append(world.stats.count(PageReloaded) - before)
    assert came == [1, 1, 2, 0]


def test_every_page_comes_alone_where_somebody_steps() -> None:
    world, first = mostly_outside()
    world.kernel.ahead = False
    for i in range(8):
        assert world.encl.pages[first + i].epc is None
        assert fault.supply(world.mm, first + i << 12)


def test_what_comes_ahead_may_be_lost_without_anybody_being_told() -> None:
    world, first = mostly_outside()
    behind = world.encl.pages[first + 2]
    assert behind.backing is not None
    behind.backing = None
    assert fault.supply(world.mm, first << 12) and fault.supply(world.mm, first + 1 << 12)
    assert world.stats.count(PageRefused) == 0 and behind.epc is None
    assert not fault.supply(world.mm, first + 2 << 12)


def test_what_comes_ahead_and_has_been_changed_is_told_and_stays_outside() -> None:
    world, first = mostly_outside()
    behind = world.encl.pages[first + 2]
    assert behind.backing is not None
    va, slot, ciphertext, pcmd = behind.backing
    behind.backing = (va, slot, bytes(len(ciphertext)), pcmd)
    used = world.machine.epc.used
    assert fault.supply(world.mm, first << 12) and fault.supply(world.mm, first + 1 << 12)
    assert world.stats.count(PageRefused) == 1 and behind.epc is None
    assert world.machine.epc.used == used + 3, "two pages and the SECS"


def test_pages_lost_with_the_epc_give_their_version_slots_back() -> None:
    world = crowded()
    free = sum(len(va.free) for va in world.encl.va_pages)
    evicted_before = world.stats.count(PageEvicted)
    lost = [page for page in world.encl.pages.values() if page.epc is not None]
    for page in lost[1::2]:
        assert page.epc is not None
        page.epc.invalidate()
    for _ in range(3):
        world.kernel.reclaimer.reclaim()
    assert world.stats.count(PageEvicted) == evicted_before + len(lost)
    assert all((page.backing is None) == (page in lost[1::2]) and page.epc is None for page in lost)
    slots = [page.backing[1] for page in world.encl.pages.values() if page.backing is not None]
    assert len(set(slots)) == len(slots)
    assert sum(len(va.free) for va in world.encl.va_pages) >= free - len(lost[::2]) - 1


@pytest.mark.parametrize("change", ["show", "hide", "evict", "unmap"])
def test_a_change_of_translations_that_is_left_to_somebody_is_made_before_any_other(change: str) -> None:
    world, first = mostly_outside()
    mm, tables, made = world.mm, world.page_tables, list[dict[int, int]]()

    def leave(start: int, end: int, prot: int) -> bool:
        mm.left.append(lambda: made.append(dict(tables.prot)))
        return (start, end, prot) == (first << 12, first + 1 << 12, 3)

    assert fault.supply(mm, first << 12, leave)
    before = dict(tables.prot)
    assert mm.shown(first << 12) == 3 and before.get(first, 0) == 0 and made == []
    if change == "show":
        assert fault.supply(mm, first + 5 << 12)
    elif change == "hide":
        mm.hide(first << 12, first + 1 << 12)
    elif change == "evict":
        while world.encl.pages[first].epc is not None:
            world.kernel.reclaimer.reclaim()
    else:
        mm.munmap(first << 12, 4096)
    assert made == [before]


def test_pages_that_have_just_been_accessed_are_evicted_last() -> None:
    world = crowded()
    reclaimer = world.kernel.reclaimer
    resident = [page for page in world.encl.pages.values() if page.epc is not None]
    for page in resident:
        reclaimer.forget(page)
        reclaimer.add(page)
    reclaimer.young = lambda: resident[:2]
    reclaimer.reclaim(4)
    assert [page.epc is None for page in resident[:7]] == [False, False, True, True, True, True, False]


def evicted(world: World) -> int:
    return next(i for i, p in world.encl.pages.items() if p.epc is None)


def test_an_evicted_page_leaves_no_plain_text_in_memory() -> None:
    world = crowded()
    index = evicted(world)
    plain = bytes([index - (BASE + 0x10000 >> 12) + 1]) * 16
    assert plain not in bytes(world.encl.data_of(index))
    assert fault.supply(world.mm, index << 12)
    assert plain in bytes(world.encl.data_of(index))


def test_a_tampered_page_is_refused() -> None:
    world = crowded()
    index = evicted(world)
    page = world.encl.pages[index]
    assert page.backing is not None
    va, slot, ciphertext, pcmd = page.backing
    page.backing = (va, slot, bytes([ciphertext[0] ^ 1]) + ciphertext[1:], pcmd)
    assert fault.handle(world.mm, Fault(Vector.PF, 4, index << 12)) is Resolution.SIGBUS
    assert world.stats.count(PageRefused) == 1


def test_an_old_version_of_a_page_is_refused() -> None:
    world = crowded()
    index = evicted(world)
    page = world.encl.pages[index]
    assert page.backing is not None
    old, old_pcmd = bytes(page.backing[2]), page.backing[3]
    assert fault.supply(world.mm, index << 12)
    while page.epc is not None:
        world.kernel.reclaimer.reclaim()
    assert page.backing is not None
    va, slot, _, _ = page.backing
    page.backing = (va, slot, old, old_pcmd)
    assert fault.handle(world.mm, Fault(Vector.PF, 4, index << 12)) is Resolution.SIGBUS


def test_evicting_under_a_running_thread_makes_it_leave() -> None:
    world = crowded()
    cpu = world.processor()
    for offset in (0, 0x1000):
        if world.mm.resident(BASE + offset) is None:
            fault.supply(world.mm, BASE + offset)
    cpu.regs.rax, cpu.regs.rbx, cpu.regs.rcx = EncluLeaf.EENTER, BASE, 0x41_0000
    execute(cpu)
    world.kernel.reclaimer.reclaim()
    assert world.kicker.kicks and not cpu.mode.enclave and cpu.regs.rip == 0x41_0000


def test_release_frees_the_whole_epc() -> None:
    world = crowded()
    world.kernel.release(world.encl)
    assert world.machine.epc.used == 0 and world.memory.closed


def test_cpuinfo_gains_the_flags_once() -> None:
    text = "processor\t: 0\nflags\t\t: fpu sse\nbugs\t\t:\n"
    out = procfs.cpuinfo(text)
    assert "flags\t\t: fpu sse sgx sgx_lc\n" in out and procfs.cpuinfo(out) == out


def test_cpuid_announces_sgx(world: World) -> None:
    machine = world.machine
    assert cpuid.cpuid(machine, 0, 0, (0x10, 1, 2, 3)) == (0x12, 1, 2, 3)
    assert cpuid.cpuid(machine, 7, 0, (0, 0, 0, 0)) == (0, 4, 1 << 30, 0)
    assert cpuid.cpuid(machine, 0x12, 0, (0, 0, 0, 0))[0] & 3 == 3
    _, _, ecx, _ = cpuid.cpuid(machine, 0x12, 2, (0, 0, 0, 0))
    assert ecx & 0xFFFF_F000 == 512 * 4096
    assert cpuid.cpuid(machine, 0x12, 3, (1, 1, 1, 1))[0] & 0xF == 0
    assert cpuid.cpuid(machine, 1, 0, (9, 8, 7, 6)) == (9, 8, 7, 6)
