"""Design `range-handler`: registration by ranges, which handler serves which ENCLU, unmapping, fork and exec."""

from __future__ import annotations

import errno
import gc
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclu.linux.delivery.range_handler import MAX_RANGES, REGISTER, UNREGISTER, RangeHandlerDelivery
from enclu.linux.mm import TASK_SIZE
from enclu.sgx.exceptions import Vector
from tests.linux.delivery_doubles import ENCLU, MM, Cpu, Regs, Thread, User, refused

ARG, START, LENGTH, HANDLER, OTHER = 0x1000, 0x40_0000, 0x1000, 0x50_0000, 0x60_0000


@pytest.fixture
def design() -> RangeHandlerDelivery:
    return RangeHandlerDelivery()


def register(
    design: RangeHandlerDelivery, mm: MM, start: int = START, length: int = LENGTH, handler: int = HANDLER,
    flags: int = 0,
) -> int:  # fmt: skip
    user = User({ARG: struct.pack("<QQQQ", start, length, handler, flags)})
    return design.ioctl(mm, Thread(mm), user, REGISTER, ARG)


def unregister(design: RangeHandlerDelivery, mm: MM, start: int = START, length: int = LENGTH) -> int:
    return design.ioctl(mm, Thread(mm), User({ARG: struct.pack("<QQ", start, length)}), UNREGISTER, ARG)


def target(design: RangeHandlerDelivery, mm: MM, site: int) -> int | None:
    """Where an exception at the ENCLU at `site` leads."""
    regs = Regs(rip=site, rax=3)
    fixed = design.fixup(mm, Thread(mm), Cpu({site: ENCLU}), regs, Vector.PF, 7, 0x9000)
    return regs.rip if fixed else None


@pytest.mark.parametrize("site", [START, START + 0x123, START + LENGTH - 1])
def test_the_handler_of_the_range_is_the_target(design: RangeHandlerDelivery, site: int) -> None:
    mm = MM()
    assert register(design, mm) == 0
    assert target(design, mm, site) == HANDLER


@pytest.mark.parametrize("site", [START - 1, START + LENGTH, 0x7000_0000])
def test_an_enclu_outside_every_range_stays_a_signal(design: RangeHandlerDelivery, site: int) -> None:
    mm = MM()
    register(design, mm)
    assert target(design, mm, site) is None


def test_several_runtimes_coexist(design: RangeHandlerDelivery) -> None:
    mm = MM()
    register(design, mm)
    register(design, mm, START + LENGTH, LENGTH, OTHER)
    assert target(design, mm, START + LENGTH - 1) == HANDLER
    assert target(design, mm, START + LENGTH) == OTHER


def test_ranges_are_the_memory_maps_own(design: RangeHandlerDelivery) -> None:
    mine, other = MM(), MM()
    register(design, mine)
    assert target(design, other, START) is None
    assert register(design, other, handler=OTHER) == 0


@pytest.mark.parametrize(
    ("start", "length"),
    [(START, LENGTH), (START - 1, 2), (START + LENGTH - 1, 1), (START + 8, 8), (START - 0x1000, 0x10_0000)],
)
def test_an_overlapping_range_is_eexist(design: RangeHandlerDelivery, start: int, length: int) -> None:
    mm = MM()
    register(design, mm)
    refused(errno.EEXIST, register, design, mm, start, length, OTHER)
    assert target(design, mm, START) == HANDLER


@pytest.mark.parametrize(
    ("start", "length"),
    [(START, 0), (TASK_SIZE, 1), (TASK_SIZE - 1, 2), (START, 1 << 63), ((1 << 64) - 1, (1 << 64) - 1), (1 << 63, 8)],
)
def test_a_range_that_is_empty_or_leaves_user_space_is_einval(
    design: RangeHandlerDelivery, start: int, length: int
) -> None:
    refused(errno.EINVAL, register, design, MM(), start, length)


def test_a_range_may_end_where_user_space_does(design: RangeHandlerDelivery) -> None:
    mm = MM()
    register(design, mm, TASK_SIZE - 3, 3)
    assert target(design, mm, TASK_SIZE - 3) == HANDLER


@pytest.mark.parametrize("handler", [0, TASK_SIZE, 1 << 63])
def test_a_handler_outside_user_space_is_einval(design: RangeHandlerDelivery, handler: int) -> None:
    refused(errno.EINVAL, register, design, MM(), START, LENGTH, handler)


def test_flags_are_einval(design: RangeHandlerDelivery) -> None:
    refused(errno.EINVAL, register, design, MM(), START, LENGTH, HANDLER, 1)


@pytest.mark.parametrize("cmd", [REGISTER, UNREGISTER])
def test_a_structure_that_cannot_be_read_is_efault(design: RangeHandlerDelivery, cmd: int) -> None:
    refused(errno.EFAULT, design.ioctl, MM(), Thread(), User({}), cmd, ARG)


def test_too_many_ranges_are_enospc(design: RangeHandlerDelivery) -> None:
    mm = MM()
    for i in range(MAX_RANGES):
        register(design, mm, START + i * LENGTH)
    refused(errno.ENOSPC, register, design, mm, START + MAX_RANGES * LENGTH)
    refused(errno.EEXIST, register, design, mm, START)
    unregister(design, mm, START)
    assert register(design, mm, START + MAX_RANGES * LENGTH) == 0


def test_unregistering_brings_signals_back(design: RangeHandlerDelivery) -> None:
    mm = MM()
    register(design, mm)
    register(design, mm, START + LENGTH, LENGTH, OTHER)
    assert unregister(design, mm) == 0
    assert target(design, mm, START) is None
    assert target(design, mm, START + LENGTH) == OTHER
    assert register(design, mm, handler=OTHER) == 0


@pytest.mark.parametrize(("start", "length"), [(START, LENGTH - 1), (START + 1, LENGTH - 1), (START, 0), (0, 0)])
def test_unregistering_what_is_not_exactly_registered_is_enoent(
    design: RangeHandlerDelivery, start: int, length: int
) -> None:
    mm = MM()
    refused(errno.ENOENT, unregister, design, mm)
    register(design, mm)
    refused(errno.ENOENT, unregister, design, mm, start, length)
    assert target(design, mm, START) == HANDLER


@pytest.mark.parametrize("leaf", [2, 3])
def test_registers_after_a_fixup(design: RangeHandlerDelivery, leaf: int) -> None:
    mm = MM()
    register(design, mm)
    regs = Regs(rip=START, rax=leaf)
    assert design.fixup(mm, Thread(mm), Cpu({START: ENCLU}), regs, Vector.GP, 0x18, 0)
    assert regs == Regs(rip=HANDLER, rax=leaf, rdi=13, rsi=0x18, rdx=0)


@pytest.mark.parametrize("vector", [Vector.DB, Vector.BP])
def test_debug_exceptions_stay_signals(design: RangeHandlerDelivery, vector: Vector) -> None:
    mm = MM()
    register(design, mm)
    assert not design.fixup(mm, Thread(mm), Cpu({START: ENCLU}), Regs(rip=START, rax=3), vector, 0, 0)


@pytest.mark.parametrize(("code", "leaf"), [({}, 3), ({START: b"\x0f\x0b\x90"}, 3), ({START: ENCLU}, 4)])
def test_other_instructions_and_leaves_stay_signals(
    design: RangeHandlerDelivery, code: dict[int, bytes], leaf: int
) -> None:
    mm = MM()
    register(design, mm)
    assert not design.fixup(mm, Thread(mm), Cpu(code), Regs(rip=START, rax=leaf), Vector.UD, 0, 0)


@pytest.mark.parametrize(
    ("start", "end"),
    [(START, START + LENGTH), (START + 0x800, START + 0x900), (0, START + 1), (START + LENGTH - 1, 1 << 47)],
)
def test_unmapping_part_of_a_range_unregisters_it(design: RangeHandlerDelivery, start: int, end: int) -> None:
    mm, other = MM(), MM()
    for each in (mm, other):
        register(design, each)
        register(design, each, 0x10_0000_0000, LENGTH, OTHER)
    assert design.watches(mm, start, end)
    design.on_unmap(mm, start, end)
    assert target(design, mm, START) is None
    refused(errno.ENOENT, unregister, design, mm)
    assert (target(design, mm, 0x10_0000_0000) == OTHER) == (end <= 0x10_0000_0000)
    assert target(design, other, START) == HANDLER


@pytest.mark.parametrize(("start", "end"), [(0, START), (START + LENGTH, 1 << 47)])
def test_unmapping_beside_a_range_is_not_watched_and_changes_nothing(
    design: RangeHandlerDelivery, start: int, end: int
) -> None:
    mm = MM()
    register(design, mm)
    assert not design.watches(mm, start, end)
    design.on_unmap(mm, start, end)
    assert target(design, mm, START) == HANDLER


def test_a_forked_child_has_a_copy(design: RangeHandlerDelivery) -> None:
    parent, child = Thread(), Thread()
    register(design, parent.mm)
    design.on_fork(parent, child)
    unregister(design, child.mm)
    assert target(design, parent.mm, START) == HANDLER
    assert target(design, child.mm, START) is None


def test_a_vfork_child_shares_its_parents(design: RangeHandlerDelivery) -> None:
    parent = Thread()
    child = Thread(parent.mm)
    register(design, parent.mm)
    design.on_fork(parent, child)
    assert target(design, child.mm, START) == HANDLER


def test_exec_forgets(design: RangeHandlerDelivery) -> None:
    thread = Thread()
    register(design, thread.mm)
    thread.mm = MM()
    design.on_exec(thread)
    assert target(design, thread.mm, START) is None


def test_a_dead_address_space_leaves_nothing_behind(design: RangeHandlerDelivery) -> None:
    mm = MM()
    register(design, mm)
    del mm
    gc.collect()
    assert len(design._ranges) == 0


SMALL = st.integers(0, 24)
STEP = st.tuples(st.sampled_from(["register", "unregister", "unmap"]), SMALL, SMALL)


@given(st.lists(STEP, max_size=40))
def test_any_order_gives_each_address_at_most_one_handler(steps: list[tuple[str, int, int]]) -> None:
    """Against a model that keeps the registration of every single address."""
    design, mm = RangeHandlerDelivery(), MM()
    owner: dict[int, tuple[int, int, int]] = {}
    for number, (action, start, length) in enumerate(steps):
        at, cells = START + start, range(START + start, START + start + length)
        if action == "register":
            if not length:
                refused(errno.EINVAL, register, design, mm, at, length)
            elif any(cell in owner for cell in cells):
                refused(errno.EEXIST, register, design, mm, at, length, HANDLER + number)
            else:
                register(design, mm, at, length, HANDLER + number)
                owner.update(dict.fromkeys(cells, (at, length, HANDLER + number)))
        else:
            gone = {owner[cell] for cell in cells if cell in owner}
            if action == "unmap":
                design.on_unmap(mm, at, at + length)
            elif any(known[:2] == (at, length) for known in gone):
                unregister(design, mm, at, length)
            else:
                refused(errno.ENOENT, unregister, design, mm, at, length)
                gone = set()
            owner = {cell: known for cell, known in owner.items() if known not in gone}
        for cell in range(START, START + 50):
            assert target(design, mm, cell) == (owner[cell][2] if cell in owner else None)
