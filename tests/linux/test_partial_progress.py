"""What the ioctls write back when they stop half-way, and how enclaves share an EPC."""

import errno
import struct
from collections.abc import Callable

import pytest

from enclu.base.events import PageRefused
from enclu.linux import fault, uapi
from enclu.linux.ioctl import sgx_ioctl
from enclu.linux.traps import Resolution
from enclu.sgx.enclu import execute
from enclu.sgx.epc import PageType
from enclu.sgx.exceptions import Fault, Vector
from enclu.sgx.structs import SECINFO, EncluLeaf, ErrorCode
from tests.support.memory_processor import BASE, REG_RW, BytesMemory, World

RESTRICT, MODIFY, REMOVE = (
    uapi.SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS,
    uapi.SGX_IOC_ENCLAVE_MODIFY_TYPES,
    uapi.SGX_IOC_ENCLAVE_REMOVE_PAGES,
)


def outcome(world: World, cmd: int, argument: bytes, interrupted: Callable[[], bool] = lambda: False) -> str:
    """The errno's name, "" for success."""
    try:
        world.ioctl(cmd, argument, interrupted=interrupted)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return ""


def words(world: World, count: int) -> tuple[int, ...]:
    return struct.unpack(f"<{count}Q", world.user.read(world.ARG, count * 8))


def after(calls: int) -> Callable[[], bool]:
    """A signal that becomes pending after so many looks."""
    seen = iter(range(1 << 20))
    return lambda: next(seen) >= calls


@pytest.mark.parametrize("looks", [0, 1, 2])
def test_an_interrupted_add_pages_succeeds_with_what_it_added(looks: int) -> None:
    world = World(epc_pages=40, size=0x100000)  # five pages at a time
    world.create()
    world.user.write(0x2000, SECINFO.pack(FLAGS=REG_RW))
    argument = uapi.ENCLAVE_ADD_PAGES.pack(src=world.BUFFER, length=0x14000, secinfo=0x2000, flags=1)
    assert outcome(world, uapi.SGX_IOC_ENCLAVE_ADD_PAGES, argument, interrupted=after(looks)) == ""
    count = words(world, 6)[5]
    assert 0 < count < 0x14000 and len(world.encl.pages) == count >> 12
    rest = uapi.ENCLAVE_ADD_PAGES.pack(
        src=world.BUFFER + count, offset=count, length=0x14000 - count, secinfo=0x2000, flags=1
    )
    assert outcome(world, uapi.SGX_IOC_ENCLAVE_ADD_PAGES, rest) == ""
    whole = World(epc_pages=40, size=0x100000)
    whole.create()
    whole.add(0, bytes(whole.user.bytes[whole.BUFFER : whole.BUFFER + 0x14000]), REG_RW)
    assert world.encl.secs is not None and whole.encl.secs is not None
    assert world.encl.secs.measurement.digest() == whole.encl.secs.measurement.digest()


def test_an_argument_that_cannot_be_written_back_is_efault() -> None:
    world = World()
    world.create()
    world.user.write(0x2000, SECINFO.pack(FLAGS=REG_RW))
    argument = uapi.ENCLAVE_ADD_PAGES.pack(src=world.BUFFER, length=0x1000, secinfo=0x2000, flags=1)
    world.user.write(world.ARG, argument)

    def refuse(address: int, data: bytes) -> None:
        raise OSError(errno.EFAULT, "read-only")

    world.user.write = refuse  # type: ignore[method-assign]  # a fault put in
    with pytest.raises(OSError) as caught:
        sgx_ioctl(world.encl, world.mm, world.user, uapi.SGX_IOC_ENCLAVE_ADD_PAGES, world.ARG)
    assert caught.value.errno == errno.EFAULT and not world.encl.busy
    assert BASE >> 12 in world.encl.pages


def test_restrict_counts_the_pages_before_the_missing_one() -> None:
    world = World().build()
    assert outcome(world, RESTRICT, struct.pack("<5Q", 0x6000, 0x4000, 1, 0, 0)) == "EFAULT"
    assert words(world, 5)[3:] == (0, 0x2000)
    assert [world.page(o).rwx for o in (0x6000, 0x7000)] == [1, 1]


def test_restrict_reports_what_emodpr_said() -> None:
    world = World().build()
    assert fault.handle(world.mm, Fault(Vector.PF, 6, BASE + 0x8000)) is Resolution.RESOLVED  # pending
    assert outcome(world, RESTRICT, struct.pack("<5Q", 0x7000, 0x2000, 1, 0, 0)) == "EFAULT"
    assert words(world, 5)[3:] == (ErrorCode.SGX_PAGE_NOT_MODIFIABLE, 0x1000)


def test_modify_types_reports_what_emodt_said_and_keeps_the_page() -> None:
    world = World().build()
    assert outcome(world, MODIFY, struct.pack("<5Q", 0x6000, 0x1000, PageType.TRIM, 0, 0)) == ""
    world.encl.pages[(BASE + 0x6000) >> 12].type = PageType.REG  # as if the driver had forgotten
    page = world.encl.pages[(BASE + 0x6000) >> 12]
    before = page.max_prot
    assert outcome(world, MODIFY, struct.pack("<5Q", 0x6000, 0x1000, PageType.TCS, 0, 0)) == "EFAULT"
    assert words(world, 5)[3:] == (ErrorCode.SGX_PAGE_NOT_MODIFIABLE, 0)
    assert page.max_prot == before and page.type is PageType.REG


def test_a_page_becomes_a_tcs_only_if_it_may_be_read_and_written() -> None:
    world = World().build()
    assert outcome(world, MODIFY, struct.pack("<5Q", 0x5000, 0x1000, PageType.TCS, 0, 0)) == "EPERM"
    assert words(world, 5)[3:] == (0, 0)


def test_a_tcs_can_only_be_trimmed_and_a_trimmed_page_not_changed() -> None:
    world = World().build()
    assert outcome(world, MODIFY, struct.pack("<5Q", 0, 0x1000, PageType.TCS, 0, 0)) == "EINVAL"
    assert outcome(world, MODIFY, struct.pack("<5Q", 0, 0x1000, PageType.TRIM, 0, 0)) == ""
    assert words(world, 5)[3:] == (0, 0x1000)
    assert outcome(world, MODIFY, struct.pack("<5Q", 0, 0x1000, PageType.TRIM, 0, 0)) == "EINVAL"


def test_remove_counts_the_pages_before_the_one_that_was_not_accepted() -> None:
    world = World(extra=2).build()
    assert outcome(world, MODIFY, struct.pack("<5Q", 0x8000, 0x2000, PageType.TRIM, 0, 0)) == ""
    cpu = world.processor()
    cpu.regs.rax, cpu.regs.rbx = EncluLeaf.EENTER, BASE
    execute(cpu)
    world.page(0x7000).data[:64] = SECINFO.pack(FLAGS=0x410)
    cpu.regs.rax, cpu.regs.rbx, cpu.regs.rcx = EncluLeaf.EACCEPT, BASE + 0x7000, BASE + 0x8000
    execute(cpu)
    assert cpu.regs.rax == 0
    assert outcome(world, REMOVE, struct.pack("<3Q", 0x8000, 0x2000, 0)) == "EPERM"
    assert words(world, 3)[2] == 0x1000
    assert (BASE + 0x8000) >> 12 not in world.encl.pages and (BASE + 0x9000) >> 12 in world.encl.pages
    assert fault.handle(world.mm, Fault(Vector.PF, 6, BASE + 0x8000)) is Resolution.RESOLVED  # a fresh page
    assert world.page(0x8000).pending and bytes(world.page(0x8000).data) == bytes(4096)


def test_a_change_of_an_evicted_page_brings_it_back() -> None:
    world = World().build()
    page = world.encl.pages[(BASE + 0x6000) >> 12]
    while page.epc is not None:
        world.kernel.reclaimer.reclaim()
    assert outcome(world, RESTRICT, struct.pack("<5Q", 0x6000, 0x1000, 1, 0, 0)) == ""
    assert page.epc is not None and page.epc.rwx == 1 and page.epc.pr


@pytest.mark.parametrize(
    ("cmd", "argument"),
    [(RESTRICT, struct.pack("<5Q", 0x6000, 0x1000, 1, 0, 0)),
     (MODIFY, struct.pack("<5Q", 0x6000, 0x1000, PageType.TRIM, 0, 0)),
     (REMOVE, struct.pack("<3Q", 0x6000, 0x1000, 0))],
    ids=["restrict", "modify", "remove"],
)  # fmt: skip
def test_a_page_that_cannot_come_back_for_want_of_epc_is_efault(cmd: int, argument: bytes) -> None:
    """sgx_enclave_restrict_permissions() and its like make EFAULT of sgx_encl_load_page()'s ENOMEM."""
    world = World(epc_pages=24).build()
    while any(page.epc is not None for page in world.encl.pages.values()):
        world.kernel.reclaimer.reclaim()
    while world.machine.epc.free:
        world.kernel.allocate()  # for what is never evicted: other enclaves' SECSes and version arrays
    assert outcome(world, cmd, argument) == "EFAULT"
    assert words(world, len(argument) // 8)[-1] == 0


def test_a_type_that_no_page_changes_to_is_looked_at_after_the_argument_was_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """sgx_enclave_modify_types() looks, so that an argument that cannot be written back is EFAULT all the same."""
    world = World().build()
    argument = struct.pack("<5Q", 0x6000, 0x1000, PageType.SECS, 0, 0)
    assert outcome(world, MODIFY, argument) == "EINVAL"
    world.user.write(world.ARG, argument)

    def refuse(address: int, data: bytes) -> None:
        raise OSError(errno.EFAULT, "read-only")

    monkeypatch.setattr(world.user, "write", refuse)
    with pytest.raises(OSError) as caught:
        sgx_ioctl(world.encl, world.mm, world.user, MODIFY, world.ARG)
    assert caught.value.errno == errno.EFAULT


def test_pending_modified_and_restricted_survive_eviction() -> None:
    world = World().build()
    assert fault.handle(world.mm, Fault(Vector.PF, 6, BASE + 0x8000)) is Resolution.RESOLVED
    assert outcome(world, RESTRICT, struct.pack("<5Q", 0x6000, 0x1000, 1, 0, 0)) == ""
    assert outcome(world, MODIFY, struct.pack("<5Q", 0x7000, 0x1000, PageType.TRIM, 0, 0)) == ""

    def state(offset: int) -> list[object]:
        return [getattr(world.page(offset), name) for name in ("pending", "modified", "pr", "rwx", "pt")]

    offsets = (0, 0x5000, 0x6000, 0x7000, 0x8000)
    before = [state(o) for o in offsets]
    for _ in range(2):
        world.kernel.reclaimer.reclaim()
    assert world.encl.secs_page is not None and world.encl.secs_page.epc is None
    for offset in offsets:
        world.encl.load(BASE + offset)
    assert [state(o) for o in offsets] == before


def test_two_enclaves_share_an_epc_that_holds_one() -> None:
    world = World(epc_pages=24, size=0x40000)
    memory = BytesMemory()
    first, second = world.encl, world.kernel.open_enclave(memory)
    for encl, base, mark in ((first, BASE, 1), (second, BASE + 0x40000, 101)):
        world.encl = encl
        world.create(BASEADDR=base)
        for i in range(20):
            world.add(i * 4096, bytes([mark + i]) * 4096, REG_RW)
        world.init()
        world.mm.mmap(encl, base, 20 * 4096, 3)
    for _ in range(2):
        for encl, mark in ((first, 1), (second, 101)):
            for i in range(20):
                page = encl.load(encl.base + i * 4096)
                assert page.epc is not None and page.epc.data[0] == mark + i
    assert world.machine.epc.peak <= 24 and not world.stats.count(PageRefused)
    world.kernel.release(first)
    assert all(second.load(second.base + i * 4096).epc is not None for i in range(20))
    world.kernel.release(second)
    assert world.machine.epc.used == 0
