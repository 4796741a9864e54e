"""`enclu trace`: run a program and write down what its enclaves, the machine and the driver did."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from enclu.cli.run import RunCommand, machine_options, stepping_option
from enclu.cli.start import start
from enclu.trace import decoders
from enclu.trace.calls import Convention
from enclu.trace.filters import WORDS, Filter
from enclu.trace.forms import FORMATS
from enclu.trace.names import NamesError, of_edl, of_image
from enclu.trace.text import Times
from enclu.trace.tracer import Wanted

_CONVENTION_OPTIONS: tuple[Callable[[Callable[..., Any]], Callable[..., Any]], ...] = (
    click.option("--convention", metavar="NAME",
                  help="Whose ECALLs and OCALLs they are, if that is not to be found out: sdk, open-enclave, edp, "
                  "gramine, enclu, one that a package adds, or none."),
    click.option("--edl", metavar="FILE", type=click.Path(path_type=Path),
                  help="Names for ECALLs and OCALLs of Intel's SDK."),
    click.option("--enclave", metavar="FILE", type=click.Path(path_type=Path),
                  help="The same from the symbols of an enclave; those of one that its loader has mapped are found by "
                  "themselves."),
)  # fmt: skip


def convention_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Those that say what ECALLs and OCALLs are."""
    for option in reversed(_CONVENTION_OPTIONS):
        command = option(command)
    return command


def convention_of(ctx: click.Context, name: str | None, edl: Path | None, enclave: Path | None) -> Convention:
    """What they come to.  Says what is wrong with them."""
    try:
        return _convention(name, edl, enclave)
    except decoders.NoConvention as error:
        raise click.BadParameter(str(error), ctx, param_hint="--convention") from None
    except NamesError as error:
        raise click.ClickException(str(error)) from None


@click.command(
    cls=RunCommand,
    epilog=f"""\b
Examples:
  enclu trace ./my_sgx_app                      everything, on standard error
  enclu trace -e ioctl,enclave ./my_sgx_app     how its enclaves are built, and why the driver refuses
  enclu trace -e '!enclu' -o log ./my_sgx_app   everything but leaves, into a file
  enclu trace -t -e aex,fixup,signal PROGRAM    exceptions and what becomes of them, with the time of day
  enclu trace --format json -o log PROGRAM      for programs: docs/trace.md has the schema
  enclu trace --format perfetto -o app.pftrace PROGRAM
                                                to be opened at https://ui.perfetto.dev

What -e knows: {", ".join(WORDS[:9])}; of leaves {", ".join(WORDS[9:])}; and each
kind of event by its name in docs/events.md.  "!" in front means all others.""",
)
@machine_options
@stepping_option
@click.option("-o", "--output", metavar="FILE", type=click.Path(dir_okay=False), help="Not to standard error but here.")
@click.option("-e", "words", metavar="WORDS", default="", help="Only these events, with commas between.")
@click.option("--lossy", is_flag=True, help="Do not stop the program for leaves: count those that do not fit.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="text", show_default=True)
@click.option("-t", "times", flag_value=Times.CLOCK.value, help="Each line with the time of day.")
@click.option("--tt", "times", flag_value=Times.EPOCH.value, help="With seconds since 1970.")
@click.option(
    "-r", "--relative", "times", flag_value=Times.RELATIVE.value, help="With the seconds since the last line."
)
@convention_options
@click.argument("program")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def trace(
    ctx: click.Context, design: str, epc: int | None, machine_name: str | None, secret_fd: int | None,
    stats: str | None, quiet: bool, cpu: str, svn_update: str, fast_path: bool, no_pin: bool, stepping: bool,
    output: str | None, words: str, form: str, times: str | None, lossy: bool, convention: str | None, edl: Path | None,
    enclave: Path | None, program: str, arguments: tuple[str, ...],
) -> None:  # fmt: skip
    """Run PROGRAM as `enclu run` does, and write a line for each thing that happens.

    Leaves with their registers, AEXs, exceptions and what becomes of them, ioctls, page faults resolved, evictions: of
    all processes and threads, each with the reason of what was refused.  The exit status is the program's.
    """
    if form == "perfetto" and output is None:
        raise click.UsageError("a trace for Perfetto is no text: give a file, as -o trace.pftrace", ctx)
    calls = convention_of(ctx, convention, edl, enclave)
    try:
        wanted = Wanted(output, form, Filter(words), Times(times or Times.NONE.value), lossy, calls)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param_hint="-e") from None
    ctx.exit(
        start(
            program, arguments, design=design, epc=epc, machine_name=machine_name, secret_fd=secret_fd, stats=stats,
            quiet=quiet, cpu=cpu, svn_update=svn_update, pin=not no_pin, fast_path=fast_path, stepping=stepping,
            trace=wanted,
        )
    )  # fmt: skip


def _convention(name: str | None, edl: Path | None, enclave: Path | None) -> Convention:
    """Raises NoConvention and NamesError."""
    if name is not None:
        decoders.named(name)
    if edl is not None:
        return Convention(name, of_edl(edl))
    return Convention(name, of_image(enclave)) if enclave is not None else Convention(name)
