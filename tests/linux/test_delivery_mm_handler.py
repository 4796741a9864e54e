"""Design `mm-handler`: registration under each policy, what is fixed up, fork and exec."""

from __future__ import annotations

import errno
import gc
import struct

import pytest

from enclu.linux.delivery.mm_handler import REGISTER, UNREGISTER, MMHandlerDelivery
from enclu.sgx.exceptions import Vector
from tests.linux.delivery_doubles import ENCLU, MM, Cpu, Regs, Thread, User, refused

ARG, SITE, HANDLER, OTHER = 0x1000, 0x40_1000, 0x40_2000, 0x40_3000
POLICIES = ["overwrite", "write-once", "unregister-first"]
CODE = Cpu({SITE: ENCLU})


def register(design: MMHandlerDelivery, mm: MM, handler: int = HANDLER, flags: int = 0) -> int:
    return design.ioctl(mm, Thread(mm), User({ARG: struct.pack("<QQ", handler, flags)}), REGISTER, ARG)


def unregister(design: MMHandlerDelivery, mm: MM) -> int:
    return design.ioctl(mm, Thread(mm), User({}), UNREGISTER, 0)


def target(design: MMHandlerDelivery, mm: MM) -> int | None:
    """Where an exception in an enclave of `mm` leads."""
    regs = Regs(rip=SITE, rax=3)
    fixed = design.fixup(mm, Thread(mm), CODE, regs, Vector.PF, 7, 0x9000)
    return regs.rip if fixed else None


@pytest.fixture(params=POLICIES)
def any_policy(request: pytest.FixtureRequest) -> MMHandlerDelivery:
    return MMHandlerDelivery(request.param)


def test_the_default_policy_is_overwrite() -> None:
    design, mm = MMHandlerDelivery(), MM()
    register(design, mm)
    assert register(design, mm, OTHER) == 0
    assert target(design, mm) == OTHER


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(ValueError, match="no setting 'sometimes'"):
        MMHandlerDelivery("sometimes")


def test_without_registration_signals(any_policy: MMHandlerDelivery) -> None:
    assert target(any_policy, MM()) is None


def test_the_registered_handler_is_the_target(any_policy: MMHandlerDelivery) -> None:
    mm = MM()
    assert register(any_policy, mm) == 0
    assert target(any_policy, mm) == HANDLER
    assert target(any_policy, MM()) is None


@pytest.mark.parametrize("handler", [0, 1 << 47, (1 << 47) - 4096, 0xFFFF_FFFF_8000_0000, 1 << 63])
def test_a_handler_outside_user_space_is_einval(any_policy: MMHandlerDelivery, handler: int) -> None:
    refused(errno.EINVAL, register, any_policy, MM(), handler)


def test_flags_are_einval(any_policy: MMHandlerDelivery) -> None:
    refused(errno.EINVAL, register, any_policy, MM(), HANDLER, 1)


def test_a_structure_that_cannot_be_read_is_efault(any_policy: MMHandlerDelivery) -> None:
    refused(errno.EFAULT, any_policy.ioctl, MM(), Thread(), User({}), REGISTER, ARG)


def test_a_refused_registration_changes_nothing(any_policy: MMHandlerDelivery) -> None:
    mm = MM()
    register(any_policy, mm)
    refused(errno.EINVAL, register, any_policy, mm, 0)
    assert target(any_policy, mm) == HANDLER


def test_unregistering_nothing_is_enoent(any_policy: MMHandlerDelivery) -> None:
    refused(errno.ENOENT, unregister, any_policy, MM())


@pytest.mark.parametrize("policy", ["write-once", "unregister-first"])
def test_a_second_registration_is_ebusy(policy: str) -> None:
    design, mm = MMHandlerDelivery(policy), MM()
    register(design, mm)
    refused(errno.EBUSY, register, design, mm, OTHER)
    refused(errno.EBUSY, register, design, mm, HANDLER)
    assert target(design, mm) == HANDLER


@pytest.mark.parametrize("policy", ["overwrite", "unregister-first"])
def test_unregistering_brings_signals_back(policy: str) -> None:
    design, mm = MMHandlerDelivery(policy), MM()
    register(design, mm)
    assert unregister(design, mm) == 0
    assert target(design, mm) is None
    refused(errno.ENOENT, unregister, design, mm)
    register(design, mm, OTHER)
    assert target(design, mm) == OTHER


def test_write_once_cannot_be_undone() -> None:
    design, mm = MMHandlerDelivery("write-once"), MM()
    register(design, mm)
    refused(errno.EBUSY, unregister, design, mm)
    assert target(design, mm) == HANDLER


def test_another_size_is_another_ioctl(any_policy: MMHandlerDelivery) -> None:
    refused(errno.ENOTTY, any_policy.ioctl, MM(), Thread(), User({ARG: bytes(16)}), REGISTER + (8 << 16), ARG)


@pytest.mark.parametrize("leaf", [2, 3])
@pytest.mark.parametrize("vector", [v for v in Vector if v not in (Vector.DB, Vector.BP)])
def test_registers_after_a_fixup(leaf: int, vector: Vector) -> None:
    design, mm = MMHandlerDelivery(), MM()
    register(design, mm)
    regs = Regs(rip=SITE, rax=leaf)
    assert design.fixup(mm, Thread(mm), CODE, regs, vector, 0x8007, 0x9000)
    assert regs == Regs(rip=HANDLER, rax=leaf, rdi=vector, rsi=0x8007, rdx=0x9000)


@pytest.mark.parametrize("vector", [Vector.DB, Vector.BP])
def test_debug_exceptions_stay_signals(vector: Vector) -> None:
    design, mm = MMHandlerDelivery(), MM()
    register(design, mm)
    regs = Regs(rip=SITE, rax=3)
    assert not design.fixup(mm, Thread(mm), CODE, regs, vector, 0, 0)
    assert regs == Regs(rip=SITE, rax=3)


@pytest.mark.parametrize("leaf", [0, 1, 4, 5, 9])
def test_other_leaves_stay_signals(leaf: int) -> None:
    design, mm = MMHandlerDelivery(), MM()
    register(design, mm)
    assert not design.fixup(mm, Thread(mm), CODE, Regs(rip=SITE, rax=leaf), Vector.GP, 0, 0)


@pytest.mark.parametrize("code", [{}, {SITE: b"\x0f\x0b\x90"}, {SITE: b"\x0f\x01\xcf"}, {SITE: b"\x0f\x01"}])
def test_other_instructions_stay_signals(code: dict[int, bytes]) -> None:
    design, mm = MMHandlerDelivery(), MM()
    register(design, mm)
    assert not design.fixup(mm, Thread(mm), Cpu(code), Regs(rip=SITE, rax=3), Vector.UD, 0, 0)


def test_a_forked_child_has_a_copy() -> None:
    design, parent, child = MMHandlerDelivery(), Thread(), Thread()
    register(design, parent.mm)
    design.on_fork(parent, child)
    register(design, child.mm, OTHER)
    assert target(design, parent.mm) == HANDLER
    assert target(design, child.mm) == OTHER


def test_write_once_holds_in_a_forked_child() -> None:
    design, parent, child = MMHandlerDelivery("write-once"), Thread(), Thread()
    register(design, parent.mm)
    design.on_fork(parent, child)
    refused(errno.EBUSY, register, design, child.mm, OTHER)


def test_fork_without_registration() -> None:
    design, parent, child = MMHandlerDelivery(), Thread(), Thread()
    design.on_fork(parent, child)
    assert target(design, child.mm) is None


def test_the_end_of_a_vfork_child_leaves_the_parents_handler() -> None:
    design, parent = MMHandlerDelivery(), Thread()
    child = Thread(parent.mm)
    register(design, parent.mm)
    design.on_fork(parent, child)
    del child
    gc.collect()
    assert target(design, parent.mm) == HANDLER


def test_exec_forgets() -> None:
    design, process = MMHandlerDelivery("write-once"), Thread()
    register(design, process.mm)
    process.mm = MM()
    design.on_exec(process)
    assert target(design, process.mm) is None
    assert register(design, process.mm, OTHER) == 0


def test_a_dead_address_space_leaves_nothing_behind() -> None:
    design, mm = MMHandlerDelivery(), MM()
    register(design, mm)
    del mm
    gc.collect()
    assert len(design._handlers) == 0
