"""Enclaves by the Fortanix SGX ABI, compiled and signed once for each run of the tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.edp_image import build

SOURCES = (Path(__file__).with_name("enclave.c"), Path(__file__).with_name("entry.S"))


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("edp") / "program.sgxs", SOURCES)


@pytest.fixture(scope="session")
def notified(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program as one that may be told of AEXs."""
    return build(tmp_path_factory.mktemp("edp") / "notified.sgxs", SOURCES, aex_notify=True)


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("edp") / "library.sgxs", SOURCES, "-DLIBRARY", library=True)
