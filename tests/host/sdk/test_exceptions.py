"""The SDK's two phases of exception handling, and what becomes of a call that they do not save."""

from __future__ import annotations

from pathlib import Path

import pytest

import enclu
from enclu.host.edl import Interface
from tests.host.conftest import RESUMING
from tests.host.sdk.conftest import TCSES, Load

NOWHERE = 0x10000


@pytest.mark.parametrize("design", RESUMING)
def test_the_enclaves_handler_repairs_a_division_by_zero(
    machine: enclu.Machine, sdk_image: Path, interface: Interface, design: str
) -> None:
    seen: list[str] = []

    def see(exception: enclu.EnclaveException) -> enclu.Action:
        seen.append(exception.name)
        return enclu.Action.HANDLE

    with interface.load(machine.process(design), sdk_image, on_exception=see) as calls:
        assert calls.divide(7, 2) == 3
        assert calls.divide(7, 0) == -1
    assert seen == ["#DE"]


def test_exceptions_can_come_during_nested_ecalls(load_enclave: Load) -> None:
    enclave: enclu.Enclave = load_enclave(print=lambda text: enclave.ecall("divide", 1, 0))
    assert enclave.ecall("say", "x") == -1


def test_one_that_no_handler_repairs_is_raised_after_both_phases(load_enclave: Load) -> None:
    seen: list[int] = []

    def see(exception: enclu.EnclaveException) -> enclu.Action:
        seen.append(exception.address)
        return enclu.Action.HANDLE

    with pytest.raises(enclu.EnclaveException) as raised:
        load_enclave(see).ecall("touch", NOWHERE)
    assert seen == [NOWHERE, NOWHERE]  # the handlers have run, and the instruction once more
    assert raised.value.__notes__ == ["the enclave's exception handling returned SGX_ERROR_ENCLAVE_CRASHED"]


def test_another_tcs_goes_on_afterwards(load_enclave: Load) -> None:
    enclave = load_enclave()
    for n in range(TCSES):
        assert enclave.ecall("add", n, 1) == n + 1
        with pytest.raises(enclu.EnclaveException):
            enclave.ecall("touch", NOWHERE)
    with pytest.raises(enclu.SdkError, match="SGX_ERROR_OUT_OF_TCS"):
        enclave.ecall("add", 1, 1)


def test_the_host_may_repair_it_instead(process: enclu.Process, load_enclave: Load) -> None:
    def map_it(exception: enclu.EnclaveException) -> enclu.Action:
        page = process.syscall("mmap", exception.address & -4096, 4096, 3, 0x32, -1, 0)
        process.memory.write(page, b"\x4d")
        return enclu.Action.RESUME

    assert load_enclave(map_it).ecall("touch", NOWHERE) == 0x4D


def test_a_call_can_be_given_up(load_enclave: Load) -> None:
    enclave = load_enclave(lambda exception: enclu.Action.UNWIND)
    assert enclave.ecall("touch", NOWHERE) is None
    assert enclave.ecall("add", 1, 1) == 2


def test_what_an_ocall_raised_before_is_the_cause(load_enclave: Load) -> None:
    def broken(*args: object) -> int:
        raise KeyError("lost")

    def nested(text: bytes) -> int:
        enclave.ecall("exchange", 1)
        return 0

    enclave = load_enclave(swap=broken, print=nested)
    with pytest.raises(KeyError, match="lost"):
        enclave.ecall("say", "x")


def test_an_enclave_that_loops_is_left_in_time(process: enclu.Process, load_enclave: Load) -> None:
    enclave = load_enclave()
    with process.memory.temporary(bytes(4)) as flag, pytest.raises(enclu.EnclaveTimeout):
        enclave.ecall("spin", flag, timeout=0.2)
    assert enclave.ecall("add", 1, 1) == 2
