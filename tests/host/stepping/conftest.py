"""Enclaves that are stepped through."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import enclu
from tests.host.conftest import signed_enclave
from tests.host.sdk.conftest import interface, sdk_image

__all__ = ["interface", "sdk_image"]

ADD, OCALL, RDRAND, RDTSC, PUSHF, LOOP, STOS, STORE, UD = range(9)
SPIN, TOUCH, ACROSS, INT3, PAGE, MOVS, TWICE, WORD, BYTES = range(9, 18)
"""Functions of enclave.c."""
Loads = Callable[..., enclu.Enclave]


@pytest.fixture(scope="session")
def stepped_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return signed_enclave(Path(__file__).with_name("enclave.c"), tmp_path_factory.mktemp("stepping"))


@pytest.fixture
def enclave(stepping_process: enclu.Process, stepped_image: Path) -> enclu.Enclave:
    """Its OCALL doubles its argument.  What it does once is done."""
    enclave = stepping_process.load(stepped_image, debug=True, ocalls=[lambda n: 2 * n])
    enclave.ecall(ADD, 0)
    return enclave
