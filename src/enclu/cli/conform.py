"""`enclu conform`: what the SDM and Linux claim, as cases; how the machine in software, or hardware, answers them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from enclu.base import console
from enclu.cli.interruptible import interruptible
from enclu.cli.start import DESIGN
from enclu.linux import delivery as designs

INTERRUPTED = 130


@click.command(
    epilog="""\b
Examples:
  enclu conform                       on the machine in software
  enclu conform -k eenter/ --list     what is claimed of EENTER, and where that is written
  enclu conform --source conform      the program, for a machine with SGX; there:
    cd conform && gcc @build.args -o conform && ./conform > report.json
  enclu conform report.json           how that machine differs from what is expected

\b
Exit status: 0, nothing differs (but for what docs/fidelity.md has); 1, something does;
2, there is no report, or the cases cannot be run; 130 after Ctrl-C, with the cases that were answered.""",
)
@click.option("--delivery", "design", type=click.Choice(designs.choices()), metavar="NAME", default=DESIGN,
              show_default=True, help="How exceptions are delivered; see `enclu run --help`.")  # fmt: skip
@click.option("--fast-path/--no-fast-path", default=True, help="As for `enclu run`.")
@click.option("-k", "part", default="", metavar="PART", help="Only cases whose group/name contains PART.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("--list", "listing", is_flag=True, help="Print the claims, with what is expected, and run nothing.")
@click.option("--source", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
              help="Write the program's C sources to DIR, for a machine with SGX.")  # fmt: skip
@click.argument("report", required=False, type=click.Path(dir_okay=False, path_type=Path))
@click.pass_context
def conform(
    ctx: click.Context, design: str, fast_path: bool, part: str, as_json: bool, listing: bool, source: Path | None,
    report: Path | None,
) -> None:  # fmt: skip
    """Execute what the SDM and Linux claim of SGX as cases, or compare the REPORT of a machine that has.

    Needs gcc.  A difference is a mistake of the machine in software, of hardware, or of a case: each has its source.
    """
    from enclu.conform import ConformError, Interrupted, program, table
    from enclu.conform.report import parsed, read

    try:
        if source is not None:
            program.copy_source(source)
            return
        if listing:
            listed = program.claims(part)
            print(json.dumps(listed, indent=1)) if as_json else table.print_claims(listed, sys.stdout)
            return
        status = 0
        strange: list[str] = []
        if report is not None:
            found, strange = read(report).against(program.claims(part))
        else:
            options = ("--delivery", design, *(() if fast_path else ("--no-fast-path",)))
            try:
                with interruptible():
                    found = program.run(options, part)
            except Interrupted as interrupted:
                status = INTERRUPTED
                if not interrupted.answered:
                    console.say("interrupted before a case was answered")
                    ctx.exit(status)
                found = parsed(interrupted.answered, program.WHERE)
                asked = len(program.claims(part)["cases"])
                console.say(f"interrupted: what follows is {len(found.cases)} of {asked} cases")
            found = found.on_the_machine_in_software()
        if as_json:
            print(json.dumps(found.as_json(), indent=1))
        else:
            table.print_report(found, strange, sys.stdout)
        ctx.exit(status or int(found.differs))
    except ConformError as error:
        print(f"enclu: {error}", file=sys.stderr)
        ctx.exit(2)
