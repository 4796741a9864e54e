"""The baseline: every exception becomes a signal, with the state after the AEX."""

from __future__ import annotations

from typing import ClassVar

from enclu.linux.delivery.base import Delivery


class SignalDelivery(Delivery):
    name: ClassVar[str] = "signal"
