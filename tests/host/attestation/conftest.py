"""The enclave of these tests, and a home of their own for keys and for what is built."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from enclu.host.attestation import architectural
from enclu.host.build import Layout, build_enclave
from enclu.host.images import open_image

PRODUCT = 7


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nothing of the user's is used or changed."""
    return tmp_path_factory.mktemp("home")


@contextlib.contextmanager
def living_in(home: Path) -> Iterator[None]:
    """For these tests only: others, on the same worker, are about where things are kept."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(home / "state"))
        patch.setenv("XDG_CACHE_HOME", str(home / "cache"))
        yield


@pytest.fixture(scope="module", autouse=True)
def at_home(home: Path) -> Iterator[None]:
    with living_in(home):
        yield


def signed(path: Path, product: int = PRODUCT) -> Path:
    """The enclave in an ELF file, with its SIGSTRUCT next to it."""
    signature = architectural.sign(open_image(path), architectural.signing_key(), product)
    path.with_name(path.name + ".sig").write_bytes(signature)
    return path


@pytest.fixture(scope="session")
def app(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """app.c, signed."""
    with living_in(home):
        return _app(tmp_path_factory.mktemp("enclaves") / "app.elf", 64)


@pytest.fixture(scope="session")
def other(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same code with another MRENCLAVE."""
    with living_in(home):
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
