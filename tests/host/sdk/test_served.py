"""OCALLs of an enclave that libraries serve."""

from __future__ import annotations

from pathlib import Path

import pytest

import enclu
from enclu.host.edl import Interface, parse
from tests.host.sdk.conftest import HERE


@pytest.fixture
def posix() -> Interface:
    """The test enclave's interface, with OCALLs that are POSIX functions: names are not in the image."""
    text = (HERE / "enclave.edl").read_text()
    return parse(text.replace("int print(", "int ocall_puts(").replace("int open_file(", "int unlink("))


def test_a_library_that_was_asked_for_serves(
    process: enclu.Process, sdk_image: Path, posix: Interface, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    with posix.load(process, sdk_image, serve="posix") as calls:
        assert calls.say("hello") == 6
        assert calls.open(str(tmp_path / "file")) == 0
        assert calls.open(str(tmp_path / "file")) == 1000 + 2
    assert capsys.readouterr().out.startswith("hello\n")


def test_a_function_of_the_users_goes_first(process: enclu.Process, sdk_image: Path, posix: Interface) -> None:
    with posix.load(process, sdk_image, {"ocall_puts": lambda text: 77}, serve=["sgxssl", "posix"]) as calls:
        assert calls.say("hello") == 77


def test_nothing_is_served_without_being_asked_for(process: enclu.Process, sdk_image: Path, posix: Interface) -> None:
    calls = posix.load(process, sdk_image)
    with pytest.raises(enclu.HostError, match=r"OCALL `ocall_puts', for which there is no function; serve='posix'"):
        calls.say("hello")


def test_an_ocall_that_no_library_has_is_not_said_to_be_in_one(
    process: enclu.Process, sdk_image: Path, interface: Interface
) -> None:
    calls = interface.load(process, sdk_image, serve="posix")
    with pytest.raises(enclu.HostError, match=r"OCALL `print', for which there is no function$"):
        calls.say("hello")


def test_a_library_that_is_none_is_refused(process: enclu.Process, sdk_image: Path, posix: Interface) -> None:
    with pytest.raises(enclu.HostError, match="no library of OCALLs is called 'windows': posix, sgxssl"):
        posix.load(process, sdk_image, serve="windows")
    assert process.enclaves == []
