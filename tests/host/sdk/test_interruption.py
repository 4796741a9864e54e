"""An exception that breaks into an ECALL of an SDK enclave."""

from __future__ import annotations

from typing import Any

from tests.host.sdk.conftest import Load
from tests.support.breaking import Broken, sweep


def test_broken_into_anywhere_its_answers_are_right_or_a_tcs_is_lost(load_enclave: Load) -> None:
    def call(enclave: Any) -> tuple[int, int]:
        return enclave.ecall("add", 40, 2), enclave.ecall("say", "text")

    times, lost = sweep(lambda: load_enclave(print=lambda text: len(text)), call, step=7)
    assert times > 300
    assert 0 < lost < times / 2


def test_what_an_ocall_raises_that_is_no_exception_is_raised_when_the_ecall_is_over(load_enclave: Load) -> None:
    def leave(_text: bytes) -> int:
        raise Broken

    enclave = load_enclave(print=leave)
    for n in range(2 * len(enclave.tcs)):
        try:
            enclave.ecall("say", "text")
        except Broken:
            assert enclave.ecall("add", n, 2) == n + 2
    assert not enclave.lost
