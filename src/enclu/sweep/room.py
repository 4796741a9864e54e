"""How much EPC an enclave needs that is brought back again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from enclu.host.errors import HostError
from enclu.run.host_memory import default_epc, total

if TYPE_CHECKING:
    from enclu.host.images import Image

MORE = 64 << 20
"""For pages that are added at run time."""
COPIES = 3
"""Of a page: in the EPC, in the checkpoint, and for a moment another."""


def epc_for(image: Image) -> int:
    """Bytes: a checkpoint has all pages of the enclave, so none may have been evicted.

    Raises HostError if the machine has not enough memory for that.
    """
    added = sum(region.size for region in image.regions() if region.added) + MORE
    if COPIES * added > total():
        raise HostError(
            f"{image.path}: {added >> 20:,} MiB are kept {COPIES} times while the enclave is brought back again and "
            f"again, and this machine or control group has {total() >> 20:,} MiB"
        )
    return max(default_epc(), added)
