"""Handlers of enclaves of `enclu build` that leave for an OCALL, and hosts that do not let them come back."""

from __future__ import annotations

from pathlib import Path

import pytest

import enclu
from enclu.host.conventions.enclu_abi import SGX_CALL, Enter, Leave
from enclu.host.events import EnclaveException, Exit
from tests.host.conftest import signed_enclave


@pytest.fixture(scope="module")
def handled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return signed_enclave(Path(__file__).with_name("handled.c"), tmp_path_factory.mktemp("handled"))


def test_a_handler_may_make_ocalls(process: enclu.Process, handled: Path) -> None:
    asked: list[int] = []

    def answer(argument: int) -> int:
        asked.append(argument)
        return 1

    assert process.load(handled, ocalls={1: answer}).ecall(0) == 7
    assert asked[1] - asked[0] == 2


class Host:
    """Enters the enclave as it likes, with a struct sgx_call for each CSSA."""

    def __init__(self, process: enclu.Process, enclave: enclu.Enclave) -> None:
        self._memory = process.memory
        self._calls = [process.memory.allocate(SGX_CALL.size) for _ in range(2)]
        self._write(0, Enter.ECALL)
        self.entry = process.thread().enter(enclave.tcs[0], rdi=self._calls[0])

    def _write(self, cssa: int, enter: Enter, **fields: int) -> None:
        self._memory.write(self._calls[cssa], SGX_CALL.pack(enter=enter, **fields))

    def enter(self, enter: Enter, **fields: int) -> Leave:
        """At CSSA 1; how the enclave leaves."""
        self._write(1, enter, **fields)
        assert isinstance(self.entry.enter(rdi=self._calls[1]), Exit)
        return Leave(SGX_CALL.unpack(self._memory.read(self._calls[1], SGX_CALL.size))["exit"])


@pytest.fixture
def host(process: enclu.Process, handled: Path) -> Host:
    """The enclave stands at its second exception; its handler of the first has never come back from its OCALL."""
    host = Host(process, process.load(handled))
    assert isinstance(host.entry.event, EnclaveException)
    assert host.enter(Enter.EXCEPTION) is Leave.OCALL
    assert isinstance(host.entry.resume(), EnclaveException)
    return host


@pytest.mark.parametrize("enter", [Enter.ORET, Enter.ECALL])
def test_a_handler_whose_thread_has_been_resumed_meanwhile_is_over(host: Host, enter: Enter) -> None:
    """What it would change is another interruption, and no ECALL is served in the midst of that."""
    assert host.enter(enter, ocall_result=1) is Leave.REFUSED


def test_the_exception_that_came_then_is_handled_anew(host: Host) -> None:
    assert host.enter(Enter.EXCEPTION) is Leave.OCALL
    assert host.enter(Enter.ORET, ocall_result=1) is Leave.DONE
    assert isinstance(host.entry.resume(), Exit)
