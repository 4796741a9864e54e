"""A sequence: lanes, and what goes from one to another.  What it looks like is the templates' business."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Tone(enum.StrEnum):
    """How a step is to be taken."""

    PLAIN = "plain"
    GOOD = "good"
    BAD = "bad"


@dataclass(frozen=True)
class Value:
    """A field of an event."""

    name: str
    number: str
    """As the trace has it."""
    meaning: str = ""
    """In words."""
    varies: bool = False
    """The number is another in each run, as addresses are; pictures in documents have its meaning only."""

    def __str__(self) -> str:
        if self.varies:
            return f"{self.name} = {self.meaning}"
        return f"{self.name} = {self.number}" + (f" ({self.meaning})" if self.meaning else "")


@dataclass(frozen=True)
class Step:
    """Something that happened."""

    stage: str
    source: int
    """Number of a lane."""
    target: int
    label: str
    """A word or two."""
    says: str
    """One plain sentence, or two short ones."""
    values: tuple[Value, ...] = ()
    reference: str = ""
    tone: Tone = Tone.PLAIN


@dataclass(frozen=True)
class Picture:
    """One design's."""

    design: str
    lanes: tuple[str, ...]
    stages: tuple[str, ...]
    """What all designs have in common, in order."""
    steps: tuple[Step, ...]
    absent: dict[str, str]
    """Why a stage has no step."""
    works: bool = True
    ends: str = ""
    """What came of it."""

    def at(self, stage: str) -> list[Step]:
        return [step for step in self.steps if step.stage == stage]
