"""Enclave images: one reader a format behind one interface."""

from __future__ import annotations

import os
from pathlib import Path

from enclu.base import files
from enclu.host.images.elf import ElfImage
from enclu.host.images.elf_file import MAGIC as ELF_MAGIC
from enclu.host.images.elf_file import ElfFile
from enclu.host.images.image import Image
from enclu.host.images.intel_sdk import SECTION as SDK_SECTION
from enclu.host.images.intel_sdk import IntelSdkImage
from enclu.host.images.open_enclave import SECTION as OE_SECTION
from enclu.host.images.open_enclave import OpenEnclaveImage, candidates
from enclu.host.images.regions import ImageError, Pages, Region, map_file
from enclu.host.images.sgxs import ECREATE, UNSIZED, SgxsImage
from enclu.sgx.structs import SIGSTRUCT

__all__ = [
    "ElfImage", "Image", "ImageError", "IntelSdkImage", "OpenEnclaveImage", "Pages", "Region", "SgxsImage",
    "open_image", "read_sigstruct",
]  # fmt: skip


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
    given = read_sigstruct(Path(sigstruct)) if sigstruct is not None else None
    if data[:8] in (ECREATE, UNSIZED):
        return SgxsImage(path, data, given or _beside(path))
    if data[:4] != ELF_MAGIC:
        raise ImageError(path, "first bytes", bytes(data[:8]).hex() or "nothing", "neither an ELF file nor SGXS")
    elf = ElfFile(path, data)
    if elf.section(SDK_SECTION) is not None:
        return IntelSdkImage(path, data, given, metadata_version)
    if elf.section(OE_SECTION) is not None:
        return _open_enclave(path, elf, given)
    return ElfImage(path, data, given or _beside(path))


def _open_enclave(path: Path, elf: ElfFile, sigstruct: bytes | None) -> Image:
    """The image as the loader for which it was signed has it; its SIGSTRUCT tells which that is."""
    images = [OpenEnclaveImage(path, elf.data, sigstruct, loader) for loader in candidates(elf)]
    for image in images:
        if image.sigstruct is not None and SIGSTRUCT.get(image.sigstruct, "ENCLAVEHASH") == image.mrenclave():
            return image
    return images[0]


def _beside(path: Path) -> bytes | None:
    named = path.name + ".sig", *((path.stem + ".sig",) if path.suffix == ".sgxs" else ())
    for candidate in map(path.with_name, named):
        if candidate.exists():
            return read_sigstruct(candidate)
    return None


def read_sigstruct(path: Path) -> bytes:
    """The SIGSTRUCT in a file.  Raises ImageError."""
    try:
        data = files.read_named(path, SIGSTRUCT.size)
    except files.TooLarge:
        data, size = b"", f"more than {SIGSTRUCT.size}"
    except OSError as error:
        raise ImageError(path, "SIGSTRUCT", "unreadable", error.strerror or str(error)) from None
    else:
        size = str(len(data))
    if len(data) != SIGSTRUCT.size:
        raise ImageError(path, "size of the file", size, f"a SIGSTRUCT has {SIGSTRUCT.size} bytes")
    return data
