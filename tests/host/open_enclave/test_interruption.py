"""An exception that breaks into an ECALL of an Open Enclave enclave."""

from __future__ import annotations

from typing import Any

from tests.host.open_enclave.calls import HEADER, HOST_ADD, Load, ocall
from tests.support.breaking import sweep


def test_broken_into_anywhere_its_answers_are_right_or_a_tcs_is_lost(load: Load) -> None:
    def call(enclave: Any) -> tuple[int, bytes]:
        return ocall(enclave, HOST_ADD, HEADER, 48)

    def loaded() -> Any:
        return load(ocalls={"host_add": lambda _data, size: bytes(size)})

    times, lost = sweep(loaded, call, step=7)
    assert times > 200
    assert 0 < lost < times
