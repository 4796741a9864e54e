"""The driver's ioctls: errno values, order of checks, partial progress."""

import errno
import struct
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enclu.linux import uapi
from enclu.sgx.enclu import execute
from enclu.sgx.layout import Structure
from enclu.sgx.structs import SECINFO, SIGSTRUCT, EncluLeaf
from tests.support.memory_processor import BASE, REG_R, REG_RW, TCS_PAGE, World, tcs_image

U = uapi


def fails(
    number: int, world: World, cmd: int, argument: bytes, provision: Callable[[int], bool] = lambda fd: False
) -> None:
    with pytest.raises(OSError) as caught:
        world.ioctl(cmd, argument, provision=provision)
    assert errno.errorcode[caught.value.errno or 0] == errno.errorcode[number]


def result_of(world: World, layout: Structure, name: str) -> int:
    return int(layout.get(world.user.read(world.ARG, layout.size), name))


def test_unknown_ioctl_is_enotty() -> None:
    fails(errno.ENOTTY, World(), uapi.ioc(1, 0x1F, 8), bytes(8))


def test_a_second_create_is_einval() -> None:
    world = World()
    world.create()
    fails(errno.EINVAL, world, U.SGX_IOC_ENCLAVE_CREATE, U.ENCLAVE_CREATE.pack(src=world.BUFFER))


@pytest.mark.parametrize("pointer", [0xFFFF_FFFF_F000, 0x1000_0000, (1 << 64) - 8])
def test_create_with_a_wild_pointer_is_efault(pointer: int) -> None:
    fails(errno.EFAULT, World(), U.SGX_IOC_ENCLAVE_CREATE, U.ENCLAVE_CREATE.pack(src=pointer))


@pytest.mark.parametrize(
    "fields",
    [{"SIZE": 0x1000}, {"BASEADDR": BASE + 0x1000}, {"SSAFRAMESIZE": 0}, {"XFRM": 1},
     {"XFRM": 0x10003}, {"ATTRIBUTES": 0}, {"ATTRIBUTES": 5}, {"MISCSELECT": 2}],
    ids=str,
)  # fmt: skip
def test_a_secs_that_ecreate_refuses_is_eio_and_frees_the_epc(fields: dict[str, int]) -> None:
    world = World()
    with pytest.raises(OSError) as caught:
        world.create(**fields)
    assert caught.value.errno == errno.EIO
    assert world.machine.epc.used == 0 and not world.encl.created


def add_arguments(**fields: int) -> bytes:
    values = {"src": World.BUFFER, "offset": 0, "length": 0x1000, "secinfo": 0x2000, "flags": 1, **fields}
    return U.ENCLAVE_ADD_PAGES.pack(**values)


@pytest.fixture
def world() -> World:
    world = World()
    world.create()
    world.user.write(0x2000, SECINFO.pack(FLAGS=REG_RW))
    return world


def test_add_before_create_is_einval() -> None:
    fails(errno.EINVAL, World(), U.SGX_IOC_ENCLAVE_ADD_PAGES, add_arguments())


@pytest.mark.parametrize(
    ("fields", "number"),
    [({"offset": 1}, errno.EINVAL), ({"length": 0}, errno.EINVAL), ({"length": 0x800}, errno.EINVAL),
     ({"offset": 0x10000}, errno.EINVAL), ({"offset": (1 << 64) - 0x1000, "length": 0x2000}, errno.EINVAL),
     ({"src": World.BUFFER + 1}, errno.EINVAL), ({"secinfo": 1 << 40}, errno.EFAULT),
     ({"src": 1 << 40}, errno.EFAULT)],
    ids=str,
)  # fmt: skip
def test_add_pages_checks_its_arguments(world: World, fields: dict[str, int], number: int) -> None:
    fails(number, world, U.SGX_IOC_ENCLAVE_ADD_PAGES, add_arguments(**fields))
    assert result_of(world, U.ENCLAVE_ADD_PAGES, "count") == 0


@pytest.mark.parametrize("flags", [0x202, 0x003, 0x303, 0x103, 0x20B, 1 << 16 | 0x203, 0x400])
def test_add_pages_refuses_secinfo(world: World, flags: int) -> None:
    world.user.write(0x2000, SECINFO.pack(FLAGS=flags))
    fails(errno.EINVAL, world, U.SGX_IOC_ENCLAVE_ADD_PAGES, add_arguments())


def test_a_page_that_is_there_is_ebusy_and_count_says_how_far_it_got(world: World) -> None:
    world.add(0x3000, bytes(0x1000), REG_RW)
    fails(errno.EBUSY, world, U.SGX_IOC_ENCLAVE_ADD_PAGES, add_arguments(offset=0x1000, length=0x4000))
    assert result_of(world, U.ENCLAVE_ADD_PAGES, "count") == 0x2000
    assert [i << 12 for i in sorted(world.encl.pages)] == [BASE + 0x1000, BASE + 0x2000, BASE + 0x3000]


def test_a_source_that_ends_in_the_middle_adds_what_it_has(world: World) -> None:
    src = len(world.user.bytes) - 0x2000
    fails(errno.EFAULT, world, U.SGX_IOC_ENCLAVE_ADD_PAGES, add_arguments(src=src, length=0x4000))
    assert result_of(world, U.ENCLAVE_ADD_PAGES, "count") == 0x2000


def test_a_source_that_is_an_enclave_s_mapping_is_efault_and_what_lies_before_is_added(world: World) -> None:
    """__sgx_encl_add_page(): get_user_pages() takes no pages of a VM_PFNMAP mapping."""
    world.mm.mmap(World().encl, world.BUFFER + 0x2000, 0x1000, 3)
    fails(errno.EFAULT, world, U.SGX_IOC_ENCLAVE_ADD_PAGES, add_arguments(length=0x4000))
    assert result_of(world, U.ENCLAVE_ADD_PAGES, "count") == 0x2000 and len(world.encl.pages) == 2
    fails(errno.EFAULT, world, U.SGX_IOC_ENCLAVE_ADD_PAGES, add_arguments(src=world.BUFFER + 0x2000, offset=0x2000))
    assert result_of(world, U.ENCLAVE_ADD_PAGES, "count") == 0


def test_a_bad_tcs_is_eio_and_gives_its_page_back(world: World) -> None:
    used = world.machine.epc.used
    with pytest.raises(OSError) as caught:
        world.add(0, b"\xff" * 4096, TCS_PAGE)
    assert caught.value.errno == errno.EIO and world.machine.epc.used == used


def test_an_epc_that_one_enclave_cannot_fit_is_enomem() -> None:
    world = World(epc_pages=1)
    with pytest.raises(OSError) as caught:
        world.create()
    assert caught.value.errno == errno.ENOMEM


def test_the_same_ioctl_concurrently_is_ebusy(world: World) -> None:
    world.encl.busy = True
    fails(errno.EBUSY, world, U.SGX_IOC_ENCLAVE_ADD_PAGES, add_arguments())


def test_a_bad_signature_is_eperm(world: World) -> None:
    world.add(0, tcs_image(), TCS_PAGE)
    world.user.write(world.BUFFER, bytes(1808))
    fails(errno.EPERM, world, U.SGX_IOC_ENCLAVE_INIT, U.ENCLAVE_INIT.pack(sigstruct=world.BUFFER))


@pytest.mark.parametrize(
    ("fields", "number"),
    [({"VENDOR": 1, "XFRM": 0x103, "XFRMMASK": 0x103}, errno.EINVAL), ({"MISCSELECT": 2, "MISCMASK": 2}, errno.EACCES),
     ({}, errno.EACCES)],
    ids=["vendor first", "provisioning before what is enforced", "provisioning"],
)  # fmt: skip
def test_init_looks_at_the_vendor_then_at_what_is_allowed_then_at_what_is_enforced(
    fields: dict[str, int], number: int
) -> None:
    """sgx_ioc_enclave_init(), sgx_encl_init()."""
    world = World(attributes=0x14)  # PROVISIONKEY
    world.create()
    world.user.write(world.BUFFER, SIGSTRUCT.pack(**fields))
    fails(number, world, U.SGX_IOC_ENCLAVE_INIT, U.ENCLAVE_INIT.pack(sigstruct=world.BUFFER))
    assert not world.encl.initialized


@pytest.mark.parametrize(
    "fields",
    [{"ATTRIBUTES": 1 << 6, "ATTRIBUTEMASK": 1 << 6}, {"MISCSELECT": 2, "MISCMASK": 2},
     {"XFRM": 1 << 20, "XFRMMASK": 1 << 20}],
    ids=str,
)  # fmt: skip
def test_what_a_signature_enforces_and_the_machine_has_not_is_einval(world: World, fields: dict[str, int]) -> None:
    world.user.write(world.BUFFER, SIGSTRUCT.pack(**fields))
    fails(errno.EINVAL, world, U.SGX_IOC_ENCLAVE_INIT, U.ENCLAVE_INIT.pack(sigstruct=world.BUFFER))
    for mask in ("ATTRIBUTEMASK", "MISCMASK", "XFRMMASK"):
        if mask in fields:  # what is not enforced is EINIT's to judge
            world.user.write(world.BUFFER, SIGSTRUCT.pack(**{**fields, mask: 0}))
    fails(errno.EPERM, world, U.SGX_IOC_ENCLAVE_INIT, U.ENCLAVE_INIT.pack(sigstruct=world.BUFFER))


def test_provisionkey_needs_the_provision_device() -> None:
    world = World(attributes=0x14)
    world.create()
    world.add(0, tcs_image(), TCS_PAGE)
    with pytest.raises(OSError) as caught:
        world.init()
    assert caught.value.errno == errno.EACCES
    argument = U.ENCLAVE_PROVISION.pack(fd=5)
    fails(errno.EINVAL, world, U.SGX_IOC_ENCLAVE_PROVISION, argument, provision=lambda fd: fd == 6)
    world.ioctl(U.SGX_IOC_ENCLAVE_PROVISION, argument, provision=lambda fd: fd == 5)
    assert world.init() == 0


RESTRICT, MODIFY, REMOVE = (
    U.SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS,
    U.SGX_IOC_ENCLAVE_MODIFY_TYPES,
    U.SGX_IOC_ENCLAVE_REMOVE_PAGES,
)


@pytest.mark.parametrize(("cmd", "size"), [(RESTRICT, 40), (MODIFY, 40), (REMOVE, 24)])
def test_sgx2_ioctls_before_init_are_einval(world: World, cmd: int, size: int) -> None:
    fails(errno.EINVAL, world, cmd, bytes(size))


def sgx2(offset: int, length: int, what: int, result: int = 0, count: int = 0) -> bytes:
    return struct.pack("<5Q", offset, length, what, result, count)


@pytest.mark.parametrize(
    ("cmd", "argument"),
    [(RESTRICT, sgx2(0x6000, 0x1000, 2)), (RESTRICT, sgx2(0x6000, 0x1000, 8)), (RESTRICT, sgx2(0x6000, 0, 1)),
     (RESTRICT, sgx2(0x6000, 0x1000, 1, 1)), (RESTRICT, sgx2(0x6000, 0x1000, 1, 0, 1)), (RESTRICT, sgx2(0, 0x1000, 1)),
     (MODIFY, sgx2(0x6000, 0x1000, 2)), (MODIFY, sgx2(0x6000, 0x1000, 0x100)), (MODIFY, sgx2(0, 0x1000, 1)),
     (REMOVE, struct.pack("<3Q", 0x6000, 0x1000, 1)), (REMOVE, struct.pack("<3Q", 0x6000, 0x100000, 0))],
)  # fmt: skip
def test_sgx2_ioctls_check_their_arguments(cmd: int, argument: bytes) -> None:
    fails(errno.EINVAL, World().build(), cmd, argument)


def test_restricting_a_tcs_reports_no_progress() -> None:
    world = World().build()
    fails(errno.EINVAL, world, RESTRICT, sgx2(0, 0x1000, 1))
    assert result_of(world, U.ENCLAVE_RESTRICT_PERMISSIONS, "result") == 0
    assert result_of(world, U.ENCLAVE_RESTRICT_PERMISSIONS, "count") == 0


def test_restrict_shrinks_the_epcm_and_then_the_page_tables() -> None:
    world = World().build()
    assert world.mm.show_around(BASE + 0x6000)
    world.ioctl(RESTRICT, sgx2(0x6000, 0x1000, REG_R & 7))
    assert world.page(0x6000).rwx == 1 and world.page_tables.prot[(BASE + 0x6000) >> 12] == 1
    assert result_of(world, U.ENCLAVE_RESTRICT_PERMISSIONS, "count") == 0x1000


def test_a_page_that_is_not_there_is_efault() -> None:
    fails(errno.EFAULT, World().build(), RESTRICT, sgx2(0x9000, 0x1000, 1))


def test_trim_accept_remove() -> None:
    world = World().build()
    remove = struct.pack("<3Q", 0x6000, 0x1000, 0)
    fails(errno.EPERM, world, REMOVE, remove)
    world.ioctl(MODIFY, sgx2(0x6000, 0x1000, 4))
    fails(errno.EPERM, world, REMOVE, remove)
    cpu = world.processor()
    cpu.regs.rax, cpu.regs.rbx = EncluLeaf.EENTER, BASE
    execute(cpu)
    world.page(0x7000).data[:64] = SECINFO.pack(FLAGS=0x410)
    cpu.regs.rax, cpu.regs.rbx, cpu.regs.rcx = EncluLeaf.EACCEPT, BASE + 0x7000, BASE + 0x6000
    execute(cpu)
    assert cpu.regs.rax == 0
    used = world.machine.epc.used
    world.ioctl(REMOVE, remove)
    assert world.machine.epc.used == used - 1 and (BASE + 0x6000) >> 12 not in world.encl.pages


@settings(max_examples=300)
@given(
    cmd=st.sampled_from([U.SGX_IOC_ENCLAVE_CREATE, U.SGX_IOC_ENCLAVE_ADD_PAGES, U.SGX_IOC_ENCLAVE_INIT, RESTRICT,
                         MODIFY, REMOVE, U.SGX_IOC_ENCLAVE_PROVISION]),
    words=st.lists(st.sampled_from([0, 1, 3, 4, 0x1000, 0x4000, 0x6000, 0x10000, 1 << 63, (1 << 64) - 0x1000]),
                   min_size=6, max_size=6),
    built=st.booleans(),
)  # fmt: skip
def test_garbage_gets_an_errno_and_leaves_the_epc_accounted(cmd: int, words: list[int], built: bool) -> None:
    world = World()
    if built:
        world.build()
    try:
        world.ioctl(cmd, struct.pack("<6Q", *words))
    except OSError as error:
        assert error.errno in errno.errorcode
    world.kernel.release(world.encl)
    assert world.machine.epc.used == 0 and world.memory.closed
