"""The registry and what all designs have in common."""

from __future__ import annotations

import errno

import pytest
from tests.linux.delivery_doubles import MM, Cpu, Process, Regs

from enclu.linux import delivery
from enclu.sgx.exceptions import Vector

ENCLU_AT = 0x40_1000


def every_design() -> list[delivery.Delivery]:
    return [delivery.create(name) for name in delivery.names()]


def test_names() -> None:
    assert delivery.names() == ["signal", "vdso", "mm-handler"]
    for name in delivery.names():
        assert delivery.create(name).name == name


def test_an_unknown_design_is_refused() -> None:
    with pytest.raises(KeyError):
        delivery.create("telepathy")


@pytest.mark.parametrize("name", delivery.names())
def test_an_unknown_ioctl_is_enotty(name: str) -> None:
    with pytest.raises(OSError) as refused:
        delivery.create(name).ioctl(MM(), None, None, 0xA47F, 0)
    assert refused.value.errno == errno.ENOTTY


@pytest.mark.parametrize("name", delivery.names())
def test_hooks_accept_any_process(name: str) -> None:
    design = delivery.create(name)
    parent, child = Process(), Process()
    design.on_fork(parent, child)
    design.on_clone(object(), object())
    design.on_exec(child)
    design.on_exit(child)
    design.on_exit(parent)


def test_signal_fixes_nothing_up() -> None:
    regs = Regs(rip=ENCLU_AT, rax=3)
    before = vars(regs).copy()
    assert not delivery.create("signal").fixup(
        MM(), Process(), Cpu({ENCLU_AT: b"\x0f\x01\xd7"}), regs, Vector.PF, 7, 0x1000
    )
    assert vars(regs) == before


def test_only_vdso_has_the_sgx_function() -> None:
    assert {d.name: d.vdso for d in every_design()} == {"signal": "sgx", "vdso": "vdso", "mm-handler": "sgx"}
