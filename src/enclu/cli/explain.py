"""`enclu explain`: a page that shows how an exception leaves an enclave under each design."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click


@click.command(
    epilog="""\b
Examples:
  enclu explain                        all designs, into explain.html
  enclu explain mm-handler vdso        v3 of the thread, and what Linux shipped
  enclu explain mm-handler:write-once  with a setting
  enclu explain -o - vdso              on standard output"""
)
@click.argument("designs", nargs=-1, metavar="[DESIGN]...")
@click.option("-o", "--output", metavar="FILE", default="explain.html", show_default=True,
              type=click.Path(dir_okay=False, allow_dash=True), help="Where to write the page.")  # fmt: skip
@click.option("--jobs", type=click.IntRange(1), default=os.cpu_count() or 1, show_default=True,
              help="Compilers to run at once.")  # fmt: skip
@click.pass_context
def explain(ctx: click.Context, designs: tuple[str, ...], output: str, jobs: int) -> None:
    """Make a page of HTML that shows an exception's way out of an enclave, step by step.

    For each DESIGN of `enclu run --delivery`, by default all: from EENTER over AEX and kernel to who is told; and what
    becomes of it when a second runtime is in the process. Drawn from a trace: a program is compiled and run for it.
    """
    # Not at the top: `enclu run`, which every program waits for, would load it all.
    from enclu.compare import CompareError, catalog
    from enclu.explain import page, scene
    from enclu.linux import delivery

    try:
        chosen = catalog.choose(delivery.choices(), designs, "design") if designs else delivery.names()
        text = page.render(scene.trace(chosen, jobs))
        if output == "-":
            sys.stdout.write(text)
        else:
            _write(Path(output), text)
            click.echo(f"{output}: open it in a browser")
    except CompareError as error:
        print(f"enclu: {error}", file=sys.stderr)
        ctx.exit(1)


def _write(path: Path, text: str) -> None:
    from enclu.compare import CompareError

    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CompareError(f"{path}: {error.strerror}") from None
