"""Enclaves that others have built: every one in the directory that ENCLU_CORPUS names is loaded and entered."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import enclu
from enclu.host.conventions.open_enclave import OpenEnclaveConvention
from enclu.host.images import Image, OpenEnclaveImage, SgxsImage
from enclu.host.images.edp import is_edp
from enclu.sgx.structs import Attribute

CORPUS = os.environ.get("ENCLU_CORPUS")
LARGEST = 1 << 30
"""Bytes of an enclave that is tried; larger ones take minutes."""
pytestmark = [
    pytest.mark.skipif(CORPUS is None, reason="ENCLU_CORPUS names no directory with enclaves of others"),
    pytest.mark.timeout(600),
]


def images(kind: type[Image]) -> Iterator[Image]:
    for path in sorted(Path(CORPUS or "/nonexistent").rglob("*")):
        if not path.is_file():
            continue
        try:
            image = enclu.open_image(path)
        except enclu.HostError:
            continue
        launches = image.attributes & Attribute.EINITTOKEN_KEY  # Linux's driver loads no launch enclaves
        if isinstance(image, kind) and image.size <= LARGEST and image.sigstruct is not None and not launches:
            yield image


def parameters(kind: type[Image]) -> list[object]:
    if CORPUS is None:
        return [pytest.param(None, id="none")]
    return [pytest.param(image, id=str(image.path.relative_to(CORPUS))) for image in images(kind)]


@pytest.mark.parametrize("image", parameters(OpenEnclaveImage))
def test_open_enclaves_enclaves_answer_an_ecall_of_the_runtime(image: Image) -> None:
    with enclu.Machine(epc="128M") as machine, machine.process() as process, process.load(image) as enclave:
        convention = enclave.convention
        assert isinstance(convention, OpenEnclaveConvention)
        assert convention.names.ecalls
        reports = [name for name in convention.names.ecalls if name.startswith("oe_get_sgx_report")]
        for name in reports:
            # The structure says that there is no room for a report, and the enclave that it has understood it.
            assert enclave.ecall(name, timeout=60)[24:28] == (2).to_bytes(4, "little")


@pytest.mark.parametrize("image", parameters(OpenEnclaveImage))
def test_open_enclaves_enclaves_return_from_every_ecall(image: Image) -> None:
    with enclu.Machine(epc="128M") as machine, machine.process() as process, process.load(image) as enclave:
        assert isinstance(enclave.convention, OpenEnclaveConvention)
        for name in filter(None, enclave.convention.names.ecalls):
            try:
                enclave.ecall(name, timeout=20)
            except enclu.HostError:
                assert process.alive


@pytest.mark.parametrize("image", parameters(SgxsImage))
def test_sgxs_enclaves_are_entered(image: Image) -> None:
    with enclu.Machine(epc="128M") as machine, machine.process() as process, process.load(image) as enclave:
        try:
            if is_edp(image):
                assert enclave.run(["program"], timeout=60) in (0, 1)
            else:
                assert enclave.ecall(0, timeout=20) is not None
        except enclu.EnclaveException as exception:
            assert exception.enclave is enclave
