"""`enclu inspect`: a page about an enclave image."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from enclu.base import console
from enclu.cli.measure import FILE, JSON_OPTION, METADATA_OPTION, SIGSTRUCT_OPTION

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from enclu.host.inspection import Inspection

WIDTH = 120
SHOWN_THREADS, SHOWN_REGIONS = 16, 60
"""Rows; --json has them all."""


@click.command(
    epilog="""\b
Examples:
  enclu inspect enclave.signed.so
  enclu inspect enclave.elf --json | jq '.findings[] | select(.serious)'

\b
Exit status: 0, also if the enclave has weaknesses; 1 if its SIGSTRUCT is not
  valid or FILE is damaged; 2 for a bad option.""",
)
@SIGSTRUCT_OPTION
@METADATA_OPTION
@JSON_OPTION
@click.argument("file", type=FILE)
@click.pass_context
def inspect(
    ctx: click.Context, sigstruct: Path | None, metadata: tuple[int, int] | None, as_json: bool, file: Path
) -> None:
    """Show what the enclave in FILE is: identity, signer, threads, layout, and what weakens it."""
    from enclu.host.errors import HostError
    from enclu.host.images import open_image
    from enclu.host.inspection import Inspection

    try:
        inspection = Inspection(open_image(file, sigstruct, metadata))
    except HostError as error:
        console.say(str(error))
        ctx.exit(1)
    if as_json:
        print(json.dumps(inspection.as_dict()))
    else:
        _print(inspection)
    if inspection.problems:
        console.say(f"{file}: its SIGSTRUCT is not valid: {inspection.problems[0]}")
    ctx.exit(1 if inspection.problems else 0)


def _print(inspection: Inspection) -> None:
    from rich.console import Console

    out = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
    out.print(f"[bold]{inspection.image.path}[/]  ({inspection.image.format})", emoji=False)
    out.print(_identity(inspection))
    _print_findings(inspection, out)
    out.print(_threads(inspection))
    out.print(_layout(inspection))


def _identity(inspection: Inspection) -> Table:
    from rich.table import Table

    from enclu.host.inspection import MISC_NAMES, XFRM_NAMES, attribute_names, bit_names

    image, f = inspection.image, inspection.sigstruct
    table = Table(box=None, show_header=False, pad_edge=False)
    rows = [
        ("MRENCLAVE", inspection.mrenclave.hex()),
        ("ELRANGE", f"{image.size:#x} bytes; {inspection.added >> 12:,} pages added, the contents of "
                    f"{inspection.measured >> 12:,} measured"),
        ("SSA frame", f"{image.ssa_frame_size * 4096} bytes"),
        ("ATTRIBUTES", f"{inspection.attributes:#x}  {', '.join(attribute_names(inspection.attributes))}"),
        ("XFRM", f"{image.xfrm:#x}  {', '.join(bit_names(image.xfrm, XFRM_NAMES))}"),
        ("MISCSELECT", f"{image.misc_select:#x}  {', '.join(bit_names(image.misc_select, MISC_NAMES))}"),
    ]  # fmt: skip
    for name, value in image.details().items():
        shown = ", ".join(value) if isinstance(value, list) else str(value)
        if isinstance(value, bool):
            shown = "yes" if value else "no"
        if shown:
            rows.append((name, shown))
    if f is None:
        rows.append(("SIGSTRUCT", "none"))
    else:
        date = f"{f['DATE']:08x}"
        rows += [
            ("SIGSTRUCT", "valid" if not inspection.problems else "NOT VALID"),
            ("MRSIGNER", inspection.mrsigner or ""),
            ("product, SVN", f"{f['ISVPRODID']}, {f['ISVSVN']}"),
            ("signed on", f"{date[:4]}-{date[4:6]}-{date[6:]}" + ("  (vendor Intel)" if f["VENDOR"] else "")),
            ("masks", f"ATTRIBUTES {f['ATTRIBUTEMASK']:#x}, XFRM {f['XFRMMASK']:#x}, MISCSELECT {f['MISCMASK']:#x}"),
        ]  # fmt: skip
        for name, field in (("family", "ISVFAMILYID"), ("extended product", "ISVEXTPRODID")):
            if any(f[field]):
                rows.append((name, f[field].hex()))
    for name, value in rows:
        table.add_row(f"  {name}", value)
    return table


def _print_findings(inspection: Inspection, out: Console) -> None:
    from rich.text import Text

    findings = inspection.findings()
    serious = sum(finding.serious for finding in findings)
    out.print(Text(f"\nWeaknesses: {serious or 'none found'}", "bold"))
    for finding in findings:
        mark, style = ("WEAK", "red") if finding.serious else ("note", "")
        out.print(Text(f"  {mark}  {finding.name}: {finding.text}", style))


def _threads(inspection: Inspection) -> Table:
    from rich.table import Table

    threads = inspection.threads
    table = Table(title=f"\nThreads: {len(threads)}", title_justify="left", title_style="bold", box=None)
    for name in ("TCS", "OENTRY", "OSSA", "NSSA", "OFSBASE", "OGSBASE", "FLAGS"):
        table.add_column(name, justify="right")
    for t in threads[:SHOWN_THREADS]:
        table.add_row(*(f"{n:#x}" for n in (t.offset, t.entry, t.ssa)), str(t.frames),
                      *(f"{n:#x}" for n in (t.fs, t.gs, t.flags)))  # fmt: skip
    if len(threads) > SHOWN_THREADS:
        table.add_row(f"and {len(threads) - SHOWN_THREADS} more")
    return table


def _layout(inspection: Inspection) -> Table:
    from rich.table import Table

    from enclu.host.images.regions import ALL_MEASURED, NOT_MEASURED
    from enclu.host.inspection import type_name

    regions = inspection.regions
    table = Table(title="\nLayout, in the order of EADD", title_justify="left", title_style="bold", box=None)
    for name in ("offset", "end", "pages", "", "", "measured", ""):
        table.add_column(name, justify="right" if name in ("offset", "end", "pages") else "left")
    for r in regions[:SHOWN_REGIONS]:
        measured = {ALL_MEASURED: "yes", NOT_MEASURED: "no"}.get(r.measured, f"{r.measured.bit_count()}/16")
        rights = r.rights if r.flags else ""
        table.add_row(f"{r.offset:#x}", f"{r.offset + r.size:#x}", f"{r.size >> 12:,}", type_name(r), rights,
                      measured if r.added else "not added", r.name)  # fmt: skip
    if len(regions) > SHOWN_REGIONS:
        table.add_row("", "", f"and {len(regions) - SHOWN_REGIONS} more")
    return table
