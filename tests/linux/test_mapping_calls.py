"""The tables of calls and of advice, against the kernel's headers that are installed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from enclu.base.abi import NR
from enclu.linux.madvise import ADVICE, refusal
from enclu.linux.mapping_calls import MAPPING_CALLS, REVIEWED, Effect

HEADERS = (Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), Path("/usr/include/asm/unistd_64.h"))
MMAN = Path("/usr/include/asm-generic/mman-common.h")


def _system_calls() -> dict[str, int]:
    header = next(path for path in HEADERS if path.exists())
    return {name: int(nr) for name, nr in re.findall(r"__NR_(\w+)\s+(\d+)", header.read_text())}


def test_no_system_call_of_the_headers_is_newer_than_the_table() -> None:
    assert {name for name, number in _system_calls().items() if number > REVIEWED} == set()


def test_calls_named_for_memory_are_in_the_table() -> None:
    about = re.compile(
        r"^(m(map|unmap|protect|remap|advise|sync|incore|lock|unlock|seal)|pkey_|process_m|remap_|shm(at|dt)|userf|brk)"
    )
    assert {name for name in _system_calls() if about.match(name)} - set(MAPPING_CALLS) == set()


def test_numbers_are_the_headers() -> None:
    there = _system_calls()
    assert {name: number for name, number in NR.items() if there.get(name, number) != number} == {}


def test_calls_that_are_answered_have_numbers() -> None:
    answered = {name for name, effect in MAPPING_CALLS.items() if effect is Effect.ANSWERED}
    assert answered - set(NR) == {"userfaultfd"}


def test_all_advice_of_the_headers_is_known() -> None:
    found = re.findall(r"#define (MADV_\w+)\s+(\d+)", MMAN.read_text())
    assert found
    assert [name for name, number in found if int(number) not in ADVICE] == []


@pytest.mark.parametrize("advice", [-1, 5, 26, 104, 1 << 31])
def test_unknown_advice_is_refused(advice: int) -> None:
    assert refusal(advice) == 22
