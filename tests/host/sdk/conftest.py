"""An enclave with a trusted runtime of its own that speaks as the SDK's does, compiled and signed once for each run."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import enclu
from enclu.host import signing
from enclu.host.build import FLAGS
from enclu.host.edl import Interface, load

HERE = Path(__file__).parent
TCSES = 3
SPARE = 16
"""Pages of addresses at the enclave's end, as entry.S declares."""
Load = Callable[..., enclu.Enclave]


@pytest.fixture(scope="session")
def sdk_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sdk") / "enclave.elf"
    script = f"-Wl,-T,{enclu.enclave_dir() / 'enclave.lds'}"
    sources = [str(HERE / "entry.S"), str(HERE / "trts.c")]
    subprocess.run(
        ["gcc", *FLAGS, "-mgeneral-regs-only", f"-DTCSES={TCSES}", script, *sources, "-o", str(path)], check=True
    )
    sigstruct = signing.sign(signing.unsigned(enclu.open_image(path)), signing.signing_key(path.with_name("key.pem")))
    path.with_name(path.name + ".sig").write_bytes(sigstruct)
    return path


@pytest.fixture(scope="session")
def interface() -> Interface:
    return load(HERE / "enclave.edl")


@pytest.fixture
def load_enclave(process: enclu.Process, sdk_image: Path, interface: Interface) -> Iterator[Load]:
    """Loads it, with OCALLs by name."""

    def loaded(on_exception: Any = None, **ocalls: Callable[..., Any]) -> enclu.Enclave:
        return process.load(sdk_image, convention=interface.convention(), ocalls=ocalls, on_exception=on_exception)

    yield loaded
