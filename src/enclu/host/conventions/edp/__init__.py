"""The conventions of Fortanix EDP."""

from typing import TYPE_CHECKING

from enclu.base.lazy import attributes

if TYPE_CHECKING:
    from enclu.host.conventions.edp.convention import EdpConvention, EdpPanic

__all__ = ["EdpConvention", "EdpPanic"]

__getattr__ = attributes(__name__, {"EdpConvention": "convention", "EdpPanic": "convention"})
