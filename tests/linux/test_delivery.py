"""The registry and what all designs have in common."""

from __future__ import annotations

import errno

import pytest

from enclu.linux import delivery
from enclu.linux.delivery import usage
from enclu.linux.delivery.base import GET_DELIVERY
from enclu.linux.vdso import image
from enclu.sgx.exceptions import Vector
from tests.linux.delivery_doubles import ENCLU, MM, Cpu, Regs, Thread, User, refused

ENCLU_AT = 0x40_1000
CHOICES = delivery.choices()


def test_names() -> None:
    assert {"signal", "mm-handler", "vdso"} <= set(delivery.names())
    for name in delivery.names():
        assert delivery.create(name).name == name


def test_an_unknown_design_is_refused() -> None:
    with pytest.raises(KeyError):
        delivery.create("telepathy")


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_can_be_created(choice: str) -> None:
    name, _, setting = choice.partition(":")
    design = delivery.create(choice)
    assert design.name == name
    assert design.setting == setting or not setting


@pytest.mark.parametrize("name", delivery.names())
@pytest.mark.parametrize("setting", ["", "sometimes"])
def test_an_unknown_setting_is_refused(name: str, setting: str) -> None:
    with pytest.raises(ValueError, match="no setting"):
        delivery.create(f"{name}:{setting}")


@pytest.mark.parametrize("name", delivery.names())
def test_the_first_setting_is_the_default(name: str) -> None:
    settings = delivery.design(name).settings
    assert delivery.create(name).setting == (settings[0] if settings else "")


@pytest.mark.parametrize("name", delivery.names())
def test_an_unknown_ioctl_is_enotty(name: str) -> None:
    refused(errno.ENOTTY, delivery.create(name).ioctl, MM(), Thread(), User({}), 0xA47F, 0)


@pytest.mark.parametrize("name", delivery.names())
def test_a_program_can_ask_for_the_design(name: str) -> None:
    user = User({0x1000: b"?" * 40})
    assert delivery.create(name).ioctl(MM(), Thread(), user, GET_DELIVERY, 0x1000) == 0
    assert user.memory[0x1000] == name.encode().ljust(32, b"\0") + b"?" * 8
    refused(errno.EFAULT, delivery.create(name).ioctl, MM(), Thread(), user, GET_DELIVERY, 0x2000)


@pytest.mark.parametrize("name", delivery.names())
def test_names_fit_into_what_a_program_gets(name: str) -> None:
    assert len(name) < 32


@pytest.mark.parametrize("choice", CHOICES)
def test_hooks_accept_any_process(choice: str) -> None:
    design = delivery.create(choice)
    parent, child = Thread(), Thread()
    design.on_fork(parent, child)
    design.on_fork(parent, Thread(parent.mm))
    design.on_clone(parent, Thread(parent.mm))
    design.on_unmap(parent.mm, 0x1000, 0x2000)
    child.mm = MM()
    design.on_exec(child)
    assert not design.watches(child.mm, 0, 1 << 47)


@pytest.mark.parametrize("choice", CHOICES)
def test_without_registration_an_enclu_of_the_program_leaves_signals(choice: str) -> None:
    regs = Regs(rip=ENCLU_AT, rax=3)
    before = vars(regs).copy()
    thread = Thread()
    assert not delivery.create(choice).fixup(thread.mm, thread, Cpu({ENCLU_AT: ENCLU}), regs, Vector.PF, 7, 0x1000)
    assert vars(regs) == before


@pytest.mark.parametrize("name", delivery.names())
def test_the_vdso_of_each_design_is_built(name: str) -> None:
    assert image.load(delivery.design(name).vdso).symbols


@pytest.mark.parametrize("name", delivery.names())
def test_the_vdso_has_the_function_that_the_design_declares_and_no_other(name: str) -> None:
    design = delivery.design(name)
    vdso = image.load(design.vdso)
    declared = set() if isinstance(design.entry, usage.OwnEnclu) else {design.entry.symbol}
    assert {symbol for symbol in vdso.symbols if symbol.startswith("__vdso_")} - set(vdso.host_symbols) == declared
    assert bool(vdso.extable) == bool(declared)
