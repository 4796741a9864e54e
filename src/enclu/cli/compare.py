"""`enclu compare`: run the scenarios under the designs, and print what came of it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import click


@click.command()
@click.option("--scenario", "scenarios", multiple=True, metavar="NAME", help="Only this scenario; may be repeated.")
@click.option("--design", "designs", multiple=True, metavar="NAME",
              help="Only this design, with or without a setting; may be repeated.")  # fmt: skip
@click.option("--jobs", type=click.IntRange(1), default=os.cpu_count() or 1, show_default=True,
              help="Programs to run at once.")  # fmt: skip
@click.option("--runs", type=click.IntRange(1), default=1, show_default=True,
              help="Run each scenario so many times; that they end differently is an error.")  # fmt: skip
@click.option("--cost/--no-cost", default=None,
              help="Measure what entries and exceptions cost. Default: unless --scenario is given.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
@click.option("--html", type=click.Path(dir_okay=False, writable=True, path_type=Path), metavar="FILE",
              help="Write the results as one page of HTML.")  # fmt: skip
@click.pass_context
def compare(
    ctx: click.Context, scenarios: tuple[str, ...], designs: tuple[str, ...], jobs: int, runs: int,
    cost: bool | None, as_json: bool, html: Path | None,
) -> None:  # fmt: skip
    """Run the thread's arguments as programs under every design of delivery.

    Each ends in one of four ways: it works, something is wrong, an errno refused it, or a signal killed it.
    """
    # Not at the top: `enclu run`, which every program waits for, would load it all.
    from enclu.compare import CompareError, experiment, page, report, results

    try:
        found = experiment.run(scenarios, designs, jobs, runs, not scenarios if cost is None else cost)
        if html:
            _write(html, page.render(found))
        if as_json:
            print(json.dumps(results.as_json(found), indent=1))
        else:
            report.print_report(found, sys.stdout)
    except CompareError as error:
        print(f"enclu: {error}", file=sys.stderr)
        ctx.exit(1)


def _write(path: Path, text: str) -> None:
    from enclu.compare import CompareError

    try:
        path.write_text(text)
    except OSError as error:
        raise CompareError(f"{path}: {error.strerror}") from None
