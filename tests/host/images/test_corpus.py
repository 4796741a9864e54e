"""Real enclaves, where there are some: every file below the directory ENCLU_CORPUS measures to its SIGSTRUCT."""

import os
from pathlib import Path

import pytest

from enclu.host import signing
from enclu.host.images import ImageError, IntelSdkImage, open_image
from enclu.host.inspection import Inspection

UNSIGNED = "not signed yet"
CORPUS = os.environ.get("ENCLU_CORPUS")
FILES = sorted(
    str(path) for path in (Path(CORPUS).rglob("*") if CORPUS else ())
    if path.is_file() and path.open("rb").read(8)[:4] in (b"\x7fELF", b"ECRE")
)  # fmt: skip


@pytest.mark.skipif(CORPUS is None, reason="ENCLU_CORPUS names no directory with real enclaves")
def test_there_are_enclaves_in_the_corpus() -> None:
    assert FILES


@pytest.mark.timeout(600)
@pytest.mark.parametrize("path", FILES)
def test_a_real_enclave_measures_to_its_sigstruct_and_verifies(path: str) -> None:
    try:
        image = open_image(path)
    except ImageError as error:
        if UNSIGNED in str(error) or "not an enclave" in str(error):
            pytest.skip(str(error))
        raise
    if image.sigstruct is None:
        pytest.skip(f"{path}: no SIGSTRUCT")
    assert Inspection(image).problems == []
    for other in image.other_versions() if isinstance(image, IntelSdkImage) else []:
        assert other.sigstruct is not None
        assert signing.verify(other.sigstruct, other.mrenclave()) == []
