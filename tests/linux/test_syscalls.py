"""Calls on memory that holds an enclave, of a task that is registers and memory in Python."""

from __future__ import annotations

import errno
import struct

import pytest

from enclu.base.abi import (
    FMODE_READ,
    FMODE_WRITE,
    MADV_DONTFORK,
    MAP_FIXED,
    MAP_HUGETLB,
    MAP_PRIVATE,
    MAP_SHARED,
    MAP_SHARED_VALIDATE,
    MREMAP_FIXED,
    MREMAP_MAYMOVE,
    NR,
    PROT_EXEC,
    PROT_READ,
    PROT_WRITE,
)
from enclu.linux.encl import Encl
from enclu.linux.mm import TASK_SIZE
from enclu.linux.syscalls.memory import MemoryCalls
from enclu.linux.syscalls.ranges import UFFD, RangeCalls
from tests.support.memory_processor import BASE, MemorySpace, MemoryTask, World

DEVICE, FILE = 3, 4
OWN = MemorySpace.own_memory[0]
MADV_DONTNEED = 4


class Descriptors:
    """The device is open as DEVICE; a program that keeps itself from using it is refused."""

    def __init__(self, encl: Encl) -> None:
        self.encl = encl
        self.refuses = False
        self.told = 0

    def opened(self, task: MemoryTask, fd: int) -> Encl | None:
        if fd == DEVICE and self.refuses:
            raise OSError(errno.EACCES, "its own seccomp filter denies it")
        return self.encl if fd == DEVICE else None

    def unmapped(self) -> None:
        self.told += 1


@pytest.fixture
def world() -> World:
    return World().build()


@pytest.fixture
def task(world: World) -> MemoryTask:
    return world.processor()


@pytest.fixture
def descriptors(world: World) -> Descriptors:
    return Descriptors(world.encl)


@pytest.fixture
def memory(world: World, descriptors: Descriptors) -> MemoryCalls[MemoryTask]:
    return MemoryCalls(world.kernel, descriptors)


def call(task: MemoryTask, name: str, *arguments: int) -> None:
    """The task is about to make this call."""
    task.regs.orig_rax = NR[name]
    for register, value in zip(("rdi", "rsi", "rdx", "r10", "r8", "r9"), arguments, strict=False):
        setattr(task.regs, register, value & (1 << 64) - 1)


def made(task: MemoryTask, name: str) -> list[tuple[int | bytes | bytearray, ...]]:
    """Arguments of the host's calls of this name."""
    return [tuple(arguments) for nr, *arguments in task.host_calls if nr == NR[name]]


def test_what_holds_no_enclave_is_the_host_kernels(memory: MemoryCalls[MemoryTask], task: MemoryTask) -> None:
    call(task, "munmap", 0x5000_0000, 0x1000)
    assert memory.munmap(task) is None and not task.host_calls


def test_unmapping_an_enclave_ends_its_mapping_and_whoever_is_inside_leaves(
    world: World, memory: MemoryCalls[MemoryTask], task: MemoryTask
) -> None:
    call(task, "munmap", BASE + 0x6000, 0x1000)
    assert memory.munmap(task) == 0
    assert world.mm.find_vma(BASE + 0x6000) is None and world.kicker.kicks
    assert made(task, "munmap") == [(BASE + 0x6000, 0x1000)]


def test_an_unmapping_that_the_host_refuses_changes_nothing(
    world: World, memory: MemoryCalls[MemoryTask], task: MemoryTask
) -> None:
    task.answers[NR["munmap"]] = -errno.ENOMEM
    call(task, "munmap", BASE + 0x6000, 0x1000)
    assert memory.munmap(task) == -errno.ENOMEM and world.mm.find_vma(BASE + 0x6000) is not None


def test_unmapping_the_last_mapping_tells_that_nobody_may_refer_to_it_any_more(
    memory: MemoryCalls[MemoryTask], descriptors: Descriptors, task: MemoryTask
) -> None:
    call(task, "munmap", BASE, 0x10000)
    assert memory.munmap(task) == 0 and descriptors.told == 1


@pytest.mark.parametrize("name", ["munmap", "mprotect", "mremap"])
def test_the_machines_own_memory_stays_where_it_is(
    memory: MemoryCalls[MemoryTask], task: MemoryTask, name: str
) -> None:
    third = 0x2000 if name == "mremap" else 0
    call(task, name, OWN, 0x1000, third, MREMAP_MAYMOVE if name == "mremap" else 0)
    assert getattr(memory, name)(task) == -errno.EPERM and not task.host_calls


def test_its_image_may_be_protected_as_long_as_it_can_be_executed(
    memory: MemoryCalls[MemoryTask], task: MemoryTask
) -> None:
    call(task, "mprotect", OWN, 0x1000, PROT_READ | PROT_EXEC)
    assert memory.mprotect(task) is None


def test_a_mapping_of_the_device_is_without_access_at_first(
    world: World, memory: MemoryCalls[MemoryTask], task: MemoryTask
) -> None:
    call(task, "munmap", BASE + 0x8000, 0x1000)
    memory.munmap(task)
    task.answers[NR["mmap"]] = BASE + 0x8000
    call(task, "mmap", BASE + 0x8000, 0x1000, 3, MAP_SHARED | MAP_FIXED, DEVICE, 0)
    assert memory.mmap(task) == BASE + 0x8000
    assert made(task, "mmap") == [(BASE + 0x8000, 0x1000, 0, MAP_SHARED | MAP_FIXED, DEVICE, 0x8000)]
    assert world.mm.find_vma(BASE + 0x8000) is not None


def test_the_device_is_not_mapped_privately(memory: MemoryCalls[MemoryTask], task: MemoryTask) -> None:
    call(task, "mmap", 0, 0x1000, 3, MAP_PRIVATE, DEVICE, 0)
    assert memory.mmap(task) == -errno.EINVAL and not task.host_calls


def test_a_mapping_that_the_driver_refuses_has_replaced_what_was_there(
    memory: MemoryCalls[MemoryTask], task: MemoryTask
) -> None:
    """mmap_region() unmaps before it asks sgx_mmap()."""
    call(task, "mmap", BASE + 0x6000, 0x1000, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED, DEVICE)
    assert memory.mmap(task) == -errno.EACCES
    assert made(task, "munmap") == [(BASE + 0x6000, 0x1000)] and not made(task, "mmap")
    assert task.mm.find_vma(BASE + 0x6000) is None and task.mm.find_vma(BASE + 0x7000) is not None


@pytest.mark.parametrize(("length", "number"), [(0, errno.EINVAL), (1 << 63, errno.ENOMEM), (-1, errno.ENOMEM)])
def test_a_length_that_is_none_is_told_from_one_that_cannot_be(
    memory: MemoryCalls[MemoryTask], task: MemoryTask, length: int, number: int
) -> None:
    """do_mmap()."""
    call(task, "mmap", BASE + 0x6000, length, PROT_READ, MAP_SHARED | MAP_FIXED, DEVICE)
    assert memory.mmap(task) == -number
    assert not made(task, "munmap") and task.mm.find_vma(BASE + 0x6000) is not None


FIXED = MAP_SHARED | MAP_FIXED
VALIDATED = MAP_SHARED_VALIDATE | MAP_FIXED
MAP_SYNC = 0x8_0000
TOO_LONG = 1 << 47


@pytest.mark.parametrize(
    ("address", "length", "flags", "offset", "number"),
    [
        (BASE, 0, FIXED, 1, errno.EINVAL),
        (BASE, -1, FIXED | MAP_HUGETLB, 0, errno.EINVAL),
        (BASE, TOO_LONG, MAP_PRIVATE, 0, errno.ENOMEM),
        (TASK_SIZE, 0x1000, MAP_PRIVATE | MAP_FIXED, 0, errno.EINVAL),
        (TASK_SIZE + 1, 0x1000, FIXED, 0, errno.ENOMEM),
        (BASE + 1, 0x1000, FIXED, -0x1000, errno.EINVAL),
        (BASE + 0x5000, 0x1000, MAP_FIXED, -0x1000, errno.EOVERFLOW),
        (BASE + 0x5000, 0x1000, MAP_FIXED | 4, 0, errno.EINVAL),
        (BASE + 0x5000, 0x1000, MAP_FIXED, 0, errno.EINVAL),
        (BASE + 0x5000, 0x1000, VALIDATED | MAP_SYNC, 0, errno.EOPNOTSUPP),
    ],
)
def test_what_do_mmap_refuses_is_refused_in_its_order_before_anything_is_unmapped(
    memory: MemoryCalls[MemoryTask], task: MemoryTask, address: int, length: int, flags: int, offset: int, number: int
) -> None:
    call(task, "mmap", address, length, 7, flags, DEVICE, offset)
    assert memory.mmap(task) == -number and not task.host_calls


@pytest.mark.parametrize("flags", [FIXED | MAP_SYNC, VALIDATED])
def test_what_do_mmap_knows_no_longer_is_ignored_and_what_it_knows_is_taken(
    memory: MemoryCalls[MemoryTask], task: MemoryTask, flags: int
) -> None:
    task.answers[NR["mmap"]] = BASE + 0x8000
    call(task, "mmap", BASE + 0x8000, 0x1000, 3, flags, DEVICE, 0)
    assert memory.mmap(task) == BASE + 0x8000


@pytest.mark.parametrize(
    ("f_mode", "prot", "refused"),
    [(FMODE_READ, 0, False), (FMODE_READ, PROT_READ | PROT_EXEC, False), (FMODE_READ, PROT_WRITE, True),
     (FMODE_WRITE, 0, True), (FMODE_WRITE, PROT_WRITE, True), (0, 0, True)],
)  # fmt: skip
@pytest.mark.parametrize("fixed", [MAP_FIXED, 0])
def test_the_device_is_mapped_as_it_was_opened(
    memory: MemoryCalls[MemoryTask], task: MemoryTask, descriptors: Descriptors, f_mode: int, prot: int, refused: bool,
    fixed: int,
) -> None:  # fmt: skip
    """do_mmap(): what is mapped already stays."""
    descriptors.encl.f_mode = f_mode
    task.answers[NR["mmap"]] = BASE + 0x8000
    call(task, "mmap", BASE + 0x8000, 0x1000, prot, MAP_SHARED | fixed, DEVICE, 0)
    assert memory.mmap(task) == (-errno.EACCES if refused else BASE + 0x8000)
    assert bool(made(task, "munmap")) == (refused and not fixed)  # what was mapped to find an address


def test_a_mapping_of_what_was_opened_to_be_read_is_never_protected_to_be_written(
    memory: MemoryCalls[MemoryTask], task: MemoryTask, world: World
) -> None:
    """VM_MAYWRITE, which a part of a mapping and a forked child inherit."""
    world.encl.f_mode = FMODE_READ
    task.answers[NR["mmap"]] = BASE + 0x6000
    call(task, "mmap", BASE + 0x6000, 0x2000, PROT_READ, FIXED, DEVICE, 0)
    assert memory.mmap(task) == BASE + 0x6000
    for space in (task.mm, task.mm.fork(task.mm.page_tables)):
        for prot, refused in ((0, False), (PROT_READ, False), (PROT_WRITE, True)):
            if refused:
                with pytest.raises(OSError, match="not opened to be written"):
                    space.mprotect(BASE + 0x7000, BASE + 0x8000, prot)
            else:
                space.mprotect(BASE + 0x7000, BASE + 0x8000, prot)


@pytest.mark.parametrize("name", ["mmap", "mprotect", "remap_file_pages"])
def test_a_task_whose_reads_imply_exec_neither_maps_nor_protects_an_enclave(
    memory: MemoryCalls[MemoryTask], task: MemoryTask, name: str
) -> None:
    """sgx_encl_may_map()."""
    task.personality = 0x40_0000
    arguments = {
        "mmap": (BASE + 0x6000, 0x1000, 0, MAP_SHARED | MAP_FIXED, DEVICE),
        "mprotect": (BASE + 0x6000, 0x1000, 0),
        "remap_file_pages": (BASE + 0x6000, 0x1000, 0, 0),
    }
    call(task, name, *arguments[name])
    assert getattr(memory, name)(task) == -errno.EACCES
    task.personality = 0
    call(task, "mprotect", BASE + 0x7000, 0x1000, 0)
    assert memory.mprotect(task) == 0


def test_a_program_that_keeps_itself_from_using_the_device_gets_its_errno(
    memory: MemoryCalls[MemoryTask], descriptors: Descriptors, task: MemoryTask
) -> None:
    descriptors.refuses = True
    call(task, "mmap", 0, 0x1000, 3, MAP_SHARED, DEVICE, 0)
    assert memory.mmap(task) == -errno.EACCES


def test_a_file_mapped_to_be_executed_is_looked_through_once_it_is_there(
    memory: MemoryCalls[MemoryTask], task: MemoryTask
) -> None:
    task.answers[NR["mmap"]] = 0x7000_0000
    call(task, "mmap", 0, 0x2000, PROT_READ | PROT_EXEC, MAP_PRIVATE, FILE, 0x1000)
    assert memory.mmap(task) == 0x7000_0000 and task.texts == [(0x7000_0000, 0x2000, FILE, 0x1000)]


def test_a_mapping_that_would_grow_or_be_copied_stays(memory: MemoryCalls[MemoryTask], task: MemoryTask) -> None:
    call(task, "mremap", BASE + 0x6000, 0x1000, 0x2000, MREMAP_MAYMOVE)
    assert memory.mremap(task) == -errno.EFAULT and not task.host_calls


def test_moving_over_an_enclave_ends_its_mapping_there(
    world: World, memory: MemoryCalls[MemoryTask], task: MemoryTask
) -> None:
    task.answers[NR["mremap"]] = BASE + 0x7000
    call(task, "mremap", 0x5000_0000, 0x1000, 0x1000, MREMAP_MAYMOVE | MREMAP_FIXED, BASE + 0x7000)
    assert memory.mremap(task) == BASE + 0x7000 and world.mm.find_vma(BASE + 0x7000) is None


def test_advice_stops_at_the_enclave_and_what_lies_before_is_followed(task: MemoryTask) -> None:
    call(task, "madvise", BASE - 0x1000, 0x3000, MADV_DONTNEED)
    assert RangeCalls().madvise(task) == -errno.EINVAL
    assert made(task, "madvise") == [(BASE - 0x1000, 0x1000, MADV_DONTNEED)]


def test_a_mapping_that_is_not_to_be_forked_is_not(world: World, task: MemoryTask) -> None:
    call(task, "madvise", BASE + 0x6000, 0x1000, MADV_DONTFORK)
    assert RangeCalls().madvise(task) is None
    assert world.mm.fork(MemorySpace()).find_vma(BASE + 0x6000) is None


def test_sealing_is_refused_where_the_host_kernel_does_not_know_it(world: World, task: MemoryTask) -> None:
    task.answers[NR["mseal"]] = -errno.ENOSYS
    call(task, "mseal", BASE + 0x6000, 0x1000)
    assert RangeCalls().mseal(task) == -errno.ENOSYS
    assert not world.mm.sealed(BASE + 0x6000, BASE + 0x7000)


def test_process_madvise_through_another_processs_pidfd_is_the_host_kernels(task: MemoryTask) -> None:
    task.space.write(0x1000, struct.pack("<QQ", BASE, 0x1000))
    task.pidfds = {7: task.tgid + 1, 8: task.tgid}
    call(task, "process_madvise", 7, 0x1000, 1, MADV_DONTNEED, 0)
    assert RangeCalls().process_madvise(task) is None
    call(task, "process_madvise", 8, 0x1000, 1, MADV_DONTNEED, 0)
    assert RangeCalls().process_madvise(task) == -errno.EINVAL


def test_a_userfaultfd_does_not_register_an_enclave(task: MemoryTask) -> None:
    task.files = {5: UFFD, 6: "/dev/null"}
    task.space.write(0x1000, struct.pack("<QQ", BASE, 0x1000))
    call(task, "ioctl", 5, 0, 0x1000)
    assert RangeCalls().uffdio_register(task) == -errno.EINVAL
    call(task, "ioctl", 6, 0, 0x1000)
    assert RangeCalls().uffdio_register(task) is None
