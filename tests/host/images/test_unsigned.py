"""Images that cannot be loaded as they are: what is to be done is said."""

from __future__ import annotations

from pathlib import Path

import pytest

import enclu
from tests.support import enclave_images


def test_an_image_of_the_sdks_simulation_mode_is_refused_with_the_way_out(
    process: enclu.Process, tmp_path: Path
) -> None:
    path = enclave_images.sdk_image(tmp_path / "enclave.signed.so", simulation=True)
    with pytest.raises(enclu.HostError, match=r"simulation mode.*build it anew with SGX_MODE=HW .*sign it again"):
        process.load(path)
    assert process.enclaves == []


def test_an_image_of_open_enclave_without_sigstruct_is_refused_with_its_tool(
    process: enclu.Process, tmp_path: Path
) -> None:
    path = enclave_images.oe_image(tmp_path / "an enclave")
    with pytest.raises(enclu.HostError, match=rf"`oesign sign -e '{path}' -c CONFIG -k KEY\.pem` makes it, or"):
        process.load(path)
