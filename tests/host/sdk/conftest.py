"""An enclave with a trusted runtime of its own that speaks as the SDK's does, compiled and signed once for each run."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import enclu
from enclu.host import signing
from enclu.host.build import FLAGS
from enclu.host.edl import Interface, load
from enclu.sgx.structs import Attribute

HERE = Path(__file__).parent
LAYOUT = enclu.enclave_dir() / "enclave.lds"
TCSES = 3
SPARE = 16
"""Pages of addresses at the enclave's end, as protocol.S declares."""
Load = Callable[..., enclu.Enclave]


def build(
    path: Path, sources: Sequence[Path], *flags: str, script: Path = LAYOUT, attributes: int = Attribute.MODE64BIT,
    xfrm: int = 3, debug: bool | None = None,
) -> Path:  # fmt: skip
    """An enclave of these sources, protocol.c and edmm.c, signed; `debug` is as in `signing.unsigned`."""
    directories = HERE, enclu.enclave_dir()
    parts = *sources, HERE / "protocol.c", HERE / "edmm.c", enclu.enclave_dir() / "memory.c"
    subprocess.run(
        ["gcc", *FLAGS, "-mgeneral-regs-only", *(f"-I{directory}" for directory in directories), f"-DTCSES={TCSES}",
         f"-DATTRIBUTES={int(attributes):#x}", f"-DXFRM={xfrm:#x}", *flags, f"-Wl,-T,{script}", *map(str, parts),
         "-o", str(path)],
        check=True,
    )  # fmt: skip
    unsigned = signing.unsigned(enclu.open_image(path), debug=debug)
    sigstruct = signing.sign(unsigned, signing.signing_key(path.with_name("key.pem")))
    path.with_name(path.name + ".sig").write_bytes(sigstruct)
    return path


@pytest.fixture(scope="session")
def sdk_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("sdk") / "enclave.elf", [HERE / "entry.S", HERE / "trts.c"])


@pytest.fixture(scope="session")
def interface() -> Interface:
    return load(HERE / "enclave.edl")


@pytest.fixture
def load_enclave(process: enclu.Process, sdk_image: Path, interface: Interface) -> Iterator[Load]:
    """Loads it, with OCALLs by name."""

    def loaded(on_exception: Any = None, **ocalls: Callable[..., Any]) -> enclu.Enclave:
        return process.load(sdk_image, convention=interface.convention(), ocalls=ocalls, on_exception=on_exception)

    yield loaded
