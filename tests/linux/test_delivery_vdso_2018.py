"""Design `vdso-2018`: fixups at the two ENCLU sites of its vDSO function only."""

from __future__ import annotations

import pytest

from enclu.linux import delivery
from enclu.linux.vdso import image
from enclu.sgx.exceptions import Vector
from tests.linux.delivery_doubles import ENCLU, MM, VDSO, Cpu, Regs, Thread


@pytest.fixture(params=[0, 1], ids=["eenter", "eresume"])
def site(request: pytest.FixtureRequest) -> tuple[int, int]:
    """Addresses of an ENCLU and of its fixup."""
    loaded = image.load("vdso_2018")
    loaded.build(VDSO, VDSO * 2, {})
    insn, fixup = loaded.extable[request.param]
    return VDSO + insn, VDSO + fixup


def fixup(regs: Regs, vector: int = Vector.PF, memory: dict[int, bytes] | None = None) -> bool:
    return delivery.create("vdso-2018").fixup(MM(), Thread(), Cpu(memory or {}), regs, vector, 0x8007, 0x7000)


@pytest.mark.parametrize("leaf", [2, 3])
def test_registers_after_a_fixup(site: tuple[int, int], leaf: int) -> None:
    regs = Regs(rip=site[0], rax=leaf)
    assert fixup(regs)
    assert regs == Regs(rip=site[1], rax=leaf, rdi=14, rsi=0x8007, rdx=0x7000)


@pytest.mark.parametrize("vector", [Vector.DB, Vector.BP])
def test_debug_exceptions_stay_signals(site: tuple[int, int], vector: Vector) -> None:
    assert not fixup(Regs(rip=site[0], rax=3), vector)


@pytest.mark.parametrize("offset", [-1, 1, 3])
def test_other_instructions_stay_signals(site: tuple[int, int], offset: int) -> None:
    assert not fixup(Regs(rip=site[0] + offset, rax=2))


def test_an_enclu_of_the_program_stays_a_signal() -> None:
    assert not fixup(Regs(rip=0x40_1000, rax=2), memory={0x40_1000: ENCLU})
