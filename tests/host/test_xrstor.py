"""Instructions that depend on XCR0, and the pages that they need."""

from __future__ import annotations

from pathlib import Path

import pytest

import enclu
from tests.host.conftest import signed_enclave

RESTORED, RESERVED = range(2)


@pytest.fixture(scope="module")
def restoring(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return signed_enclave(Path(__file__).with_name("xrstor.c"), tmp_path_factory.mktemp("xrstor"))


def test_an_image_that_has_been_evicted_comes_back_for_xrstor(restoring: Path) -> None:
    with enclu.Machine(epc=2 << 20) as machine, machine.process() as process:
        assert process.load(restoring).ecall(RESTORED) == 3


def test_what_an_evicted_image_should_not_have_is_gp(restoring: Path) -> None:
    with enclu.Machine(epc=2 << 20) as machine, machine.process() as process:
        enclave = process.load(restoring)
        with pytest.raises(enclu.EnclaveException, match="#GP"):
            enclave.ecall(RESERVED)
