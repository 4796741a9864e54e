"""Enclaves of `enclu build --aex-notify`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import enclu
from enclu.host import signing
from tests.host.conftest import RESUMING
from tests.support.runs import enclu as command

SOURCE = Path(__file__).with_name("notified.c")
NOTIFY, OCALL, NO_MORE = 1, 2, 4


def built(directory: Path, *options: str) -> Path:
    path = directory / "notified.elf"
    done = command("build", SOURCE, "-o", path, *options)
    assert done.returncode == 0, done.stderr
    sigstruct = signing.sign(signing.unsigned(enclu.open_image(path)), signing.signing_key(directory / "key.pem"))
    path.with_name(path.name + ".sig").write_bytes(sigstruct)
    return path


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("notified"), "--aex-notify")


def test_image_and_tcses_ask_for_it(image: Path) -> None:
    shown = command("inspect", image).stdout
    assert "MODE64BIT, AEXNOTIFY" in shown
    assert enclu.open_image(image).attributes == 0x404


@pytest.mark.parametrize("design", RESUMING)
@pytest.mark.parametrize(
    ("function", "times"),
    [(0, 0), (NOTIFY, 11), (NOTIFY | OCALL, 11), (NOTIFY | NO_MORE, 10), (NOTIFY | OCALL | NO_MORE, 10)],
)
def test_the_enclave_is_notified_of_each_aex_and_goes_on(
    function: int, times: int, design: str, image: Path, machine: enclu.Machine
) -> None:
    with machine.process(delivery=design) as process:
        enclave = process.load(image, ocalls={3: lambda argument: 7})
        assert enclave.ecall(function) == times


def test_an_ecall_in_an_ocall_has_a_wish_of_its_own(image: Path, process: enclu.Process) -> None:
    inner: list[int | None] = []

    def ocall(argument: int) -> int:
        if argument:
            inner.append(enclave.ecall(0))
        return 7

    enclave = process.load(image, ocalls={3: ocall})
    assert enclave.ecall(NOTIFY | OCALL, 1) == 11
    assert inner == [0]


def test_what_a_call_asked_for_does_not_outlast_it(image: Path, process: enclu.Process) -> None:
    enclave = process.load(image)
    assert [enclave.ecall(function) for function in (NOTIFY, 0, NOTIFY)] == [11, 0, 11]


def test_paging_is_noticed_too(image: Path) -> None:
    with enclu.Machine(epc="1M") as machine, machine.process() as process:
        enclaves = [process.load(image) for _ in range(3)]
        for _ in range(3):
            for enclave in enclaves:
                assert enclave.ecall(NOTIFY) in range(11, 40)  # more where a page had to be brought back


def test_an_enclave_that_is_not_built_for_it_cannot_ask(tmp_path: Path, process: enclu.Process) -> None:
    enclave = process.load(built(tmp_path))
    assert enclave.ecall(0) == 0
    assert enclave.ecall(NOTIFY) == 2000


def test_a_host_cannot_pretend_a_notification(image: Path, tmp_path: Path, process: enclu.Process) -> None:
    """EENTER as the AEP would: nothing was interrupted."""
    raw = tmp_path / "raw.elf"
    for suffix in ("", ".sig"):
        shutil.copy(f"{image}{suffix}", f"{raw}{suffix}")
    enclave = process.load(raw, convention="registers")
    with pytest.raises(enclu.EnclaveException) as caught:
        enclave.ecall(0, 0)
    assert caught.value.vector == 6
