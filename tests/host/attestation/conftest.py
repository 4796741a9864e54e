"""The enclave of these tests, and a home of their own for keys and for what is built."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from enclu.host.attestation import architectural
from enclu.host.build import Layout, build_enclave
from enclu.host.images import open_image

PRODUCT = 7


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Nothing of the user's is used or changed."""
    directory = tmp_path_factory.mktemp("home")
    names = {"XDG_STATE_HOME": directory / "state", "XDG_CACHE_HOME": directory / "cache"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in names.items():
            patch.setenv(name, str(value))
        yield directory


def signed(path: Path, product: int = PRODUCT) -> Path:
    """The enclave in an ELF file, with its SIGSTRUCT next to it."""
    signature = architectural.sign(open_image(path), architectural.signing_key(), product)
    path.with_name(path.name + ".sig").write_bytes(signature)
    return path


@pytest.fixture(scope="session")
def app(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """app.c, signed."""
    return _app(tmp_path_factory.mktemp("enclaves") / "app.elf", 64)


@pytest.fixture(scope="session")
def other(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same code with another MRENCLAVE."""
    return _app(tmp_path_factory.mktemp("enclaves") / "other.elf", 65)


def _app(path: Path, spare_pages: int) -> Path:
    build_enclave([Path(__file__).with_name("app.c")], path, Layout(spare_pages=spare_pages), flags=["-Werror"])
    return signed(path)


@pytest.fixture(scope="session")
def corpus() -> Path:
    """Files that are not ours to give away: a folder named by ENCLU_CORPUS."""
    if "ENCLU_CORPUS" not in os.environ:
        pytest.skip("ENCLU_CORPUS names no folder")
    return Path(os.environ["ENCLU_CORPUS"])
