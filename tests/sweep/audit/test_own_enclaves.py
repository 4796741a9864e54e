"""What the project ships for C, its quoting enclave and its certification enclave pass their audit."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest

import enclu
from enclu.host import signing
from enclu.host.attestation import architectural
from enclu.host.build import Layout, build_enclave
from enclu.native import extended_state
from enclu.sgx.xsave import AVX512
from enclu.sweep.audit import Report, Verdict, audit
from tests.host.conftest import signed_enclave

RUNTIME = ("entry", "exit", "exception", "cssa", "memory", "call")
ENCLAVE = """
#include "trusted.h"

uint64_t enclave_main(struct thread *thread, uint64_t function, void *argument)
{
	uint64_t *numbers = argument, copy[8];

	(void)thread;
	if (function != 0)
		return ~0ull;
	if (!is_outside(numbers, sizeof(copy)))
		return 1;
	for (int i = 0; i < 8; i++)
		copy[i] = ((volatile uint64_t *)numbers)[i];
	return copy[0] + copy[7] == 0 ? 0 : 2;
}

bool enclave_exception(struct ssa_gpr *gpr, const struct ssa_exinfo *exinfo)
{
	(void)exinfo;
	if ((gpr->exitinfo & EXITINFO_VECTOR) != 6)
		return false;
	gpr->rip += 2;
	return true;
}
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Report]:
    """Of the enclave above, with this XFRM, which may be a debug enclave."""

    @functools.cache
    def report(only: tuple[str, ...], xfrm: int = 3) -> Report:
        directory = tmp_path_factory.mktemp("own")
        source, image = directory / "enclave.c", directory / "enclave.elf"
        source.write_text(ENCLAVE)
        build_enclave([source], image, Layout(xfrm=xfrm), flags=["-mavx512f"] if xfrm & AVX512 else [])
        opened = enclu.open_image(image)
        opened.sigstruct = signing.sign(
            signing.unsigned(opened, debug=True), signing.signing_key(directory / "key.pem")
        )
        return audit(opened, only=only)

    return report


@pytest.mark.parametrize("group", RUNTIME)
def test_nothing_is_weak_in_an_enclave_of_ours(report: Callable[..., Report], group: str) -> None:
    assert report((group,)).weak == ()


def test_its_x87_registers_are_cleared_at_exit(report: Callable[..., Report]) -> None:
    """By a mark put there: the enclave's own code uses none."""
    (finding,) = report(("exit",)).of("exit/x87")

    assert "a mark" in finding.evidence


@pytest.mark.parametrize("xfrm", [3, 7, 0xE7])
def test_its_vector_registers_are_cleared_at_exit(report: Callable[..., Report], xfrm: int) -> None:
    if xfrm & ~extended_state.layout().offered:
        pytest.skip("the processor does not have them")

    (finding,) = report(("exit/vectors",), xfrm).of("exit/vectors")

    assert (finding.verdict, "a mark" in finding.evidence) == (Verdict.SOUND, True)


def test_an_exception_that_is_handled_is_not_handled_again(report: Callable[..., Report]) -> None:
    (finding,) = report(("exception",)).of("exception/handled-again")

    assert finding.verdict is Verdict.SOUND


def test_no_ecall_is_served_in_the_midst_of_another(report: Callable[..., Report]) -> None:
    (finding,) = report(("cssa",)).of("cssa/ecall-at-1")

    assert finding.verdict is Verdict.SOUND


def test_the_structure_of_a_call_is_not_read_before_its_address_is_checked(report: Callable[..., Report]) -> None:
    found = report(("pointer",)).of("pointer/parameters")

    assert [f.verdict for f in found if f.subject == "struct sgx_call"] == [Verdict.SOUND]


def test_a_function_that_checks_its_argument_is_sound(report: Callable[..., Report]) -> None:
    found = report(("pointer",)).of("pointer/parameters")

    assert [f.verdict for f in found if f.subject == "the argument of ECALL 0"] == [Verdict.SOUND]


def test_what_no_file_declares_is_undecided(report: Callable[..., Report]) -> None:
    found = report(("pointer",)).of("pointer/parameters")

    assert [f.verdict for f in found if f.subject == "arguments of ECALLs"] == [Verdict.UNDECIDED]


@pytest.mark.parametrize("name", ["qe", "pce"])
def test_the_architectural_enclaves_pass(name: str) -> None:
    assert audit(architectural.image(name)).weak == ()


def test_an_enclave_that_follows_its_argument_is_weak(tmp_path: Path) -> None:
    source = tmp_path / "enclave.c"
    source.write_text(
        '#include "trusted.h"\n'
        "uint64_t enclave_main(struct thread *thread, uint64_t function, void *argument)\n"
        "{ (void)thread; return function ? ~0ull : *(volatile uint64_t *)argument; }\n"
    )

    found = audit(signed_enclave(source, tmp_path), only=["pointer/parameters"]).weak

    assert [f.subject for f in found] == ["the argument of ECALL 0"]
