"""The designs: what happens to an exception of ENCLU or of an enclave that would become a signal."""

from __future__ import annotations

from typing import Any

from enclu.linux.delivery.base import Delivery
from enclu.linux.delivery.mm_handler import MMHandlerDelivery
from enclu.linux.delivery.signal import SignalDelivery
from enclu.linux.delivery.vdso import VdsoDelivery

DESIGNS: dict[str, type[Delivery]] = {d.name: d for d in (SignalDelivery, VdsoDelivery, MMHandlerDelivery)}


def names() -> list[str]:
    """The designs that can be chosen."""
    return list(DESIGNS)


def create(name: str, **settings: Any) -> Delivery:
    """A design with its settings.  Raises KeyError for a name not in `names()`, ValueError for a bad setting."""
    return DESIGNS[name](**settings)
