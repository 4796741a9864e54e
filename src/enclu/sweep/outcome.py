"""What has become of a call that a host has tampered with, against the same call undisturbed."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


class Kind(enum.StrEnum):
    """How serious it is grows, about, from one to the next."""

    SAME = "same"
    """Result, OCALLs and shared memory are those of the undisturbed call."""
    CHANGED = "as if changed before"
    """They are those of a call whose shared memory was changed before it began: no matter when it was."""
    REFUSED = "refused"
    """The enclave says by a result of its own that it has not done it, or its handler has refused what came."""
    LEFT = "left"
    """The host has not gone on with it."""
    CRASH = "crash"
    """An exception that nobody handled."""
    HANG = "hang"
    """It was not over in time."""
    DIFFERENT = "different"
    """It has done something else."""
    HARMED = "host harmed"
    """The process of the host is dead."""


@dataclass
class Run:
    """A call, from where the host has tampered with it on."""

    result: Any = None
    shown: str = ""
    """The result for people, the same wherever the enclave was loaded."""
    refusal: str = ""
    """The enclave's own word for a result that tells that it has not done what was asked."""
    ended: Kind | None = None
    """How, if it did not return."""
    note: str = ""
    """Of what ended it."""
    ocalls: list[int] = field(default_factory=list)
    """RDI at each EEXIT that was not the last."""
    memory: Mapping[int, bytes] = field(default_factory=dict)
    """Blocks of shared memory when it returned, by their addresses."""
    answers: list[str] = field(default_factory=list)
    """What the enclave answered to what else the host did meanwhile."""
    refused: bool = False
    """Its handler has refused."""

    def differs(self, other: Run, but: Mapping[int, list[range]]) -> str:
        """What is not as in another, of which nobody looks at memory `but`; nothing if all is."""
        if self.result != other.result:
            return f"result {self.shown} in place of {other.shown}"
        if self.ocalls != other.ocalls:
            return f"OCALLs {_listed(self.ocalls)} in place of {_listed(other.ocalls)}"
        for number, address in enumerate(sorted(other.memory)):
            mine, theirs = self.memory.get(address, b""), other.memory[address]
            if mine == theirs:
                continue
            places = (i for i, (a, b) in enumerate(zip(mine, theirs, strict=False)) if a != b)
            skipped = but.get(address, [])
            place = next((i for i in places if not any(i in part for part in skipped)), None)
            if place is not None:
                return f"shared memory {number}+{place}"
        return ""


@dataclass(frozen=True)
class Outcome:
    """The verdict on one point."""

    kind: Kind
    detail: str = ""
    answers: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = f"{self.kind}: {self.detail}" if self.detail else str(self.kind)
        return "; ".join((text, *self.answers))


@dataclass(frozen=True)
class Point:
    """What came of it at one instruction."""

    number: int
    """How many instructions of the call had been executed."""
    rip: int
    """The next one, from ELRANGE's base."""
    outcome: Outcome


def judge(run: Run, reference: Run, changed: Run | None, but: Mapping[int, list[range]]) -> Outcome:
    """The verdict, by the undisturbed call, and by one with the memory `changed` before it began, if that is asked.

    `but` are the bytes that the host itself has changed, by block.
    """
    answers = tuple(run.answers)
    if run.ended is not None:
        return Outcome(run.ended, run.note, answers)
    if not run.differs(reference, but):
        return Outcome(Kind.REFUSED if run.refused else Kind.SAME, "by its handler" if run.refused else "", answers)
    if changed is not None and changed.ended is None and not run.differs(changed, but):
        return Outcome(Kind.CHANGED, "", answers)
    if run.refusal and run.refusal != reference.refusal:
        return Outcome(Kind.REFUSED, run.refusal, answers)
    return Outcome(Kind.DIFFERENT, run.differs(reference, but), answers)


def shown(result: Any, base: int, size: int) -> str:
    """A result for people; an address of the enclave, which has this ELRANGE, or its lower half, from its base."""
    if not isinstance(result, int):
        return repr(result)[:60]
    bits = 32 if 0 <= result < 1 << 32 else 64
    offset = result - base & (1 << bits) - 1
    return f"ELRANGE+{offset:#x}" if offset < size else f"{result:#x}"


def _listed(numbers: list[int]) -> str:
    shown = [str(n if n < 1 << 63 else n - (1 << 64)) for n in numbers[:6]]
    return f"[{', '.join(shown)}{', ...' if len(numbers) > 6 else ''}]"
