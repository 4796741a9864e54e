"""The proof enclave: sound, or with weaknesses that it is asked to have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import enclu
from enclu.host.edl import Interface, load
from tests.host.conftest import machine as machine
from tests.host.conftest import process as process
from tests.host.conftest import stepping_process as stepping_process
from tests.sweep.build import ENCLAVES as ENCLAVES
from tests.sweep.build import OF_THE_IMAGE as OF_THE_IMAGE
from tests.sweep.build import WEAKNESSES as WEAKNESSES
from tests.sweep.build import proof

ProofEnclave = Callable[..., Path]
Load = Callable[..., enclu.Enclave]


@pytest.fixture(scope="session")
def proof_enclave(tmp_path_factory: pytest.TempPathFactory) -> ProofEnclave:
    """Builds and signs it, once for each combination: `debug` tells whether it may be a debug enclave."""
    directory = tmp_path_factory.mktemp("proof")
    built: dict[tuple[frozenset[str], bool, bool], Path] = {}

    def proof_enclave(*weaknesses: str, debug: bool = False, aex_notify: bool = False) -> Path:
        key = frozenset(weaknesses), debug, aex_notify
        if key not in built:
            path = directory / f"{len(built)}.elf"
            built[key] = proof(path, *weaknesses, debug=debug, aex_notify=aex_notify)
        return built[key]

    return proof_enclave


@pytest.fixture(scope="session")
def interface() -> Interface:
    return load(ENCLAVES / "enclave.edl")


@pytest.fixture
def load_proof(process: enclu.Process, proof_enclave: ProofEnclave, interface: Interface) -> Load:
    """Builds and loads it, with OCALLs by name."""

    def loaded(
        *weaknesses: str, debug: bool = False, aex_notify: bool = False, on_exception: Any = None,
        **ocalls: Callable[..., Any],
    ) -> enclu.Enclave:  # fmt: skip
        return process.load(
            proof_enclave(*weaknesses, debug=debug, aex_notify=aex_notify), debug=debug,
            convention=interface.convention(), ocalls=ocalls, on_exception=on_exception,
        )  # fmt: skip

    return loaded
