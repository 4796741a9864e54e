"""Results of OCALLs that are no pointers, and those that come late, in enclaves of `enclu build`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from enclu.sweep.audit import Finding, Verdict, audit
from tests.host.conftest import signed_enclave

ENCLAVE = """
#include "trusted.h"

static volatile uint8_t log[64][4096] __attribute__((aligned(4096)));

static uint64_t refuse(uint64_t why)
{
	for (int i = 0; i < 64; i++)
		log[i][why] += 1;
	return why;
}

uint64_t enclave_main(struct thread *thread, uint64_t function, void *argument)
{
	uint64_t result;

	if (function)
		return ~0ull;
	ocall(thread, 7, argument);
	result = ocall(thread, 8, argument);
	(void)result;
	(void)refuse;
	%s
}
"""
OutcomeOf = Callable[[str], Finding]


@pytest.fixture
def outcome_of(tmp_path: Path) -> OutcomeOf:
    """What is said of the second OCALL's result, which this code deals with."""

    def outcome(code: str) -> Finding:
        source = tmp_path / "enclave.c"
        source.write_text(ENCLAVE % code)
        found = audit(signed_enclave(source, tmp_path), only=["pointer/ocall-results"]).findings
        (finding,) = [f for f in found if f.subject == "ECALL 0: the result of OCALL 8"]
        return finding

    return outcome


def test_a_result_that_comes_late_is_followed(outcome_of: OutcomeOf) -> None:
    assert outcome_of("return *(volatile uint64_t *)result;").verdict is Verdict.WEAK


@pytest.mark.parametrize(
    "code",
    [
        "return result > 4096 ? refuse(1) : result;",
        "return (int64_t)result < 0 ? refuse(1) : result;",
        "return result ? result : refuse(1);",
        "return result % 2 ? refuse(1) : result;",
        "return result * 3;",
        "if (result > 4096) __builtin_trap(); return result;",
    ],
)
def test_a_number_that_is_refused_is_no_pointer(outcome_of: OutcomeOf, code: str) -> None:
    """Be that for being large, negative, zero or odd: what the enclave writes of it is no touch of what it leads to."""
    assert outcome_of(code).verdict is Verdict.SOUND


def test_a_crash_at_address_0_is_not_what_null_leads_to(outcome_of: OutcomeOf) -> None:
    code = "if (!result) *(volatile int *)0 = 1; return result;"

    assert outcome_of(code).verdict is Verdict.SOUND


@pytest.mark.parametrize(
    ("code", "evidence"),
    [
        ("return result ? *(volatile uint64_t *)result : 0;", "inside ("),
        ("return result >> 32 ? result : *(volatile uint64_t *)result;", "NULL ("),
        ("return ((uint64_t (*)(void))result)();", "it jumps there"),
        ("return result >> 48 ? ((uint64_t (*)(void))result)() : 0;", "it leads the enclave astray"),
    ],
)
def test_a_result_that_leads_somewhere_is_found(outcome_of: OutcomeOf, code: str, evidence: str) -> None:
    found = outcome_of(code)

    assert (found.verdict, evidence in found.evidence) == (Verdict.WEAK, True), found
