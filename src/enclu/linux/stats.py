"""Counters of one run: how often each kind of event happened."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from enclu.base import events as kinds
from enclu.base.events import Aex, Event
from enclu.sgx.exceptions import Vector
from enclu.sgx.structs import EncluLeaf

if TYPE_CHECKING:
    from enclu.base.listeners import Events
    from enclu.sgx.epc import EPC

PAGES_IN_A_MIB = 256
COUNTERS: dict[str, type[Event]] = {
    "fixups": kinds.Fixup,
    "signals": kinds.ExceptionSignal,
    "async_signals": kinds.SignalSent,
    "faults_resolved": kinds.FaultResolved,
    "faulting_leaves": kinds.LeafFaulted,
    "refused_ioctls": kinds.IoctlRefused,
    "evictions": kinds.PageEvicted,
    "reloads": kinds.PageReloaded,
    "refused_pages": kinds.PageRefused,
    "enclaves": kinds.EnclaveCreated,
}
"""What `--stats` calls the number of events of a kind."""


class Stats:
    """Listens to the events that are counted; leaves are counted already, and the EPC knows its peak."""

    def __init__(self, events: Events, epc: EPC) -> None:
        self._epc = epc
        self._leaves = events.leaves.counts
        self._counts = events.counts
        self._aex: Counter[int] = Counter()
        events.count(*COUNTERS.values())
        events.listen_late(self._left, Aex)

    def _left(self, event: Aex) -> None:
        self._aex[event.vector] += 1

    def count(self, kind: type[Event]) -> int:
        """How often it happened."""
        return self._counts[kind]

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON and tables."""
        leaves = {leaf.name: self._leaves[leaf] for leaf in EncluLeaf if self._leaves[leaf]}
        return {
            "entries": self._leaves[EncluLeaf.EENTER] + self._leaves[EncluLeaf.ERESUME],
            "exits": self._leaves[EncluLeaf.EEXIT],
            "leaves": leaves,
            "aex": {"interrupt" if v < 0 else f"#{Vector(v).name}": n for v, n in self._aex.items()},
            **{name: self._counts[kind] for name, kind in COUNTERS.items()},
            "epc_peak": self._epc.peak,
            "epc_peak_mib": self._epc.peak / PAGES_IN_A_MIB,
            "epc_used": self._epc.used,
        }
