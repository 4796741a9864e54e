"""Counters of one run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from enclu.sgx.exceptions import Vector
from enclu.sgx.structs import EncluLeaf

PAGES_IN_A_MIB = 256


@dataclass
class Stats:
    """What happened, in events; `epc_peak` is in pages."""

    leaves: list[int] = field(default_factory=lambda: [0] * 16)
    """ENCLU leaves that succeeded, by leaf number."""
    aex: dict[str, int] = field(default_factory=dict)
    fixups: int = 0
    """Exceptions that the chosen design handled."""
    signals: int = 0
    """Exceptions of enclaves and of ENCLU that became signals."""
    async_signals: int = 0
    """Other signals, of all programs of the run."""
    faults_resolved: int = 0
    """Page faults that the kernel resolved: pages shown, reloaded or added."""
    epc_peak: int = 0
    evictions: int = 0
    reloads: int = 0
    refused_pages: int = 0
    """Evicted pages that were not what was evicted when they came back."""
    enclaves: int = 0

    def count_aex(self, vector: int | None) -> None:
        """One AEX, by exception vector; None for an interrupt."""
        name = "interrupt" if vector is None else f"#{Vector(vector).name}"
        self.aex[name] = self.aex.get(name, 0) + 1

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON and tables."""
        leaves = {leaf.name: self.leaves[leaf] for leaf in EncluLeaf if self.leaves[leaf]}
        rest = {k: dict(v) if isinstance(v, dict) else v for k, v in vars(self).items() if k != "leaves"}
        entries = self.leaves[EncluLeaf.EENTER] + self.leaves[EncluLeaf.ERESUME]
        rest["epc_peak_mib"] = self.epc_peak / PAGES_IN_A_MIB
        return {"entries": entries, "exits": self.leaves[EncluLeaf.EEXIT], "leaves": leaves, **rest}
