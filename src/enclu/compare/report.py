"""The results for people, on a terminal."""

from __future__ import annotations

from typing import TextIO

from enclu.compare.runner import Cell


def print_cells(cells: list[Cell], out: TextIO) -> None:
    for cell in cells:
        print(f"{cell.task.scenario.name:24} {cell.task.design:16} {cell.outcome:8} {cell.reason}", file=out)
