"""How ECALLs and OCALLs go: one file for each convention."""

from __future__ import annotations

from typing import TYPE_CHECKING

from enclu.host.conventions.registers import RegistersConvention

if TYPE_CHECKING:
    from enclu.host.conventions.base import Convention
    from enclu.host.images import Image


def of(image: Image) -> type[Convention]:
    """The convention of an image's enclaves, by its format."""
    from enclu.host.conventions.native import NativeConvention
    from enclu.host.conventions.sdk import SdkConvention
    from enclu.host.images import ElfImage, IntelSdkImage

    if isinstance(image, IntelSdkImage):
        return SdkConvention
    return NativeConvention if isinstance(image, ElfImage) and image.own else RegistersConvention
