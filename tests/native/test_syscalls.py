"""Arguments of system calls as the kernel takes them."""

from __future__ import annotations

import pytest

from enclu.base.abi import signed


@pytest.mark.parametrize("register", [0xFFFF_FF9C, 0xFFFF_FFFF_FFFF_FF9C, 0x1234_5678_FFFF_FF9C])
def test_an_int_is_the_lower_half_of_its_register(register: int) -> None:
    assert signed(register) == -100  # AT_FDCWD


@pytest.mark.parametrize("register", [5, 0xFFFF_FFFF_0000_0005])
def test_so_is_one_that_is_not_negative(register: int) -> None:
    assert signed(register) == 5
