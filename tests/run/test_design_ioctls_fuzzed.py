"""The designs' ioctls under whatever programs may do with them: errno values, and a supervisor that lives on."""

from __future__ import annotations

import re

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from enclu.linux import delivery
from tests.run.conftest import C_SOURCES, ROOT, Passes

RUNS, CALLS = 4, 2600
HEADER = ROOT / "src" / "enclu" / "include" / "enclu_sgx.h"


def test_the_program_knows_every_ioctl() -> None:
    defined = set(re.findall(r"#define (ENCLU_SGX_IOC_\w+)", HEADER.read_text()))
    assert defined == set(re.findall(r"ENCLU_SGX_IOC_\w+", (C_SOURCES / "programs/design_ioctls_fuzzed.c").read_text()))


@pytest.mark.parametrize("choice", delivery.choices())
def test_ten_thousand_calls_get_zero_or_an_errno(choice: str, passes: Passes) -> None:
    """From one to six threads, which fork and exec in between."""
    made = 0

    @given(st.integers(0, 2**32 - 1), st.integers(1, 6))
    @settings(
        max_examples=RUNS, suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.reuse, Phase.generate],
    )  # fmt: skip
    def fuzz(seed: int, threads: int) -> None:
        nonlocal made
        calls = CALLS // threads * threads + threads
        options = ("--delivery", choice, *(("--stepping",) if seed % 2 else ()))
        done = passes("design_ioctls_fuzzed", str(seed), str(calls), str(threads), options=options)
        assert done.stderr == ""
        told = re.search(r"^# (\d+) calls$", done.stdout, re.MULTILINE)
        assert told is not None, done.stdout
        made += int(told[1])

    fuzz()
    assert made >= 10_000
