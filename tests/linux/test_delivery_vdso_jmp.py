"""Design `vdso-jmp`: the jump that an ioctl patches into the vDSO, and what leads to it."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclu.linux.delivery.vdso_jmp import CLEAR_TARGET, SET_TARGET, UNPATCHED, VdsoJmpDelivery
from enclu.linux.vdso import image
from enclu.sgx.exceptions import Vector
from tests.linux.delivery_doubles import ENCLU, MM, VDSO, Cpu, Regs, Thread, User, refused

ARG = 0x1000
((INSN, LANDING),) = image.load("vdso_jmp").extable
SITE = VDSO + LANDING
TARGET = VDSO + 0x10_0000
REACH = 1 << 31


class Everywhere:
    """Addresses of executable memory: all."""

    def __contains__(self, address: object) -> bool:
        return True


@pytest.fixture
def design() -> VdsoJmpDelivery:
    image.load("vdso_jmp").build(VDSO, VDSO * 2, {})
    return VdsoJmpDelivery()


@pytest.fixture
def mm() -> MM:
    return MM({SITE: UNPATCHED}, Everywhere())


def set_target(design: VdsoJmpDelivery, mm: MM, target: int = TARGET, flags: int = 0) -> int:
    user = User({ARG: struct.pack("<QQ", target, flags), **mm.text})
    return design.ioctl(mm, Thread(mm), user, SET_TARGET, ARG)


def clear_target(design: VdsoJmpDelivery, mm: MM) -> int:
    return design.ioctl(mm, Thread(mm), User(mm.text), CLEAR_TARGET, 0)


def jumps_to(mm: MM) -> int | None:
    """Where the processor goes on from the bytes behind the ENCLU; None if it raises #UD there."""
    code = mm.text[SITE]
    assert len(code) == 5
    if code[0] == 0xE9:
        return int(SITE + 5 + struct.unpack("<i", code[1:])[0])
    assert code[:2] == b"\x0f\x0b"
    return None


def test_the_image_has_room_for_the_jump_right_behind_its_enclu() -> None:
    loaded = image.load("vdso_jmp")
    assert loaded.data[INSN : LANDING + 5] == ENCLU + UNPATCHED
    assert loaded.symbols["__vdso_sgx_enter_enclave"] == INSN
    assert LANDING // 8 == (LANDING + 4) // 8  # one word, hence one page and one cache line


@pytest.mark.parametrize("target", [TARGET, VDSO - 0x1000, SITE, SITE + 5 + REACH - 1, SITE + 5 - REACH])
def test_the_ud2_becomes_a_jump_to_the_target(design: VdsoJmpDelivery, mm: MM, target: int) -> None:
    assert set_target(design, mm, target) == 0
    assert jumps_to(mm) == target


@pytest.mark.parametrize("target", [SITE + 5 + REACH, SITE + 5 - REACH - 1, 0x5555_5555_0000, 0x7FFF_0000_0000])
def test_a_target_beyond_2_gib_is_einval(design: VdsoJmpDelivery, mm: MM, target: int) -> None:
    refused(errno.EINVAL, set_target, design, mm, target)
    assert jumps_to(mm) is None


def test_a_target_that_is_not_executable_is_einval(design: VdsoJmpDelivery) -> None:
    mm = MM({SITE: UNPATCHED}, {TARGET})
    refused(errno.EINVAL, set_target, design, mm, TARGET + 1)
    assert set_target(design, mm, TARGET) == 0


@pytest.mark.parametrize("target", [0, 1 << 47, 1 << 63])
def test_a_target_outside_user_space_is_einval(design: VdsoJmpDelivery, mm: MM, target: int) -> None:
    refused(errno.EINVAL, set_target, design, mm, target)


def test_flags_are_einval(design: VdsoJmpDelivery, mm: MM) -> None:
    refused(errno.EINVAL, set_target, design, mm, TARGET, 1)


def test_a_structure_that_cannot_be_read_is_efault(design: VdsoJmpDelivery, mm: MM) -> None:
    refused(errno.EFAULT, design.ioctl, mm, Thread(), User({}), SET_TARGET, ARG)


@pytest.mark.parametrize("action", [set_target, clear_target])
def test_a_vdso_that_the_program_unmapped_is_efault(
    design: VdsoJmpDelivery, action: Callable[[VdsoJmpDelivery, MM], int]
) -> None:
    refused(errno.EFAULT, action, design, MM({}, Everywhere()))


@pytest.mark.parametrize("second", [TARGET, TARGET + 0x1000])
def test_a_second_target_is_ebusy(design: VdsoJmpDelivery, mm: MM, second: int) -> None:
    set_target(design, mm)
    refused(errno.EBUSY, set_target, design, mm, second)
    assert jumps_to(mm) == TARGET


def test_clearing_restores_the_bytes(design: VdsoJmpDelivery, mm: MM) -> None:
    set_target(design, mm)
    assert clear_target(design, mm) == 0
    assert mm.text[SITE] == UNPATCHED
    assert set_target(design, mm, TARGET + 0x1000) == 0
    assert jumps_to(mm) == TARGET + 0x1000


def test_clearing_what_is_not_patched_is_enoent(design: VdsoJmpDelivery, mm: MM) -> None:
    refused(errno.ENOENT, clear_target, design, mm)
    set_target(design, mm)
    clear_target(design, mm)
    refused(errno.ENOENT, clear_target, design, mm)


def test_bytes_that_the_program_put_there_are_left_alone(design: VdsoJmpDelivery, mm: MM) -> None:
    mm.text[SITE] = b"\xc3\xcc\xcc\xcc\xcc"
    refused(errno.EBUSY, set_target, design, mm)
    refused(errno.ENOENT, clear_target, design, mm)
    assert mm.text[SITE] == b"\xc3\xcc\xcc\xcc\xcc"


@pytest.mark.parametrize("leaf", [2, 3])
@pytest.mark.parametrize("patched", [False, True])
def test_an_exception_goes_on_behind_the_enclu(design: VdsoJmpDelivery, mm: MM, leaf: int, patched: bool) -> None:
    if patched:
        set_target(design, mm)
    regs = Regs(rip=VDSO + INSN, rax=leaf)
    assert design.fixup(mm, Thread(), Cpu({}), regs, Vector.PF, 0x8007, 0x7000)
    assert regs == Regs(rip=SITE, rax=leaf, rdi=14, rsi=0x8007, rdx=0x7000)


@pytest.mark.parametrize("vector", [Vector.DB, Vector.BP])
def test_debug_exceptions_stay_signals(design: VdsoJmpDelivery, mm: MM, vector: Vector) -> None:
    assert not design.fixup(mm, Thread(), Cpu({}), Regs(rip=VDSO + INSN, rax=3), vector, 0, 0)


@pytest.mark.parametrize("rip", [SITE, VDSO + INSN - 1, 0x40_1000])
def test_other_instructions_stay_signals(design: VdsoJmpDelivery, mm: MM, rip: int) -> None:
    assert not design.fixup(mm, Thread(), Cpu({rip: ENCLU}), Regs(rip=rip, rax=3), Vector.UD, 0, 0)


@given(st.integers(SITE - REACH * 2, SITE + REACH * 2))
def test_any_target_is_reached_or_refused(target: int) -> None:
    design, mm = VdsoJmpDelivery(), MM({SITE: UNPATCHED}, Everywhere())
    try:
        set_target(design, mm, target)
    except OSError as error:
        assert error.errno == errno.EINVAL
        assert abs(target - SITE) > REACH - 8
        assert jumps_to(mm) is None
    else:
        assert jumps_to(mm) == target
