"""The conventions of Fortanix EDP."""

from enclu.host.conventions.edp.convention import EdpConvention, EdpPanic
from enclu.host.images.edp import is_edp

__all__ = ["EdpConvention", "EdpPanic", "is_edp"]
