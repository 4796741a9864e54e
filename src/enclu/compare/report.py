"""The results for people, on a terminal or in a file."""

from __future__ import annotations

import textwrap
from typing import TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from enclu.compare.catalog import Scenario
from enclu.compare.results import Design, Results
from enclu.compare.runner import Cell, Outcome

STYLES = {Outcome.WORKS: "green", Outcome.WRONG: "red", Outcome.REFUSED: "yellow", Outcome.KILLED: "bold red"}
WIDTH = 120


def print_report(results: Results, out: TextIO) -> None:
    """The matrix, every cell's reason and command, and, if it was measured, what the designs cost."""
    console = Console(file=out, width=None if out.isatty() else WIDTH, highlight=False)
    console.print(_matrix(results))
    for scenario in results.scenarios:
        _print_scenario(results, scenario, console)
    if not any(design.cost for design in results.designs):
        return
    console.print(_designs(results.designs))
    for design in results.designs:
        console.print(Text(f"{design.name}: user space must provide", "bold"))
        for need in design.needs:
            console.print(Text(textwrap.fill(need, WIDTH - 4, initial_indent="  - ", subsequent_indent="    ")))


def _matrix(results: Results) -> Table:
    table = Table(title="Scenarios and designs", title_justify="left")
    table.add_column("")
    for name in results.columns():
        table.add_column(name.replace("-", "-\n").replace(":", ":\n"))
    for scenario in results.scenarios:
        cells = [results.cell(scenario, name) for name in results.columns()]
        table.add_row(scenario.name, *(_outcome(cell) for cell in cells))
    return table


def _outcome(cell: Cell | None) -> Text:
    return Text(str(cell.outcome), STYLES[cell.outcome]) if cell else Text("")


def _print_scenario(results: Results, scenario: Scenario, console: Console) -> None:
    """Designs with the same outcome and reason share a line, as all share the command."""
    row = results.row(scenario)
    command = row[0].task.command.replace(f"--delivery {row[0].task.design} ", "--delivery DESIGN ", 1)
    console.print(Text.assemble((f"{scenario.name}: {scenario.title}", "bold")))
    console.print(Text(f"  {command}", "dim"), soft_wrap=True)
    groups: dict[tuple[Outcome, str], list[str]] = {}
    for cell in row:
        groups.setdefault((cell.outcome, cell.reason), []).append(cell.task.design)
    for (outcome, reason), names in groups.items():
        console.print(
            Text.assemble("  ", (f"{outcome:8}", STYLES[outcome]), ", ".join(names), ": ", reason), soft_wrap=True
        )
    console.print()


def _designs(designs: list[Design]) -> Table:
    table = Table(title="What the designs cost", title_justify="left")
    for heading in (
        "design",
        "entry, us",
        "x signal",
        "exception, us",
        "x signal",
        "kernel side, lines",
        "user, lines",
    ):
        table.add_column(heading, justify="left" if heading == "design" else "right")
    for d in designs:
        cost = d.cost
        figures = (
            (f"{cost.entry:.0f}", f"{cost.entry_ratio:.2f}", f"{cost.exception:.0f}", f"{cost.exception_ratio:.2f}")
            if cost
            else ("",) * 4
        )
        table.add_row(d.name, *figures, str(sum(d.kernel_lines.values())), str(sum(d.user_lines.values())))
    return table
