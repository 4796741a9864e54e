"""What an audit says: findings, each with its verdict and the evidence for it."""

from __future__ import annotations

import enum
from dataclasses import asdict, dataclass
from typing import Any


class Verdict(enum.StrEnum):
    """Of one item for one thing that was tried."""

    SOUND = "sound"
    WEAK = "weak"
    UNDECIDED = "undecided"
    NOT_APPLICABLE = "not applicable"


class Means(enum.StrEnum):
    """What a host needs for it."""

    HOST = "host-causable"
    """Registers, contents of memory, an interrupt, a page withdrawn by mprotect(2)."""
    FORGED = "forged"
    """An exception that no host can bring about: hardware would have to be at fault, or a VMM."""
    IMAGE = "image"
    """Nothing: the image is so."""


@dataclass(frozen=True)
class Finding:
    """What came of an item."""

    item: str
    subject: str
    """Which ECALL's parameter, say; empty where the item has one subject."""
    verdict: Verdict
    evidence: str
    means: Means | None = None
    """None where nothing was tried."""

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "verdict": str(self.verdict), "means": self.means and str(self.means)}


@dataclass(frozen=True)
class Report:
    """All findings of an audit, in the order of the checklist."""

    image: str
    convention: str
    findings: tuple[Finding, ...]

    def of(self, item: str) -> tuple[Finding, ...]:
        """The findings of an item, or of a group of items."""
        return tuple(f for f in self.findings if f.item == item or f.item.startswith(f"{item}/"))

    @property
    def weak(self) -> tuple[Finding, ...]:
        """Those that somebody has to mend."""
        return tuple(finding for finding in self.findings if finding.verdict is Verdict.WEAK)

    def as_dict(self) -> dict[str, Any]:
        return {
            "image": self.image,
            "convention": self.convention,
            "findings": [finding.as_dict() for finding in self.findings],
        }
