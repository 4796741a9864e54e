"""Reports of the program: reading them, comparing them with what is expected."""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from enclu.base import files
from enclu.conform import ConformError
from enclu.conform.accepted import accepted_as

FORMAT = 1
LARGEST = 1 << 24
"""Bytes of a report; they are far smaller."""


class Outcome(enum.StrEnum):
    """What became of a case."""

    PASSES = "passes"
    DIFFERS = "differs"
    ACCEPTED = "accepted"
    """It differs on the machine in software, and docs/fidelity.md says so."""
    NOT_SUPPORTED = "not supported"


@dataclass(frozen=True)
class Case:
    """A claim, and what was observed."""

    group: str
    name: str
    source: str
    expected: str
    observed: str
    outcome: Outcome

    @property
    def full_name(self) -> str:
        return f"{self.group}/{self.name}"


@dataclass(frozen=True)
class Report:
    """What the program printed on a machine."""

    document: dict[str, Any]
    cases: tuple[Case, ...]

    @property
    def machine(self) -> str:
        """Processor and kernel, for people."""
        processor, kernel = self.document["processor"], self.document["kernel"]
        model = f"family {processor['family']} model {processor['model']} stepping {processor['stepping']}"
        microcode = f", microcode {processor['microcode']}" if processor["microcode"] else ""
        return f"{processor['brand'].strip()} ({model}{microcode}), {kernel['sysname']} {kernel['release']}"

    @property
    def differs(self) -> bool:
        return any(case.outcome is Outcome.DIFFERS for case in self.cases)

    def on_the_machine_in_software(self) -> Report:
        """With differences that are known and documented told apart."""
        return replace(self, cases=tuple(_accept(case) for case in self.cases))

    def against(self, listed: dict[str, Any]) -> tuple[Report, list[str]]:
        """Judged by what is expected today; and names of cases that it has and nobody knows, or that it lacks."""
        known = {f"{each['group']}/{each['name']}": each for each in listed["cases"]}
        mine = {case.full_name for case in self.cases}
        cases = tuple(_judged(case, known[case.full_name]) for case in self.cases if case.full_name in known)
        strange = [f"{name}: no such case" for name in sorted(mine - known.keys())]
        return replace(self, cases=cases), strange + [
            f"{name}: not in the report" for name in sorted(known.keys() - mine)
        ]

    def as_json(self) -> dict[str, Any]:
        """The document, with the cases as they are now."""
        rows = [
            {"group": c.group, "name": c.name, "source": c.source, "expected": c.expected, "observed": c.observed,
             "outcome": str(c.outcome)}
            for c in self.cases
        ]  # fmt: skip
        return {**self.document, "cases": rows}


def _accept(case: Case) -> Case:
    if case.outcome is Outcome.DIFFERS and accepted_as(case.full_name, case.observed) is not None:
        return replace(case, outcome=Outcome.ACCEPTED)
    return case


def _judged(case: Case, claim: dict[str, str]) -> Case:
    outcome = case.outcome
    if outcome is not Outcome.NOT_SUPPORTED:
        outcome = Outcome.PASSES if case.observed == claim["expected"] else Outcome.DIFFERS
    return replace(case, source=claim["source"], expected=claim["expected"], outcome=outcome)


def read(path: Path) -> Report:
    """A report that the user names.  Raises ConformError."""
    try:
        data = files.read_named(path, LARGEST)
    except OSError as error:
        raise ConformError(f"{path}: {error.strerror}") from None
    return parsed(data.decode("utf-8", "replace"), str(path))


def parsed(text: str, where: str) -> Report:
    """A report from its text.  Raises ConformError, which names `where` it is from."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConformError(f"{where}: not a report of conform: not JSON ({error})") from None
    _check(document, {"program": str, "format": int, "processor": dict, "kernel": dict, "cases": list}, where)
    if document["program"] != "enclu conform" or document["format"] != FORMAT:
        raise ConformError(f"{where}: not a report of conform, or of another format than {FORMAT}")
    numbers = {"family": int, "model": int, "stepping": int}
    _check(document["processor"], {"brand": str, "microcode": str, **numbers}, f"{where}: processor")
    _check(document["kernel"], {"sysname": str, "release": str}, f"{where}: kernel")
    cases = tuple(_case(row, f"{where}: case {number}") for number, row in enumerate(document["cases"]))
    if len({case.full_name for case in cases}) < len(cases):
        raise ConformError(f"{where}: the same case twice")
    return Report(document, cases)


def closed(text: str) -> str:
    """A report that was broken off, as one of the cases that it has; empty if it has none."""
    end = text.rfind('"}')
    return f"{text[: end + 2]}\n]}}\n" if '"outcome": ' in text else ""


def _case(row: Any, where: str) -> Case:
    names = ("group", "name", "source", "expected", "observed", "outcome")
    _check(row, dict.fromkeys(names, str), where)
    if row["outcome"] not in (Outcome.PASSES, Outcome.DIFFERS, Outcome.NOT_SUPPORTED):
        raise ConformError(f"{where}: the outcome {row['outcome']!r} is none")
    fields = {name: row[name] for name in names[:-1]}
    return Case(**fields, outcome=Outcome(row["outcome"]))


def _check(value: Any, wanted: dict[str, type], where: str) -> None:
    if not isinstance(value, dict):
        raise ConformError(f"{where}: not a report of conform: no object")
    for name, kind in wanted.items():
        if not isinstance(value.get(name), kind):
            raise ConformError(f"{where}: not a report of conform: {name!r} is missing, or no {kind.__name__}")


def counts(cases: Iterable[Case]) -> dict[str, dict[Outcome, int]]:
    """Group -> how many of its cases ended in which way."""
    found: dict[str, dict[Outcome, int]] = {}
    for case in cases:
        row = found.setdefault(case.group, dict.fromkeys(Outcome, 0))
        row[case.outcome] += 1
    return found
