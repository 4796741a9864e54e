"""What a failing ECREATE ioctl answers and gives back, and where mappings made before it end up."""

import errno
import os

import pytest

from enclu.linux import fault, uapi
from enclu.linux.mm import may_map
from enclu.linux.traps import Resolution
from enclu.sgx.exceptions import Fault, PageFault, Vector
from enclu.sgx.processor import Access
from tests.support.memory_processor import BASE, REG_RW, World


def create_errno(world: World, **fields: int) -> str:
    with pytest.raises(OSError) as caught:
        world.create(**fields)
    return errno.errorcode[caught.value.errno or 0]


@pytest.mark.parametrize("size", [0, 0x3000, 0x11000, (1 << 64) - 1])
def test_a_size_that_is_no_power_of_two_is_einval_whatever_else_is_wrong(size: int) -> None:
    world = World()
    assert create_errno(world, SIZE=size, XFRM=1) == "EINVAL"
    assert world.machine.epc.used == 0


@pytest.mark.parametrize(("size", "number"), [(1 << 62, "EIO"), (1 << 63, "EINVAL")])
def test_a_size_that_no_file_can_have_is_einval_and_others_are_ecreate_s_to_refuse(size: int, number: str) -> None:
    """sgx_encl_create(): shmem_file_setup() of the backing store comes before ECREATE."""
    world = World()
    assert create_errno(world, SIZE=size) == number
    assert world.machine.epc.used == 0 and world.encl.page_count == 0


def test_create_can_be_tried_again_after_a_failure() -> None:
    world = World()
    for _ in range(3):
        assert create_errno(world, XFRM=1) == "EIO"
        assert world.machine.epc.used == 0 and world.encl.page_count == 0
    assert world.create() == 0


def test_enclave_memory_that_cannot_be_had_undoes_ecreate(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()

    def refuse(size: int) -> memoryview:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    with monkeypatch.context() as patch:
        patch.setattr(world.memory, "resize", refuse)
        assert create_errno(world) == "ENOMEM"
    assert world.machine.epc.used == 0 and not world.machine.enclaves and not world.encl.created
    assert world.create() == 0


@pytest.mark.parametrize("epc_pages", [0, 1])
def test_an_epc_without_room_for_the_secs_is_enomem_and_keeps_nothing(epc_pages: int) -> None:
    world = World(epc_pages=epc_pages)
    assert create_errno(world) == "ENOMEM"
    assert world.machine.epc.used == 0


@pytest.mark.parametrize(
    ("start", "length", "inside"),
    [(-0x2000, 0x20000, [(0, 0x10000)]), (0x4000, 0x20000, [(0x4000, 0x10000)]), (-0x4000, 0x4000, []),
     (0x10000, 0x1000, []), (0x2000, 0x1000, [(0x2000, 0x3000)])],
)  # fmt: skip
def test_a_mapping_made_before_create_is_placed_where_it_meets_elrange(
    start: int, length: int, inside: list[tuple[int, int]]
) -> None:
    world = World(size=0x10000)
    may_map(world.encl, BASE + start, BASE + start + length, 0)
    world.mm.mmap(world.encl, BASE + start, length, 0)
    world.create()
    assert world.page_tables.remapped == [(BASE + low, BASE + high) for low, high in inside]


def test_a_mapping_with_more_than_the_page_was_added_with_finds_it_absent_and_is_sigbus() -> None:
    world = World(size=0x10000)
    world.mm.mmap(world.encl, BASE, 0x10000, 7)  # allowed: there is no page yet
    world.create()
    world.add(0x6000, bytes(4096), REG_RW)
    with pytest.raises(PageFault) as caught:
        world.mm.translate(BASE + 0x6000, Access.READ)
    assert caught.value.error_code == 4
    assert fault.handle(world.mm, Fault(Vector.PF, 4, BASE + 0x6000)) is Resolution.SIGBUS
    assert not world.page_tables.prot


def test_an_absent_page_before_init_is_sigbus() -> None:
    world = World()
    world.mm.mmap(world.encl, BASE, 0x10000, 3)
    world.create()
    assert fault.handle(world.mm, Fault(Vector.PF, 6, BASE + 0x6000)) is Resolution.SIGBUS
    assert not world.encl.pages


def test_a_provision_descriptor_is_32_bits() -> None:
    world, asked = World(), []

    def provision(fd: int) -> bool:
        asked.append(fd)
        return True

    argument = uapi.ENCLAVE_PROVISION.pack(fd=0xFFFF_FFFF_0000_0007)
    assert world.ioctl(uapi.SGX_IOC_ENCLAVE_PROVISION, argument, provision=provision) == 0
    assert asked == [7]


def test_the_vepc_ioctl_is_enotty() -> None:
    world = World()
    with pytest.raises(OSError) as caught:
        world.ioctl(uapi.ioc(0, 0x04, 0), bytes(8))
    assert caught.value.errno == errno.ENOTTY


def test_version_arrays_are_given_back_at_their_boundary() -> None:
    world = World(size=0x10000)
    world.create()
    encl, used = world.encl, world.machine.epc.used
    for _ in range(512):
        encl.grow()
    assert len(encl.va_pages) == 2
    for _ in range(3):  # back and forth over the boundary takes no further arrays
        encl.shrink()
        assert len(encl.va_pages) == 1 and world.machine.epc.used == used
        encl.grow()
        assert len(encl.va_pages) == 2
