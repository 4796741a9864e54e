"""AEX-Notify's mitigation, and what a host that steps through an enclave gets in spite of it."""

from __future__ import annotations

import pytest

import enclu
from enclu.host.conventions.sdk import SdkError
from enclu.host.edl import Interface
from enclu.host.steps import RunTo, Stop
from enclu.sweep.behaviour import Behaviour
from enclu.sweep.outcome import Kind, Point
from enclu.sweep.session import Session
from tests.sweep.conftest import ProofEnclave

SEED, ROUNDS = 5, 10
CODE = 4 * 4096
"""Bytes of the enclave's code, at least."""
LAST_OF_HANDLER = bytes.fromhex("59 58 9d c2 80 00")
"""POP RCX, POP RAX, POPFQ, RET 128: AEXNOTIFY has just been set again."""


def load(process: enclu.Process, path: ProofEnclave, interface: Interface, *, notified: bool) -> enclu.Enclave:
    return process.load(path(aex_notify=notified), convention=interface.convention())


@pytest.fixture
def process(machine: enclu.Machine) -> enclu.Process:
    return machine.process(stepping=True)


@pytest.mark.parametrize("notified", [False, True])
def test_one_interrupt_changes_nothing_wherever_it_comes(
    process: enclu.Process, proof_enclave: ProofEnclave, interface: Interface, notified: bool
) -> None:
    enclave = load(process, proof_enclave, interface, notified=notified)
    session = Session(enclave, lambda enclave: enclave.ecall("compute", SEED, ROUNDS))
    session.prepare()
    points: list[Point] = []
    session.sweep(Behaviour.parse("int:resume"), range(0, len(session.rips), 5), points.append)
    assert {point.outcome.kind for point in points} == {Kind.SAME}
    assert [point.rip for point in points] == session.rips[::5]


def test_without_it_a_host_steps_through_every_instruction(
    process: enclu.Process, proof_enclave: ProofEnclave, interface: Interface
) -> None:
    enclave = load(process, proof_enclave, interface, notified=False)
    session = Session(enclave, lambda enclave: enclave.ecall("compute", SEED, ROUNDS))
    session.prepare()
    session.close()
    seen: list[int] = []
    enclave.step("compute", SEED, ROUNDS, on_step=lambda stop: seen.append(stop.rip - enclave.base))
    assert seen == session.rips


def test_a_host_that_interrupts_the_end_of_its_handler_keeps_an_enclave_from_its_work(
    process: enclu.Process, proof_enclave: ProofEnclave, interface: Interface
) -> None:
    """It is notified anew each time, deeper in its stack, until there is no stack left and it refuses."""
    enclave = load(process, proof_enclave, interface, notified=True)
    end = enclave.base + enclave.stepping.read(enclave.base, CODE).index(LAST_OF_HANDLER)
    stops: list[int] = []

    def again(stop: Stop) -> RunTo:
        stops.append(stop.rip)
        return RunTo(end)

    with pytest.raises(SdkError, match=r"compute\(\): SGX_ERROR_UNEXPECTED"):
        enclave.step("compute", SEED, ROUNDS, at=100, on_step=again)
    assert set(stops[1:]) == {end} and len(stops) > 10
