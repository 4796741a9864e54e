"""What an enclave's crash says: the bug is found from the message alone."""

from __future__ import annotations

from pathlib import Path

import pytest

import enclu
from tests.host.conftest import signed_enclave
from tests.support.breaking import alarm

SOURCE = Path(__file__).with_name("crashes.c")
POINTER, ILLEGAL, DIVISION, ENDLESS, OCALLS = range(5)


def line_of(comment: str) -> str:
    """crashes.c:LINE of the line with this comment."""
    lines = SOURCE.read_text().splitlines()
    (found,) = [n for n, line in enumerate(lines, 1) if f"/* {comment} */" in line]
    return f"({SOURCE.name}:{found})"


@pytest.fixture(scope="module")
def crashing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return signed_enclave(SOURCE, tmp_path_factory.mktemp("crashes"), "-g")


@pytest.fixture
def enclave(process: enclu.Process, crashing: Path) -> enclu.Enclave:
    return process.load(crashing, debug=True, ocalls=[lambda n: n])


def test_a_bad_pointer_has_symbol_file_and_line(enclave: enclu.Enclave) -> None:
    with pytest.raises(enclu.EnclaveException) as raised:
        enclave.ecall(POINTER, 0)
    assert ", in decode+0x" in str(raised.value) and f"{line_of('bad pointer')}, CSSA 0" in str(raised.value)
    assert raised.value.place is not None and raised.value.place.symbol == "decode"
    assert (raised.value.cssa, raised.value.count, raised.value.handled) == (0, 1, None)


def test_a_handler_that_does_not_advance_rip_shows_in_the_number_of_exceptions(enclave: enclu.Enclave) -> None:
    with pytest.raises(enclu.EnclaveTimeout, match=r"after \d+ exceptions: it was in .*enclave_main\+0x") as raised:
        enclave.ecall(ILLEGAL, timeout=1.0)
    assert line_of("illegal instruction") in str(raised.value)


def test_a_handler_that_faults_itself_has_both_places(enclave: enclu.Enclave) -> None:
    with pytest.raises(enclu.EnclaveException) as raised:
        enclave.ecall(DIVISION)
    said, exception = str(raised.value), raised.value
    assert said.startswith("#PF of the enclave at 0x1000")
    assert said.index(line_of("the handler's own fault")) < said.index("#DE") < said.index(line_of("division"))
    assert exception.handled is not None and exception.handled.name == "#DE"
    while exception.handled is not None:
        exception = exception.handled
    assert exception.place is not None and exception.place.symbol == "enclave_main" and exception.cssa == 0


def test_an_endless_loop_is_found_by_a_timeout(enclave: enclu.Enclave) -> None:
    with pytest.raises(enclu.EnclaveTimeout) as raised:
        enclave.ecall(ENDLESS, timeout=1.0)
    assert f"{line_of('endless')}, CSSA 0" in str(raised.value)


def test_an_endless_loop_is_found_by_ctrl_c(enclave: enclu.Enclave) -> None:
    with pytest.raises(KeyboardInterrupt) as raised, alarm(1.0):
        enclave.ecall(ENDLESS)
    (note,) = raised.value.__notes__
    assert "the ECALL is given up" in note and line_of("endless") in note and "lost" not in note


def test_a_production_enclave_does_not_tell(process: enclu.Process, crashing: Path) -> None:
    enclave = process.load(crashing, debug=False)
    with pytest.raises(enclu.EnclaveException) as raised:
        enclave.ecall(POINTER, 0)
    assert str(raised.value) == "#PF of the enclave, error code 0x4"
    assert raised.value.place is None and raised.value.cssa is None
