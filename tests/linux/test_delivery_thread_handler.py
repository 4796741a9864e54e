"""Design `thread-handler`: nesting and unwinding, what is fixed up, threads, fork and exec."""

from __future__ import annotations

import errno
import gc
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclu.linux.delivery.thread_handler import MAX_DEPTH, REGISTER, UNREGISTER, ThreadHandlerDelivery
from enclu.sgx.exceptions import Vector
from tests.linux.delivery_doubles import ENCLU, MM, Cpu, Regs, Thread, User, refused

ARG, SITE, OUTER, INNER, OTHER = 0x1000, 0x40_1000, 0x40_2000, 0x40_3000, 0x40_4000
CODE = Cpu({SITE: ENCLU})


@pytest.fixture
def design() -> ThreadHandlerDelivery:
    return ThreadHandlerDelivery()


def call(design: ThreadHandlerDelivery, thread: Thread, cmd: int, handler: int, flags: int = 0) -> int:
    return design.ioctl(thread.mm, thread, User({ARG: struct.pack("<QQ", handler, flags)}), cmd, ARG)


def register(design: ThreadHandlerDelivery, thread: Thread, *handlers: int) -> None:
    for handler in handlers:
        assert call(design, thread, REGISTER, handler) == 0


def unregister(design: ThreadHandlerDelivery, thread: Thread, handler: int) -> int:
    return call(design, thread, UNREGISTER, handler)


def target(design: ThreadHandlerDelivery, thread: Thread) -> int | None:
    """Where an exception in an enclave that `thread` entered leads."""
    regs = Regs(rip=SITE, rax=3)
    return regs.rip if design.fixup(thread.mm, thread, CODE, regs, Vector.PF, 7, 0x9000) else None


def test_the_innermost_handler_is_the_target(design: ThreadHandlerDelivery) -> None:
    thread = Thread()
    register(design, thread, OUTER)
    assert target(design, thread) == OUTER
    register(design, thread, INNER)
    assert target(design, thread) == INNER


def test_unregistering_brings_the_outer_handler_back_then_signals(design: ThreadHandlerDelivery) -> None:
    thread = Thread()
    register(design, thread, OUTER, INNER)
    assert unregister(design, thread, INNER) == 0
    assert target(design, thread) == OUTER
    assert unregister(design, thread, OUTER) == 0
    assert target(design, thread) is None


def test_unregistering_an_outer_handler_unwinds_the_inner_ones(design: ThreadHandlerDelivery) -> None:
    thread = Thread()
    register(design, thread, OTHER, OUTER, INNER, INNER)
    unregister(design, thread, OUTER)
    assert target(design, thread) == OTHER
    refused(errno.ENOENT, unregister, design, thread, INNER)


def test_a_handler_registered_twice_is_unregistered_twice(design: ThreadHandlerDelivery) -> None:
    thread = Thread()
    register(design, thread, OUTER, INNER, OUTER)
    unregister(design, thread, OUTER)
    assert target(design, thread) == INNER
    unregister(design, thread, OUTER)
    refused(errno.ENOENT, unregister, design, thread, OUTER)


def test_unregistering_a_handler_that_is_not_there_is_enoent_and_changes_nothing(design: ThreadHandlerDelivery) -> None:
    thread = Thread()
    refused(errno.ENOENT, unregister, design, thread, OUTER)
    register(design, thread, OUTER)
    refused(errno.ENOENT, unregister, design, thread, INNER)
    assert target(design, thread) == OUTER


def test_handlers_are_the_threads_own(design: ThreadHandlerDelivery) -> None:
    first = Thread()
    second = Thread(first.mm)
    register(design, first, OUTER)
    assert target(design, second) is None
    refused(errno.ENOENT, unregister, design, second, OUTER)
    register(design, second, INNER)
    assert (target(design, first), target(design, second)) == (OUTER, INNER)


def test_too_deep_is_enospc(design: ThreadHandlerDelivery) -> None:
    thread = Thread()
    register(design, thread, *[OUTER] * (MAX_DEPTH - 1), INNER)
    refused(errno.ENOSPC, call, design, thread, REGISTER, OTHER)
    assert target(design, thread) == INNER
    unregister(design, thread, INNER)
    register(design, thread, OTHER)


@pytest.mark.parametrize("cmd", [REGISTER, UNREGISTER])
@pytest.mark.parametrize("handler", [0, (1 << 47) - 4096, 1 << 63])
def test_a_handler_outside_user_space_is_einval(design: ThreadHandlerDelivery, cmd: int, handler: int) -> None:
    refused(errno.EINVAL, call, design, Thread(), cmd, handler)


@pytest.mark.parametrize("cmd", [REGISTER, UNREGISTER])
def test_flags_are_einval(design: ThreadHandlerDelivery, cmd: int) -> None:
    thread = Thread()
    register(design, thread, OUTER)
    refused(errno.EINVAL, call, design, thread, cmd, OUTER, 1)
    assert target(design, thread) == OUTER


@pytest.mark.parametrize("cmd", [REGISTER, UNREGISTER])
def test_a_structure_that_cannot_be_read_is_efault(design: ThreadHandlerDelivery, cmd: int) -> None:
    refused(errno.EFAULT, design.ioctl, MM(), Thread(), User({}), cmd, ARG)


@pytest.mark.parametrize("leaf", [2, 3])
def test_registers_after_a_fixup(design: ThreadHandlerDelivery, leaf: int) -> None:
    thread = Thread()
    register(design, thread, OUTER)
    regs = Regs(rip=SITE, rax=leaf)
    assert design.fixup(thread.mm, thread, CODE, regs, Vector.PF, 0x8007, 0x9000)
    assert regs == Regs(rip=OUTER, rax=leaf, rdi=14, rsi=0x8007, rdx=0x9000)


@pytest.mark.parametrize("vector", [Vector.DB, Vector.BP])
def test_debug_exceptions_stay_signals(design: ThreadHandlerDelivery, vector: Vector) -> None:
    thread = Thread()
    register(design, thread, OUTER)
    assert not design.fixup(thread.mm, thread, CODE, Regs(rip=SITE, rax=3), vector, 0, 0)


@pytest.mark.parametrize(
    ("code", "leaf"), [({}, 3), ({SITE: b"\x0f\x0b\x90"}, 3), ({SITE: ENCLU}, 0), ({SITE: ENCLU}, 4)]
)
def test_other_instructions_and_leaves_stay_signals(
    design: ThreadHandlerDelivery, code: dict[int, bytes], leaf: int
) -> None:
    thread = Thread()
    register(design, thread, OUTER)
    assert not design.fixup(thread.mm, thread, Cpu(code), Regs(rip=SITE, rax=leaf), Vector.UD, 0, 0)


def test_a_new_thread_has_none(design: ThreadHandlerDelivery) -> None:
    parent = Thread()
    child = Thread(parent.mm)
    register(design, parent, OUTER)
    design.on_clone(parent, child)
    assert target(design, child) is None


def test_a_forked_child_has_a_copy(design: ThreadHandlerDelivery) -> None:
    parent, child = Thread(), Thread()
    register(design, parent, OUTER, INNER)
    design.on_fork(parent, child)
    unregister(design, child, INNER)
    assert (target(design, parent), target(design, child)) == (INNER, OUTER)


def test_a_vfork_child_has_none(design: ThreadHandlerDelivery) -> None:
    parent = Thread()
    child = Thread(parent.mm)
    register(design, parent, OUTER)
    design.on_fork(parent, child)
    assert target(design, child) is None


def test_a_forked_child_has_nothing_of_its_parents_other_threads(design: ThreadHandlerDelivery) -> None:
    parent, child = Thread(), Thread()
    other = Thread(parent.mm)
    register(design, other, OUTER)
    design.on_fork(parent, child)
    assert target(design, child) is None


def test_exec_forgets(design: ThreadHandlerDelivery) -> None:
    thread = Thread()
    register(design, thread, OUTER)
    thread.mm = MM()
    design.on_exec(thread)
    assert target(design, thread) is None


def test_an_ended_thread_leaves_nothing_behind(design: ThreadHandlerDelivery) -> None:
    thread = Thread()
    register(design, thread, OUTER)
    del thread
    gc.collect()
    assert len(design._handlers) == 0


HANDLERS = st.sampled_from([OUTER, INNER, OTHER])


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 1), HANDLERS), max_size=40))
def test_any_order_is_a_stack_for_each_thread(steps: list[tuple[bool, int, int]]) -> None:
    design = ThreadHandlerDelivery()
    first = Thread()
    threads = [first, Thread(first.mm)]
    expected: list[str] = ["", ""]
    letters = {OUTER: "o", INNER: "i", OTHER: "x"}
    for registers, number, handler in steps:
        letter = letters[handler]
        if registers:
            register(design, threads[number], handler)
            expected[number] += letter
        elif letter in expected[number]:
            unregister(design, threads[number], handler)
            expected[number] = expected[number][: expected[number].rindex(letter)]
        else:
            refused(errno.ENOENT, unregister, design, threads[number], handler)
        for thread, stack in zip(threads, expected, strict=True):
            found = target(design, thread)
            assert (letters[found] if found else "") == stack[-1:]
