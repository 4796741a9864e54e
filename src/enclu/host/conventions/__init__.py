"""How ECALLs and OCALLs go: one file or folder for each convention."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from enclu.host.errors import HostError

if TYPE_CHECKING:
    from enclu.host.conventions.base import Convention
    from enclu.host.images import Image

NAMES = {
    "edp": ("edp", "EdpConvention"),
    "native": ("native", "NativeConvention"),
    "open-enclave": ("open_enclave", "OpenEnclaveConvention"),
    "registers": ("registers", "RegistersConvention"),
    "sdk": ("sdk", "SdkConvention"),
}
"""Conventions: module and class, imported when they are used."""


def of(image: Image) -> type[Convention]:
    """The convention of an image's enclaves: by its format, and SGXS images' by their layout."""
    from enclu.host.conventions.edp.detect import is_edp
    from enclu.host.images import ElfImage, IntelSdkImage, OpenEnclaveImage, SgxsImage

    if isinstance(image, IntelSdkImage):
        return named("sdk")
    if isinstance(image, OpenEnclaveImage):
        return named("open-enclave")
    if isinstance(image, SgxsImage) and is_edp(image):
        return named("edp")
    return named("native" if isinstance(image, ElfImage) and image.own else "registers")


def named(name: str) -> type[Convention]:
    """Raises HostError for a name that is none."""
    if name not in NAMES:
        raise HostError(f"no convention is called {name!r}: {', '.join(NAMES)}")
    module, convention = NAMES[name]
    found: type[Convention] = getattr(importlib.import_module(f"{__name__}.{module}"), convention)
    return found
