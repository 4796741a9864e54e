"""Enclave images: one reader a format behind one interface."""

from __future__ import annotations

import os
from pathlib import Path

from enclu.host.images.elf import ElfImage
from enclu.host.images.image import Image
from enclu.host.images.intel_sdk import IntelSdkImage
from enclu.host.images.open_enclave import OpenEnclaveImage
from enclu.host.images.regions import ImageError, Pages, Region, map_file
from enclu.host.images.sgxs import SgxsImage
from enclu.host.images.source import Source, read_sigstruct

__all__ = [
    "ElfImage", "Image", "ImageError", "IntelSdkImage", "OpenEnclaveImage", "Pages", "Region", "SgxsImage",
    "open_image", "read_sigstruct",
]  # fmt: skip

FORMATS: tuple[type[Image], ...] = (SgxsImage, IntelSdkImage, OpenEnclaveImage, ElfImage)
"""In the order in which they are asked: the last takes every ELF file."""


def open_image(
    path: str | os.PathLike[str],
    sigstruct: str | os.PathLike[str] | None = None,
    metadata_version: tuple[int, int] | None = None,
) -> Image:
    """The enclave image in a file.  Raises ImageError.

    `sigstruct` is a file with the SIGSTRUCT; by default ELF and SGXS images have theirs in FILE.sig (or NAME.sig for
    NAME.sgxs) if it is there, others inside.  `metadata_version` chooses among those of an Intel SDK image.
    """
    path = Path(path)
    data = map_file(path)
    source = Source(path, data, read_sigstruct(Path(sigstruct)) if sigstruct is not None else None, metadata_version)
    for format in FORMATS:
        image = format.read(source)
        if image is not None:
            return image
    raise ImageError(path, "first bytes", bytes(data[:8]).hex() or "nothing", "neither an ELF file nor SGXS")
