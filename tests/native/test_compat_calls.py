"""The numbers of i386's system calls, against the kernel's headers, and what of them the filters name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from enclu.base.abi import NAME, NR
from enclu.native import compat_calls, seccomp

HEADERS = list(Path("/usr/include").rglob("asm/unistd_32.h"))
NOT_BY_INT80 = {"stat", "lstat", "newfstatat"}
"""They have structures of their own (stat64): no device is known there."""


@pytest.fixture(scope="module")
def numbers() -> dict[str, int]:
    text = HEADERS[0].read_text()
    return {name: int(number) for name, number in re.findall(r"^#define __NR_(\w+)\s+(\d+)$", text, re.MULTILINE)}


def test_numbers_are_the_kernels(numbers: dict[str, int]) -> None:
    named = {**compat_calls.SAME, **{name: number for number, name in compat_calls.REFUSED.items()}}
    assert {name: number for name, number in named.items() if numbers.get(name, number) != number} == {}
    assert (numbers["mmap"], numbers["mmap2"]) == (compat_calls.OLD_MMAP, compat_calls.MMAP2)
    assert numbers["waitpid"] == compat_calls.WAITPID


@pytest.mark.parametrize("rules", [seccomp.EVERY_PROGRAM, seccomp.SGX_PROGRAM], ids=["every", "sgx"])
def test_each_call_that_stops_stops_by_int80_too_or_is_refused(rules: tuple[seccomp.Rule, ...]) -> None:
    answered = {*compat_calls.NATIVE.values()}
    refused = {NR[name] for name in compat_calls.REFUSED.values() if name in NR}
    assert {NAME[rule.nr] for rule in rules} - {NAME[nr] for nr in answered | refused} <= NOT_BY_INT80


def test_every_call_that_takes_a_mask_is_refused_but_one(numbers: dict[str, int]) -> None:
    about = re.compile(
        r"(rt_)?sig(action|procmask|return|suspend|timedwait)|ssetmask|pselect6|ppoll|epoll_pwait2?|io_pgetevents"
    )
    masks = {name for name in numbers if about.fullmatch(re.sub(r"_time(32|64)$", "", name))}
    assert masks - set(compat_calls.REFUSED.values()) == {"rt_sigprocmask"}


def test_a_filter_is_short_enough_for_the_kernel() -> None:
    for build in (seccomp.every_program, seccomp.sgx_program):
        assert len(build((0x7E90_0000_0000, 0x7E90_0000_8000))) // 8 <= 4096
