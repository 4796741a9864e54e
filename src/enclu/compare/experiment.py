"""From names to results: builds, runs, measures, and shows on a terminal how far it is."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from enclu.compare import catalog, cost, results
from enclu.compare.build import Builder
from enclu.compare.catalog import Catalog
from enclu.compare.results import Results
from enclu.compare.runner import Cell, Task, run_all
from enclu.linux import delivery


def run(scenarios: tuple[str, ...], designs: tuple[str, ...], jobs: int, runs: int, with_cost: bool) -> Results:
    """Run these scenarios, or all, under these designs, or all.  Raises CompareError."""
    known = catalog.read(catalog.find_root())
    chosen = [known.scenarios[name] for name in catalog.choose(known.scenarios, scenarios, "scenario")]
    columns = catalog.choose(delivery.choices(), designs, "design") if designs else delivery.names()
    needed = {d.partition(":")[0] for d in (*columns, *((cost.YARDSTICK,) if with_cost else ()))}
    builder = Builder(replace(known, runtimes={d: r for d, r in known.runtimes.items() if d in needed}))
    with _progress() as progress:
        bar = progress.add_task("building", total=len(list(builder.steps(chosen))))
        builder.build(chosen, jobs, lambda: progress.advance(bar))
        also = {s.name: () if designs else s.also for s in chosen}
        tasks = [
            Task(s, d, builder.program(s)) for s in chosen for d in delivery.choices() if d in (*columns, *also[s.name])
        ]
        bar = progress.add_task("running", total=len(tasks) * runs)
        cells = run_all(tasks, runs, jobs, lambda task: progress.advance(bar))
        costs: dict[str, cost.Cost] = {}
        if with_cost:
            bar = progress.add_task("measuring", total=cost.rounds(columns))
            costs = cost.measure(builder.cost_program, columns, lambda: progress.advance(bar))
    return _results(known, cells, columns, costs, runs)


def _results(known: Catalog, cells: list[Cell], columns: list[str], costs: dict[str, cost.Cost], runs: int) -> Results:
    designs = [results.describe(known.runtimes[d.partition(":")[0]], d, costs.get(d)) for d in columns]
    return Results(list(dict.fromkeys(cell.task.scenario for cell in cells)), designs, cells, runs)


@contextmanager
def _progress() -> Iterator[Progress]:
    """A bar on stderr if that is a terminal, else nothing."""
    columns = (TextColumn("{task.description:10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as progress:
        yield progress
