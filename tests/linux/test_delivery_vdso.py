"""Design `vdso`: fixups at the vDSO's own ENCLU only."""

from __future__ import annotations

import pytest

from enclu.linux import delivery
from enclu.linux.vdso import image
from enclu.sgx.exceptions import Vector
from tests.linux.delivery_doubles import ENCLU, MM, Cpu, Regs, Thread

BASE = 0x7E90_0000_0000
NOTHING = Cpu({})


@pytest.fixture
def site() -> tuple[int, int]:
    """Addresses of the ENCLU and of its fixup."""
    loaded = image.load("vdso")
    loaded.build(BASE, BASE * 2, {})
    ((insn, fixup),) = loaded.extable
    return BASE + insn, BASE + fixup


@pytest.mark.parametrize("vector", [v for v in Vector if v not in (Vector.DB, Vector.BP)])
@pytest.mark.parametrize("leaf", [2, 3])
def test_registers_after_a_fixup(site: tuple[int, int], vector: Vector, leaf: int) -> None:
    regs = Regs(rip=site[0], rax=leaf)
    assert delivery.create("vdso").fixup(MM(), Thread(), NOTHING, regs, vector, 0x8007, 0x7000)
    assert regs == Regs(rip=site[1], rax=leaf, rdi=vector, rsi=0x8007, rdx=0x7000)


@pytest.mark.parametrize("vector", [Vector.DB, Vector.BP])
def test_debug_exceptions_stay_signals(site: tuple[int, int], vector: Vector) -> None:
    regs = Regs(rip=site[0], rax=3)
    assert not delivery.create("vdso").fixup(MM(), Thread(), NOTHING, regs, vector, 0, 0)
    assert regs == Regs(rip=site[0], rax=3)


@pytest.mark.parametrize("offset", [-1, 1, 3, 0x1000])
def test_other_instructions_stay_signals(site: tuple[int, int], offset: int) -> None:
    regs = Regs(rip=site[0] + offset, rax=2)
    assert not delivery.create("vdso").fixup(MM(), Thread(), NOTHING, regs, Vector.PF, 4, 0x7000)


def test_an_enclu_of_the_program_stays_a_signal(site: tuple[int, int]) -> None:
    regs = Regs(rip=0x40_1000, rax=2)
    cpu = Cpu({0x40_1000: ENCLU})
    assert not delivery.create("vdso").fixup(MM(), Thread(), cpu, regs, Vector.PF, 4, 0x7000)
