"""MRENCLAVE of an image, as its loader makes it."""

from __future__ import annotations

from enclu.host.images import Image


def mrenclave(image: Image) -> bytes:
    """SHA-256 of all that ECREATE, EADD and EEXTEND measure; 32 bytes."""
    return image.mrenclave()
