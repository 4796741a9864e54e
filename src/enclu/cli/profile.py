"""`enclu profile`: where a program's time goes, of a run, or as a trace tells it."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click
from click.core import ParameterSource

from enclu.cli.run import RunCommand, machine_options, stepping_option
from enclu.cli.start import start
from enclu.cli.trace import convention_of, convention_options

if TYPE_CHECKING:
    from enclu.trace.profile.measure import Profile

_PROGRAM = "enclu.profile.program"


class ProfileCommand(RunCommand):
    """Of a trace, or of a program that follows "--"."""

    allow_interspersed_args = True

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--" in args:
            at = args.index("--")
            ctx.meta[_PROGRAM] = args[at + 1 :]
            args = args[:at]
        rest = super().parse_args(ctx, args)
        of_a_run = [param for param in self.params if isinstance(param, click.Option) and param.name not in _OF_BOTH]
        if _PROGRAM not in ctx.meta and not ctx.resilient_parsing:
            for param in of_a_run:
                if ctx.get_parameter_source(str(param.name)) is ParameterSource.COMMANDLINE:
                    raise click.UsageError(
                        f"{param.opts[0]} is of a run: enclu profile {param.opts[0]} ... -- PROGRAM", ctx
                    )
        return rest


_OF_BOTH = ("form", "output", "help")
"""Options of a trace, too."""


@click.command(
    cls=ProfileCommand,
    epilog="""\b
Examples:
  enclu profile -- ./my_sgx_app --its-own-option      run a program; its profile on standard error
  enclu profile --format html -o profile.html -- ./my_sgx_app
                                                      the same as one page
  enclu trace --format json -o log ./my_sgx_app       or keep a trace,
  enclu profile log                                   and make profiles of it
  enclu profile --format json log                     for programs: docs/profile.md has the schema
  zcat log.gz | enclu profile -                       from standard input""",
)
@click.option("--format", "form", type=click.Choice(("text", "json", "html")), default="text", show_default=True)
@click.option("-o", "--output", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
              help="Not to standard output, or to standard error of a run, but here.")  # fmt: skip
@machine_options
@stepping_option
@convention_options
@click.argument("trace", type=click.File("rb"), required=False, metavar="TRACE | -- PROGRAM [ARGUMENTS]...")
@click.pass_context
def profile(
    ctx: click.Context, /, form: str, output: Path | None, trace: BinaryIO | None, convention: str | None,
    edl: Path | None, enclave: Path | None, no_pin: bool, **options: Any,
) -> None:  # fmt: skip
    """Tell where a program's time goes: of PROGRAM, which is run as `enclu run` does, or of one that was traced before.

    Of each ECALL and OCALL how often, how long, how many AEXs, who calls it; of each enclave its paging; and advice, by
    the rules of sgx-perf: calls too short for a transition, calls to merge, to batch, to move, an EPC too small.

    TRACE is what `enclu trace --format json` has made.  After a run the exit status is the program's.
    """
    program: list[str] | None = ctx.meta.get(_PROGRAM)
    if program is None:
        if trace is None:
            raise click.UsageError("what is to be profiled: TRACE, or -- PROGRAM?", ctx)
        _of_trace(trace, form, output)
        return
    if trace is not None:
        raise click.UsageError("options come before `--', and a trace has no program to be run", ctx)
    if not program:
        raise click.UsageError("there is no program behind `--'", ctx)
    from enclu.trace.filters import Filter
    from enclu.trace.profile.live import EVENTS, Live
    from enclu.trace.tracer import Wanted

    render = _render(form)
    wanted = Wanted(
        str(output) if output is not None else None, partial(Live, render=render), Filter(EVENTS),
        convention=convention_of(ctx, convention, edl, enclave), what="profile",
    )  # fmt: skip
    ctx.exit(start(program[0], program[1:], pin=not no_pin, trace=wanted, **options))


def _of_trace(trace: BinaryIO, form: str, output: Path | None) -> None:
    from enclu.trace.profile.measure import measure
    from enclu.trace.profile.reader import Trace, TraceError

    try:
        text = _render(form)(measure(Trace(trace, getattr(trace, "name", "-"))))
    except TraceError as error:
        raise click.ClickException(str(error)) from None
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"{output}: cannot be written: {error.strerror}") from None


def _render(form: str) -> Callable[[Profile], str]:
    """What makes it: all that it needs is loaded, for the supervisor of a run may find no file later."""
    from enclu.trace.profile import report

    if form == "json":
        return lambda found: json.dumps(report.as_json(found), indent=1) + "\n"
    if form == "html":
        from enclu.trace.profile import page

        return page.render
    return report.as_text
