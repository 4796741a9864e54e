"""The table of system calls that take a signal mask, against the kernel's own declarations and numbers."""

from __future__ import annotations

import re
import tarfile
from pathlib import Path

import pytest

from enclu.base.abi import NR
from enclu.native.mask_calls import LAST_REVIEWED, LOOKING, SETTING, WAITING
from tests.run.conftest import LINUX_SOURCE

HEADERS = list(Path("/usr/include").rglob("asm/unistd_64.h"))
BEHIND_A_POINTER = {"pselect6", "io_uring_enter", "rt_sigreturn", "rt_sigaction"}
"""Calls whose declarations do not name sigset_t: the set is in a structure, or in a signal frame."""
OLD = {"sigpending", "sigprocmask", "sigsuspend", "sigaction", "ssetmask", "sgetmask"}
"""Of other architectures."""


def numbers() -> dict[str, int]:
    text = HEADERS[0].read_text()
    return {name: int(number) for name, number in re.findall(r"^#define __NR_(\w+)\s+(\d+)$", text, re.MULTILINE)}


@pytest.fixture(scope="module")
def declared() -> set[str]:
    """System calls whose declarations in include/linux/syscalls.h have a signal mask."""
    if not LINUX_SOURCE.exists():
        pytest.fail(f"{LINUX_SOURCE} is missing (apt-get install linux-source)", pytrace=False)
    with tarfile.open(LINUX_SOURCE, "r|xz") as archive:
        text = next(
            file.read().decode()
            for member in archive
            if member.name.endswith("/include/linux/syscalls.h") and (file := archive.extractfile(member))
        )
    declarations = re.findall(r"asmlinkage long sys_(\w+)\(([^;]*)\);", text)
    return {name for name, arguments in declarations if re.search(r"\bsigset_t\b|__aio_sigset", arguments)}


def test_every_call_that_is_declared_with_a_mask_is_in_the_table(declared: set[str]) -> None:
    without_variants = {re.sub(r"_time32$", "", name) for name in declared} - OLD
    assert without_variants == {*SETTING, *WAITING, *LOOKING} - BEHIND_A_POINTER


def test_numbers_are_the_kernels() -> None:
    assert {name: number for name, number in numbers().items() if name in NR} == {
        name: NR[name] for name in NR if name in numbers()
    }


def test_the_headers_know_no_call_that_nobody_has_looked_at() -> None:
    assert max(numbers().values()) <= LAST_REVIEWED
