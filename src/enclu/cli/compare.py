"""`enclu compare`: run the scenarios under the designs, and print what came of it."""

from __future__ import annotations

import os
import sys

import click


@click.command()
@click.option("--scenario", "scenarios", multiple=True, metavar="NAME", help="Only this scenario; may be repeated.")
@click.option("--design", "designs", multiple=True, metavar="NAME", help="Only this design; may be repeated.")
@click.option("--jobs", type=click.IntRange(1), default=os.cpu_count() or 1, show_default=True,
              help="Programs to run at once.")  # fmt: skip
@click.option("--runs", type=click.IntRange(1), default=1, show_default=True,
              help="Run each scenario so many times; that they end differently is an error.")  # fmt: skip
@click.pass_context
def compare(ctx: click.Context, scenarios: tuple[str, ...], designs: tuple[str, ...], jobs: int, runs: int) -> None:
    """Run the thread's arguments as programs under every design of delivery."""
    # Not at the top: `enclu run`, which every program waits for, would load it all.
    from enclu.compare import CompareError, catalog, report
    from enclu.compare.build import Builder
    from enclu.compare.runner import Task, run_all

    try:
        found = catalog.read(catalog.find_root())
        chosen = [found.scenarios[n] for n in catalog.choose(found.scenarios, scenarios, "scenario")]
        builder = Builder(found)
        builder.build(chosen, jobs)
        tasks = [Task(s, d, builder.program(s)) for s in chosen for d in catalog.designs_of(s, designs)]
        cells = run_all(tasks, runs, jobs)
        report.print_cells(cells, sys.stdout)
    except CompareError as error:
        print(f"enclu: {error}", file=sys.stderr)
        ctx.exit(1)
