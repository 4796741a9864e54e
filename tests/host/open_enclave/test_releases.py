"""Enclaves of Open Enclave before 0.9: what is said of them at the start, and that nothing is mistaken."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from enclu import EnclaveException
from enclu.host.conventions.open_enclave import OeResult, OpenEnclaveConvention
from tests.host.open_enclave.calls import HEADER, QUOTE, Load, numbers, ocall, raw_ocall, results
from tests.host.open_enclave.conftest import build


@pytest.fixture(scope="session")
def named(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the names of 0.7 and 0.8."""
    renamed = [f"-Doe_sgx_{name}=oe_{name}" for name in ("get_cpuid_table_ocall", "thread_wake_wait_ocall")]
    return build(tmp_path_factory.mktemp("oe"), "named.signed", *renamed)


@pytest.fixture(scope="session")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a function that 0.5 and 0.6 had."""
    return build(
        tmp_path_factory.mktemp("oe"), "numbered.signed", "-Doe_syscall_nanosleep_ocall=oe_handle_verify_report"
    )


def test_an_enclave_of_today_is_loaded_without_a_word(load: Load, caplog: pytest.LogCaptureFixture) -> None:
    load()
    assert caplog.messages == []


def test_what_will_be_missing_is_said_when_it_is_loaded(
    load: Load, named: Path, caplog: pytest.LogCaptureFixture
) -> None:
    load(image=named)
    (message,) = caplog.messages
    assert message.startswith(f"{named}: built with Open Enclave 0.7 or 0.8; missing will be quotes and reports, sleep")
    assert "oe_get_qetarget_info_ocall, oe_get_quote_ocall" in message
    assert "oe_syscall_write_ocall" not in message and "wake_wait" not in message


def test_what_the_user_serves_is_not_missing(load: Load, named: Path, caplog: pytest.LogCaptureFixture) -> None:
    load(image=named, ocalls={"oe_get_quote_ocall": lambda data, size: None})
    assert "oe_get_qetarget_info_ocall" in caplog.text and "oe_get_quote_ocall" not in caplog.text


def test_ocalls_are_known_by_their_later_names(load: Load, named: Path) -> None:
    convention = load(image=named).convention
    assert isinstance(convention, OpenEnclaveConvention)
    assert {"oe_sgx_get_cpuid_table_ocall", "oe_sgx_thread_wake_wait_ocall"} <= set(convention.names.ocalls.values())


def test_an_ocall_that_had_other_parameters_is_unsupported(load: Load, named: Path) -> None:
    assert ocall(load(image=named), QUOTE, HEADER + bytes(8), 64)[0] == OeResult.OE_UNSUPPORTED


def test_functions_of_0_7_have_its_numbers(load: Load, named: Path, caplog: pytest.LogCaptureFixture) -> None:
    enclave, before = load(image=named), time.time_ns() // 1_000_000
    result, now = raw_ocall(enclave, 0x8006, 0)
    assert result == OeResult.OE_OK and before <= now <= time.time_ns() // 1_000_000
    assert raw_ocall(enclave, 0x8005, 1)[0] == OeResult.OE_UNSUPPORTED
    assert "OE_OCALL_SLEEP is not supported" in caplog.text


def test_functions_of_0_5_have_its_numbers(load: Load, numbered: Path, caplog: pytest.LogCaptureFixture) -> None:
    enclave = load(image=numbered)
    assert "built with Open Enclave 0.5 or 0.6; missing will be CPUID" in caplog.text
    result, address = raw_ocall(enclave, 0x8008, 64)
    assert result == OeResult.OE_OK and address
    assert raw_ocall(enclave, 0x800A, address)[0] == OeResult.OE_OK
    assert raw_ocall(enclave, 0x8005, enclave.tcs[0])[0] == OeResult.OE_OK  # THREAD_WAKE
    assert raw_ocall(enclave, 0x8001, 0)[0] == OeResult.OE_UNSUPPORTED
    assert "OE_OCALL_GET_QE_TARGET_INFO is not supported" in caplog.text
    assert raw_ocall(enclave, 0x8010, 0)[0] == OeResult.OE_NOT_FOUND


def test_handlers_of_0_5_are_not_entered_by_another_number(load: Load, numbered: Path) -> None:
    enclave = load(image=numbered)
    with pytest.raises(EnclaveException) as raised:
        enclave.ecall("undefined")
    assert raised.value.__notes__ == ["handlers of Open Enclave 0.5 or 0.6 are not called"]
    assert results(enclave.ecall("add", numbers(40, 2), 64))[0] == 42
