"""Names of an enclave's ECALLs and OCALLs: from an EDL file, or the symbols of its image."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from enclu.trace.decoders import Names


class NamesError(Exception):
    """A file has none; the message names it and says why."""


def of_edl(path: Path) -> Names:
    """Raises NamesError."""
    from enclu.host import edl

    try:
        interface = edl.load(path)
    except edl.EdlError as error:
        raise NamesError(str(error)) from None
    return Names(
        {number: ecall.name for number, ecall in enumerate(interface.ecalls)},
        {number: ocall.name for number, ocall in enumerate(interface.ocalls)},
    )


def of_image(path: Path) -> Names:
    """Those that its symbols tell.  Raises NamesError."""
    from enclu.host.images import ImageError, open_image

    try:
        open_image(path)
    except ImageError as error:
        raise NamesError(str(error)) from None
    names = _of_symbols(path)
    if not names.ecalls:
        raise NamesError(f"{path}: has no symbols of functions that Intel's edger8r made: give its EDL file (--edl)")
    return names


def of_loaded(files: Iterable[str], mrenclave: bytes) -> Names:
    """Of an enclave of Intel's SDK, whose loader has its file mapped: the one with a SIGSTRUCT for this MRENCLAVE."""
    from enclu.host.images import ImageError, IntelSdkImage, open_image
    from enclu.sgx.structs import SIGSTRUCT

    for file in files:
        if not Path(file).is_file():
            continue  # a device, say, or it is gone
        try:
            image = open_image(file)
            versions = [image, *image.other_versions()] if isinstance(image, IntelSdkImage) else []
        except ImageError:
            continue  # it is no enclave
        for version in versions:
            if version.sigstruct is not None and SIGSTRUCT.get(version.sigstruct, "ENCLAVEHASH") == mrenclave:
                return _of_symbols(Path(file))
    return Names()


def _of_symbols(path: Path) -> Names:
    from enclu.host.images import sdk_tables

    tables = sdk_tables.read(path)
    if tables is None:
        return Names()
    return Names({number: name for number, name in enumerate(tables.ecalls) if name}, tables.ocall_names)
