"""An image of each format, made once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from enclu.host.build import Layout, build_enclave
from tests.support import enclave_images

FORMATS = ("elf", "sgxs", "intel-sdk", "open-enclave")


@pytest.fixture(scope="session")
def image_file(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """image_file(format): not to be changed."""
    folder = tmp_path_factory.mktemp("images")

    def make(name: str) -> Path:
        path = folder / name / "enclave.so"
        if not path.exists():
            path.parent.mkdir()
            if name == "elf":
                source = path.with_name("enclave.c")
                source.write_text("long enclave_main(long f, void *a) { return a ? f : 0; }\n")
                build_enclave([source], path, Layout(threads=2, stack_pages=1, heap_pages=3, spare_pages=2))
            elif name == "sgxs":
                path.write_bytes(enclave_images.sgxs())
            elif name == "intel-sdk":
                enclave_images.sdk_image(path)
            else:
                enclave_images.oe_image(path)
        return path

    return make
