"""An enclave by Open Enclave's conventions, compiled and signed once for each run of the tests."""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

import enclu
from enclu.host.signing import sign
from enclu.sgx.structs import SIGSTRUCT, SIGSTRUCT_HEADER, SIGSTRUCT_HEADER2
from tests.host.open_enclave.calls import Load

HERE = Path(__file__).parent
FLAGS = (
    "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-clobbered", "-ffreestanding", "-fPIC", "-fvisibility=hidden",
    "-fno-stack-protector", "-fcf-protection=none", "-fno-jump-tables", "-fno-tree-loop-distribute-patterns",
    "-fno-asynchronous-unwind-tables", "-mno-sse", "-nostdlib", "-shared", "-Wl,-e,oe_enter", "-Wl,-z,noexecstack",
    "-Wl,-z,norelro", "-Wl,-z,max-page-size=4096", "-Wl,--build-id=none",
)  # fmt: skip
EXPORTS = "{ global: _td_from_tcs_offset; _reloc_rva; _reloc_size; _enclave_rva; local: *; };\n"
"""What the loader fills in."""


def build(directory: Path, name: str, *flags: str) -> Path:
    """The enclave, signed: the SIGSTRUCT is in NAME.sig."""
    image, exports = directory / name, directory / "exports"
    exports.write_text(EXPORTS)
    subprocess.run(
        ["gcc", *FLAGS, *flags, f"-Wl,--version-script={exports}", HERE / "enclave.c", HERE / "entry.S", "-o", image],
        check=True,
    )
    key = rsa.generate_private_key(3, 3072)
    values = {
        "HEADER": SIGSTRUCT_HEADER, "HEADER2": SIGSTRUCT_HEADER2, "DATE": 0x20260101, "EXPONENT": 3,
        "MISCMASK": 0, "ATTRIBUTES": 6, "ATTRIBUTEMASK": (1 << 64) - 3, "XFRM": 3, "XFRMMASK": 3,
        "ENCLAVEHASH": enclu.open_image(image).mrenclave(),
    }  # fmt: skip
    image.with_name(name + ".sig").write_bytes(sign(SIGSTRUCT.pack(**values), key))
    return image


@pytest.fixture(scope="session")
def oe_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("oe"), "enclave.signed")


@pytest.fixture(scope="session")
def with_tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As enclaves were before 0.11."""
    return build(tmp_path_factory.mktemp("oe"), "tables.signed", "-DTABLES")


@pytest.fixture(scope="session")
def stripped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("oe"), "stripped.signed", "-s")


@pytest.fixture(scope="module")
def processes() -> Iterator[Callable[[str], enclu.Process]]:
    """One for each design."""
    with enclu.Machine() as machine:
        yield functools.cache(machine.process)


@pytest.fixture
def load(oe_image: Path, processes: Callable[[str], enclu.Process]) -> Iterator[Load]:
    loaded: list[enclu.Enclave] = []

    def load(design: str = "vdso", image: Path = oe_image, **named: Any) -> enclu.Enclave:
        sigstruct = image.with_name(image.name + ".sig")
        loaded.append(processes(design).load(image, sigstruct=sigstruct, **named))
        return loaded[-1]

    yield load
    for enclave in loaded:
        enclave.unload()


@pytest.fixture
def enclave(load: Load) -> enclu.Enclave:
    return load()
