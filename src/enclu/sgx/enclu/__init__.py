"""The user leaves of SGX (ENCLU), a file for each or for a few that belong together.  SDM 3D section 38.4."""

from __future__ import annotations

from typing import TYPE_CHECKING

from enclu.base import late

if TYPE_CHECKING:
    from enclu.sgx.enclu.leaves import execute
else:
    __getattr__ = late.names(__name__, {"leaves": "execute"})

__all__ = ["execute"]
