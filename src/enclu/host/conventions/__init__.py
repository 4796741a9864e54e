"""How ECALLs and OCALLs go: one file for each convention."""

from __future__ import annotations

from typing import TYPE_CHECKING

from enclu.host.conventions.registers import RegistersConvention

if TYPE_CHECKING:
    from enclu.host.conventions.base import Convention
    from enclu.host.images import Image


def of(image: Image) -> type[Convention]:
    """The convention of enclaves of this image's format."""
    from enclu.host.conventions.native import NativeConvention

    return {"elf": NativeConvention}.get(image.format, RegistersConvention)
