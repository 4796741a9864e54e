"""Memory management: pages added, protected, removed and made TCSes of while the enclave runs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import enclu
from enclu.host.conventions.sdk.abi import FEATURES_EDMM, SdkVersion, SystemFeatures
from enclu.host.edl import Interface
from enclu.host.images.intel_sdk import RunTime
from tests.host.sdk.conftest import SPARE, TCSES, Load

PAGE = 4096
INVALID_ADDRESS = 0xD
MADE = 8
"""Pages of a TCS and what belongs to it, as make_tcs() of trts.c has them."""


def spare(enclave: enclu.Enclave, page: int = 0) -> int:
    """The address of one of the spare pages."""
    (offset, size), *_ = [region for region in enclave.image.reserved if region[1] >= SPARE * PAGE]
    assert size >= SPARE * PAGE
    return enclave.base + offset + page * PAGE


@pytest.fixture
def managed(process: enclu.Process, sdk_image: Path, interface: Interface) -> Load:
    """Loads the enclave as one that manages its memory, with room for two TCSes more."""

    def load(**ocalls: Callable[..., object]) -> enclu.Enclave:
        image = enclu.open_image(sdk_image)
        (offset, _), *_ = image.reserved
        managed = RunTime(edmm=True, dynamic_tcs=(offset, offset + MADE * PAGE))
        convention = type("Managed", (interface.convention(),), {"run_time": managed})
        return process.load(image, convention=convention, ocalls=ocalls)

    return load


def test_pages_are_added(load_enclave: Load) -> None:
    enclave = load_enclave()
    assert enclave.ecall("add_page", spare(enclave)) == 0
    assert enclave.ecall("touch", spare(enclave)) == 0x5A


def test_pages_outside_of_the_enclave_are_not(load_enclave: Load) -> None:
    assert load_enclave().ecall("add_page", 0x10000) == INVALID_ADDRESS


def test_a_protected_page_can_be_read_only(load_enclave: Load) -> None:
    enclave = load_enclave()
    enclave.ecall("add_page", spare(enclave))
    assert enclave.ecall("protect_page", spare(enclave)) == 0
    assert enclave.ecall("touch", spare(enclave)) == 0x5A
    with pytest.raises(enclu.EnclaveException):
        enclave.ecall("squares", spare(enclave), 1)  # writes there


def test_a_removed_page_is_gone(load_enclave: Load) -> None:
    enclave = load_enclave()
    enclave.ecall("add_page", spare(enclave))
    assert enclave.ecall("remove_page", spare(enclave)) == 0
    with pytest.raises(enclu.EnclaveException):
        enclave.ecall("touch", spare(enclave))


def test_the_enclave_is_told_that_it_can_manage_its_memory(managed: Load) -> None:
    features = SystemFeatures()
    managed().ecall("features", features, 176)
    assert features.version == SdkVersion.SDK_VERSION_3_0
    assert features.system_feature_set & FEATURES_EDMM


def test_tcses_are_made_when_threads_need_them(managed: Load) -> None:
    enclave = managed()
    threads = TCSES - 1 + 2  # one is kept for the making
    arrived = threading.Barrier(threads)
    seen: list[int] = []

    def count() -> None:
        enclave.ecall("count")
        arrived.wait()
        seen.append(enclave.ecall("own_tcs"))
        arrived.wait()

    running = [threading.Thread(target=count) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert len(set(seen)) == threads
    assert {spare(enclave), spare(enclave, MADE)} < set(seen)


def test_the_enclave_hears_of_its_end(managed: Load) -> None:
    said: list[bytes] = []

    def say(text: bytes) -> int:
        said.append(text)
        return 0

    managed(print=say).unload()
    assert said == [b"good-bye"]


def test_an_enclave_is_not_unloaded_during_a_call(managed: Load) -> None:
    def unload(text: bytes) -> int:
        enclave.unload()
        return 0

    enclave = managed(print=unload)
    with pytest.raises(enclu.HostError, match="a call is under way"):
        enclave.ecall("say", "x")
