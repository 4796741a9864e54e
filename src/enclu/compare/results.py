"""Everything that the experiment found, for people and programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from enclu import __version__
from enclu.compare import code_size
from enclu.compare.catalog import Scenario
from enclu.compare.cost import Cost
from enclu.compare.runner import Cell
from enclu.compare.runtimes import Runtime


@dataclass(frozen=True)
class Design:
    """What is known of a design without running anything, and its cost."""

    name: str
    needs: tuple[str, ...]
    kernel_lines: dict[str, int]
    user_lines: dict[str, int]
    cost: Cost | None
    """None: not measured."""


@dataclass(frozen=True)
class Results:
    scenarios: list[Scenario]
    designs: list[Design]
    cells: list[Cell]
    runs: int

    def row(self, scenario: Scenario) -> list[Cell]:
        """The cells of a scenario, in the order of the designs."""
        return [cell for cell in self.cells if cell.task.scenario is scenario]

    def cell(self, scenario: Scenario, design: str) -> Cell | None:
        return next((cell for cell in self.row(scenario) if cell.task.design == design), None)

    def columns(self) -> list[str]:
        """The designs of the matrix: without those that only some scenarios ask for."""
        return [d.name for d in self.designs]


def describe(runtime: Runtime, name: str, cost: Cost | None) -> Design:
    """A design, as its files tell."""
    return Design(name, runtime.needs, code_size.kernel_side(runtime.design), code_size.user_side(runtime), cost)


def as_json(results: Results) -> dict[str, Any]:
    """For programs.  Fields are added, never removed or changed."""
    return {
        "enclu": __version__,
        "runs": results.runs,
        "scenarios": [
            {"name": s.name, "title": s.title, "about": s.about, "thread": [asdict(t) for t in s.thread]}
            for s in results.scenarios
        ],
        "designs": [
            {
                "name": d.name, "needs": list(d.needs), "kernel_lines": d.kernel_lines, "user_lines": d.user_lines,
                "cost": asdict(d.cost) if d.cost else None,
            }
            for d in results.designs
        ],
        "cells": [
            {
                "scenario": c.task.scenario.name, "design": c.task.design, "outcome": str(c.outcome),
                "reason": c.reason, "command": c.task.command, "output": c.ended[0].output,
            }
            for c in results.cells
        ],
    }  # fmt: skip
