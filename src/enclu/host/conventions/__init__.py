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
    from enclu.host.images import ElfImage

    return NativeConvention if isinstance(image, ElfImage) and image.own else RegistersConvention
