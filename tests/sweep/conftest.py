"""The proof enclave: sound, or with weaknesses that it is asked to have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import enclu
from enclu.host.edl import Interface, load
from enclu.sgx.structs import Attribute
from tests.host.conftest import machine as machine
from tests.host.conftest import process as process
from tests.host.sdk.conftest import LAYOUT, build

ENCLAVES = Path(__file__).parent / "enclaves"
XFRM = 7
WRITABLE_CODE = "WX_PAGES"
"""Of the layout, the others being of the sources."""
WEAKNESSES = (
    "OLD_ORDER", "KEEPS_DF", "KEEPS_AC", "KEEPS_NT", "KEEPS_MXCSR", "KEEPS_X87_CW", "KEEPS_X87_TAGS", "LEAVES_GPRS",
    "LEAVES_FLAGS", "LEAVES_VECTORS", "LEAVES_X87", "ACCEPTS_INVALID_EXITINFO", "ACCEPTS_ANY_VECTOR",
    "REENTERS_HANDLER", "POINTER_INSIDE", "POINTER_STRADDLES", "POINTER_NULL", "DOUBLE_FETCH", "BEFORE_INIT",
    "OCALL_RESULT_UNCHECKED",
)  # fmt: skip
"""What the enclave can be built with, WX_PAGES besides."""
ProofEnclave = Callable[..., Path]
Load = Callable[..., enclu.Enclave]


@pytest.fixture(scope="session")
def proof_enclave(tmp_path_factory: pytest.TempPathFactory) -> ProofEnclave:
    """Builds and signs it, once for each combination: `debug` tells whether it may be a debug enclave."""
    directory = tmp_path_factory.mktemp("proof")
    layout = directory / "writable.lds"
    layout.write_text(LAYOUT.read_text().replace("FLAGS(6)", "FLAGS(7)"))
    built: dict[tuple[frozenset[str], bool, bool], Path] = {}

    def proof_enclave(*weaknesses: str, debug: bool = False, aex_notify: bool = False) -> Path:
        unknown = set(weaknesses) - {*WEAKNESSES, WRITABLE_CODE}
        if unknown:
            raise ValueError(f"no weaknesses: {', '.join(sorted(unknown))}")
        key = frozenset(weaknesses), debug, aex_notify
        if key not in built:
            built[key] = build(
                directory / f"{len(built)}.elf", [ENCLAVES / "entry.S", ENCLAVES / "trts.c"],
                *(f"-D{name}={int(name in weaknesses)}" for name in WEAKNESSES),
                script=layout if WRITABLE_CODE in weaknesses else LAYOUT,
                attributes=Attribute.MODE64BIT | (Attribute.AEXNOTIFY if aex_notify else 0), xfrm=XFRM, debug=debug,
            )  # fmt: skip
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
