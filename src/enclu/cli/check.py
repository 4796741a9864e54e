"""`enclu check`: what this machine can do, and how to repair what it can't."""

from __future__ import annotations

import dataclasses
import json
import sys

import click

from enclu.run import host_check

MARKS = {True: "ok  ", False: "FAIL", None: "note"}


@click.command(
    epilog="""\b
Examples:
  enclu check
  enclu check --json | jq .works

\b
ok    as it should be
note  worth knowing; programs run all the same
FAIL  programs cannot be run; the line below says how to repair it""",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: works, and findings as a list.")
@click.pass_context
def check(ctx: click.Context, as_json: bool) -> None:
    """Say whether enclu can run programs here; exit 1 if it cannot."""
    found = []
    for finding in host_check.findings([sys.executable, "-m", "enclu.cli.main"]):
        found.append(finding)
        if not as_json:
            click.echo(f"{MARKS[finding.good]}  {finding.name}: {finding.text}")
            if finding.repair:
                click.echo(f"      {finding.repair}")
    works = all(finding.good is not False for finding in found)
    if as_json:
        click.echo(json.dumps({"works": works, "findings": [dataclasses.asdict(f) for f in found]}))
    ctx.exit(0 if works else 1)
