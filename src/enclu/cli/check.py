"""`enclu check`: what this machine can do, and how to repair what it can't."""

from __future__ import annotations

import os
import platform

import click

from enclu.native import host_check


@click.command()
@click.pass_context
def check(ctx: click.Context) -> None:
    """Say whether enclu can run programs here; exit 1 if it cannot."""
    click.echo(f"enclu check on {platform.machine()}, Linux {os.uname().release}")
    works = True
    for finding in host_check.findings():
        mark = {True: "ok  ", False: "FAIL", None: "note"}[finding.good]
        click.echo(f"{mark}  {finding.name}: {finding.text}")
        if finding.repair:
            click.echo(f"      {finding.repair}")
        works = works and finding.good is not False
    ctx.exit(0 if works else 1)
