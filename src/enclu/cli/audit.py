"""`enclu audit`: a hostile host's checklist for an enclave."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from enclu.base import console
from enclu.cli.measure import FILE, JSON_OPTION, SIGSTRUCT_OPTION

if TYPE_CHECKING:
    from rich.console import Console

    from enclu.host.edl.interface import Interface
    from enclu.sweep.audit import Finding, Report

WIDTH = 120
SHOWN = {"weak": "WEAK"}
STYLES = {"weak": "bold red", "sound": "green", "undecided": "yellow", "not applicable": "dim"}


@click.command(
    epilog="""\b
Examples:
  enclu audit enclave.signed.so --edl Enclave.edl
  enclu audit enclave.elf --only exception --only entry/df
  enclu audit --list                       what there is to be tried
  enclu audit app.sgxs --json | jq '.findings[] | select(.verdict == "weak")'

\b
Exit status: 0, nothing was found; 1, something is weak; 2 for a bad option;
  3, the enclave cannot be loaded, or a file cannot be read.
"undecided" is no finding: it says why.  Nothing is claimed about timing or
microarchitecture.  docs/audit.md says how each item is judged.""",
)
@click.option("--edl", type=FILE, metavar="FILE", help="The interface, of enclaves that speak as the SDK's: "
              "each pointer of each public ECALL is tried.")  # fmt: skip
@SIGSTRUCT_OPTION
@click.option("--convention", metavar="NAME", help="How the enclave is spoken to, if FILE does not tell: edp, enclu, "
              "open-enclave, registers or sdk.")  # fmt: skip
@click.option("--only", multiple=True, metavar="ITEM", help="This item, or group of items; may be given again.")
@click.option("--list", "listing", is_flag=True, help="Print the items, and try nothing.")
@JSON_OPTION
@click.argument("file", type=FILE, required=False)
@click.pass_context
def audit(
    ctx: click.Context, edl: Path | None, sigstruct: Path | None, convention: str | None, only: tuple[str, ...],
    listing: bool, as_json: bool, file: Path | None,
) -> None:  # fmt: skip
    """Try on the enclave in FILE what a hostile host would, item by item, with a verdict and evidence for each.

    The enclave runs in a process of this machine in software: registers and memory are hostile, it is interrupted
    and stepped through, its exception handler is called when nothing has happened.
    """
    from enclu.host.convention import NAMES
    from enclu.host.errors import HostError
    from enclu.sweep.audit.run import audit as run
    from enclu.sweep.audit.run import chosen

    try:
        items = chosen(only)
    except HostError as error:
        raise click.UsageError(str(error)) from None
    if listing:
        _list({item.name: item.title for item in items}, as_json=as_json)
        return
    if file is None:
        raise click.UsageError("missing argument FILE")
    if convention is not None and convention not in NAMES:
        raise click.UsageError(f"no convention is called {convention!r}: {', '.join(NAMES)}")
    if not as_json:
        out = _console()
        out.print(f"[bold]{file}[/]", emoji=False)
    try:
        interface = _interface(edl)
        told = None if as_json else lambda finding: _print(finding, out)
        report = run(
            file, interface=interface, sigstruct=sigstruct, convention=convention, only=only, told=told
        )  # fmt: skip
    except HostError as error:
        console.say(str(error))
        ctx.exit(3)
    print(json.dumps(report.as_dict(), indent=1)) if as_json else _print_sum(report, out)
    ctx.exit(int(bool(report.weak)))


def _interface(edl: Path | None) -> Interface | None:
    """Raises HostError."""
    if edl is None:
        return None
    from enclu.host.edl import load

    return load(edl)


def _console() -> Console:
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)


def _list(titles: dict[str, str], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(titles, indent=1))
        return
    width = max(map(len, titles))
    for name, title in titles.items():
        print(f"{name:{width}}  {title}")


def _print(finding: Finding, out: Console) -> None:
    from rich.padding import Padding
    from rich.text import Text

    means = f"  ({finding.means})" if finding.means is not None else ""
    head = Text.assemble(
        ("  "), (SHOWN.get(finding.verdict, str(finding.verdict)), STYLES[finding.verdict]),
        f"  {finding.item}{f': {finding.subject}' if finding.subject else ''}", (means, "dim"),
    )  # fmt: skip
    out.print(head)
    out.print(Padding(Text(finding.evidence), (0, 0, 0, 6)))


def _print_sum(report: Report, out: Console) -> None:
    counts = {verdict: sum(f.verdict == verdict for f in report.findings) for verdict in STYLES}
    out.print("\n" + ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count))
