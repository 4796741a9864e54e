"""Audits of enclaves by other conventions than the SDK's: what the suite's own do and do not take care of."""

from __future__ import annotations

from pathlib import Path

import pytest

from enclu.sweep.audit import Report, Verdict, audit
from tests.host.edp.conftest import library as library
from tests.host.edp.conftest import program as program
from tests.host.open_enclave.conftest import oe_image as oe_image


@pytest.fixture(scope="module")
def of_open_enclave(oe_image: Path) -> Report:
    signature = oe_image.with_name(oe_image.name + ".sig")
    return audit(oe_image, sigstruct=signature, only=["entry", "exit", "exception", "cssa", "pointer"])


@pytest.fixture(scope="module")
def of_library(library: Path) -> Report:
    return audit(library, only=["entry", "exit", "exception", "cssa", "call"])


def verdict(report: Report, item: str, subject: str = "") -> Verdict:
    (finding,) = [f for f in report.of(item) if f.subject == subject]
    return finding.verdict


def test_open_enclaves_convention_is_spoken(of_open_enclave: Report) -> None:
    assert of_open_enclave.convention == "open-enclave"


def test_an_entry_that_keeps_df_is_found_by_open_enclaves_convention(of_open_enclave: Report) -> None:
    assert verdict(of_open_enclave, "entry/df") is Verdict.WEAK


def test_an_input_buffer_in_the_enclave_is_found(of_open_enclave: Report) -> None:
    assert verdict(of_open_enclave, "pointer/parameters", "ECALL 0: input_buffer") is Verdict.WEAK


def test_an_answer_of_continue_is_no_acceptance(of_open_enclave: Report) -> None:
    """The suite's enclave answers so whatever has happened, and changes nothing."""
    assert verdict(of_open_enclave, "exception/invalid-exitinfo") is Verdict.SOUND


def test_rounding_does_not_matter_to_an_enclave_that_never_computes_with_it(of_open_enclave: Report) -> None:
    assert verdict(of_open_enclave, "entry/mxcsr") is Verdict.SOUND


def test_no_vectors_are_left_by_an_enclave_that_uses_none(of_open_enclave: Report) -> None:
    assert verdict(of_open_enclave, "exit/vectors") is Verdict.SOUND


def test_a_library_by_the_fortanix_abi_clears_its_registers(of_library: Report) -> None:
    assert verdict(of_library, "exit/registers") is Verdict.SOUND


def test_the_fortanix_abi_has_no_entry_for_exceptions(of_library: Report) -> None:
    assert {f.verdict for f in of_library.of("exception")} == {Verdict.NOT_APPLICABLE}


def test_a_program_by_the_fortanix_abi_is_entered_by_its_first_tcs(program: Path) -> None:
    assert verdict(audit(program, only=["exit/registers"]), "exit/registers") is Verdict.SOUND
