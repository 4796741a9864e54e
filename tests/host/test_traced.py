"""Traces of processes that Python has started."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

import enclu
from tests.host.conftest import DESIGNS, WITH_REGISTERS, traced

ADD, OCALL = 0, 1


@pytest.mark.parametrize("design", DESIGNS)
def test_calls_have_their_numbers(design: str, machine: enclu.Machine, image: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.json"
    with machine.process(design, trace=log) as process:
        enclave = process.load(image, ocalls=[lambda argument: enclave.ecall(ADD, argument)])
        assert [enclave.ecall(OCALL, number) for number in range(3)] == [1, 2, 3]
    found = Counter((call["kind"], call.get("number")) for call in traced(log))
    assert found["ocall", 0] == found["ocall_return", None] == 3
    assert found["ecall_return", OCALL] == found["ecall_return", ADD] == 3
    if design in WITH_REGISTERS:
        assert found["ecall", OCALL] == found["ecall", ADD] == 3


def test_a_trace_that_cannot_be_written_is_said(machine: enclu.Machine, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(enclu.HostError):
        machine.process(trace="/nowhere/log")
    assert "cannot write the trace to /nowhere/log" in capfd.readouterr().err
