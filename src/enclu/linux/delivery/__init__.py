"""The designs: what happens to an exception of ENCLU or of an enclave that would become a signal."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from enclu.linux.delivery.base import Delivery

DESIGNS = {
    "signal": "signal:SignalDelivery",
    "vdso-2018": "vdso_2018:Vdso2018Delivery",
    "vdso-jmp": "vdso_jmp:VdsoJmpDelivery",
    "mm-handler": "mm_handler:MMHandlerDelivery",
    "thread-handler": "thread_handler:ThreadHandlerDelivery",
    "range-handler": "range_handler:RangeHandlerDelivery",
    "vdso": "vdso:VdsoDelivery",
}
"""Name to module and class; only a design that is asked for is imported."""


def names() -> list[str]:
    """The designs."""
    return list(DESIGNS)


def design(name: str) -> type[Delivery]:
    """A design by its name.  Raises KeyError."""
    module, _, cls = DESIGNS[name].partition(":")
    found: type[Delivery] = getattr(importlib.import_module(f"{__name__}.{module}"), cls)
    return found


def choices() -> list[str]:
    """What `create` understands: every design, and every design with each of its settings."""
    return [c for name in DESIGNS for c in (name, *(f"{name}:{s}" for s in design(name).settings))]


def create(choice: str) -> Delivery:
    """A design by NAME or NAME:SETTING.  Raises KeyError for a name not in `names()`, ValueError for a bad setting."""
    name, colon, setting = choice.partition(":")
    return design(name)(setting if colon else None)
