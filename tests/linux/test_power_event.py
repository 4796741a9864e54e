"""The EPC is lost, as after S3: every EPCM entry invalid, and the driver none the wiser."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from enclu.linux import fault, uapi
from enclu.linux.traps import Resolution
from enclu.sgx.enclu import execute
from enclu.sgx.exceptions import Fault, PageFault, Vector
from enclu.sgx.layout import Structure
from enclu.sgx.structs import EncluLeaf
from tests.linux.test_mm_and_paging import crowded, evicted
from tests.support.memory_processor import BASE, REG_RW, MemoryProcessor, World


@pytest.fixture
def world() -> World:
    return World().build()


def enter(world: World, leaf: EncluLeaf = EncluLeaf.EENTER) -> MemoryProcessor:
    cpu = world.processor()
    cpu.regs.rax, cpu.regs.rbx, cpu.regs.rcx = leaf, BASE, 0x40_0000
    execute(cpu)
    return cpu


def refused(call: Callable[[], object]) -> int | None:
    with pytest.raises(OSError) as caught:
        call()
    return caught.value.errno


@pytest.mark.parametrize("leaf", [EncluLeaf.EENTER, EncluLeaf.ERESUME])
def test_entering_is_a_page_fault_with_the_sgx_bit(world: World, leaf: EncluLeaf) -> None:
    world.kernel.drop_epc()
    with pytest.raises(PageFault) as caught:
        enter(world, leaf)
    assert (caught.value.address, caught.value.error_code) == (BASE, 0x8005)
    assert fault.handle(world.mm, caught.value) is Resolution.SIGSEGV_ACCERR


def test_who_is_inside_leaves_by_an_interrupt_and_cannot_resume(world: World) -> None:
    cpu = enter(world)
    world.kernel.drop_epc()
    assert not cpu.mode.enclave
    assert cpu.regs.rip == 0x40_0000 and cpu.regs.rax == EncluLeaf.ERESUME
    with pytest.raises(PageFault) as caught:
        execute(cpu)
    assert (caught.value.address, caught.value.error_code) == (BASE, 0x8005)


def test_no_translation_is_left(world: World) -> None:
    assert fault.supply(world.mm, BASE + 0x6000)
    world.kernel.drop_epc()
    assert set(world.page_tables.prot.values()) == {0}
    assert not fault.supply(world.mm, BASE + 0x6000)
    assert world.mm.hardware_code(BASE + 0x6000, 4) == 0x8005


def test_nothing_of_the_content_is_left(world: World) -> None:
    world.page(0x6000).data[:4] = b"home"
    world.kernel.drop_epc()
    assert not any(world.memory.view(0, world.size))


def test_no_page_is_added_to_what_is_lost(world: World) -> None:
    used = world.machine.epc.used
    world.kernel.drop_epc()
    assert fault.handle(world.mm, Fault(Vector.PF, 6, BASE + 0x9000)) is Resolution.SIGBUS
    assert world.machine.epc.used == used


def test_an_evicted_page_cannot_be_loaded() -> None:
    world = crowded()
    index = evicted(world)
    world.kernel.drop_epc()
    used = world.machine.epc.used
    assert fault.handle(world.mm, Fault(Vector.PF, 4, index << 12)) is Resolution.SIGBUS
    assert world.machine.epc.used <= used


def test_a_lost_page_is_evicted_for_good() -> None:
    world = crowded()
    world.kernel.drop_epc()
    used, resident = world.machine.epc.used, [i for i, p in world.encl.pages.items() if p.epc is not None]
    world.kernel.reclaimer.reclaim()
    gone = [i for i in resident if world.encl.pages[i].epc is None]
    assert gone and world.machine.epc.used == used - len(gone) - 1  # and the SECS with the last of them
    assert {fault.handle(world.mm, Fault(Vector.PF, 4, i << 12)) for i in gone} == {Resolution.SIGBUS}
    world.kernel.release(world.encl)
    assert world.machine.epc.used == 0


def test_all_of_a_lost_enclave_is_freed(world: World) -> None:
    enter(world)
    world.kernel.drop_epc()
    world.kernel.release(world.encl)
    assert world.machine.epc.used == 0


def test_an_enclave_under_construction_is_lost_too() -> None:
    world = World()
    world.create()
    world.add(0x6000, bytes(4096), REG_RW)
    world.kernel.drop_epc()
    assert refused(lambda: world.add(0x7000, bytes(4096), REG_RW)) == errno.EIO
    assert refused(world.init) == errno.EIO
    world.kernel.release(world.encl)
    assert world.machine.epc.used == 0


@pytest.mark.parametrize(
    ("command", "layout", "more"),
    [
        (uapi.SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS, uapi.ENCLAVE_RESTRICT_PERMISSIONS, {"permissions": 1}),
        (uapi.SGX_IOC_ENCLAVE_MODIFY_TYPES, uapi.ENCLAVE_MODIFY_TYPES, {"page_type": 4}),
    ],
)
def test_changing_what_is_lost_is_efault(world: World, command: int, layout: Structure, more: dict[str, int]) -> None:
    world.kernel.drop_epc()
    argument = layout.pack(offset=0x6000, length=0x1000, **more)
    assert refused(lambda: world.ioctl(command, argument)) == errno.EFAULT


def test_keys_for_evicted_pages_and_reports_are_new_and_sealing_keys_are_not(world: World) -> None:
    machine = world.machine
    before = machine.paging_cipher, machine.report_keyid, machine.secret
    world.kernel.drop_epc()
    assert machine.paging_cipher is not before[0] and machine.report_keyid != before[1] and machine.secret == before[2]


def test_an_empty_machine_loses_nothing() -> None:
    world = World()
    world.kernel.drop_epc()
    assert world.machine.epc.used == 0
