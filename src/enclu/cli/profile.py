"""`enclu profile`: what a trace tells about where a program's time goes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import BinaryIO

import click


@click.command(
    epilog="""\b
Examples:
  enclu trace --format json -o log ./my_sgx_app       what it is made from
  enclu profile log                                   calls, who calls whom, paging, advice
  enclu profile --format html -o profile.html log     the same as one page
  enclu profile --format json log                     for programs: docs/profile.md has the schema
  zcat log.gz | enclu profile -                       from standard input""",
)
@click.option("--format", "form", type=click.Choice(("text", "json", "html")), default="text", show_default=True)
@click.option("-o", "--output", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
              help="Not to standard output but here.")  # fmt: skip
@click.argument("trace", type=click.File("rb"))
def profile(form: str, output: Path | None, trace: BinaryIO) -> None:
    """Tell from TRACE, made by `enclu trace --format json`, where a program's time goes.

    Of each ECALL and OCALL how often, how long, how many AEXs, who calls it; of each enclave its paging; and advice, by
    the rules of sgx-perf: calls too short for a transition, calls to merge, to batch, to move, an EPC too small.
    """
    from enclu.trace.profile import report
    from enclu.trace.profile.measure import measure
    from enclu.trace.profile.reader import Trace, TraceError

    try:
        found = measure(Trace(trace, getattr(trace, "name", "-")))
    except TraceError as error:
        raise click.ClickException(str(error)) from None
    if form == "json":
        text = json.dumps(report.as_json(found), indent=1) + "\n"
    elif form == "html":
        from enclu.trace.profile import page

        text = page.render(found)
    else:
        text = report.as_text(found)
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"{output}: cannot be written: {error.strerror}") from None
