"""`enclu run`: run a program on the SGX machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from enclu.cli.start import CPU, DESIGN, start
from enclu.linux import delivery as designs
from enclu.linux import intel_cpu
from enclu.run import host_memory
from enclu.sgx.encls.svn import SvnUpdate
from enclu.sgx.epc import size_of


class EpcSize(click.ParamType[int]):
    """A number of bytes, with K, M, G or T, for which there is memory."""

    name = "size"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            size = size_of(str(value))
            host_memory.check_epc(size)
            return size
        except ValueError as error:
            self.fail(str(error), param, ctx)


class RunCommand(click.Command):
    """Of a program, whose own options follow its name.

    Lets `--stats` stand alone: click would take the program that follows as its value.
    """

    allow_interspersed_args = False

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        options = (option for option in self.params if isinstance(option, click.Option))
        take_a_value = {name for o in options if not (o.is_flag or o.name == "stats") for name in o.opts}
        previous = ""
        for i, arg in enumerate(args):
            if previous in take_a_value:
                previous = ""
                continue
            if not arg.startswith("-") or arg == "--":
                break
            if arg == "--stats":
                args[i] = "--stats=human"
            previous = arg
        return super().parse_args(ctx, args)


_OPTIONS: tuple[Callable[[Callable[..., Any]], Callable[..., Any]], ...] = (
    click.option("--delivery", "design", type=click.Choice(designs.choices()), metavar="NAME", default=DESIGN,
                  show_default=True, help="How the kernel delivers an exception of ENCLU or of an enclave: "
                  f"{', '.join(designs.choices())}."),
    click.option("--epc", type=EpcSize(), show_default="2G, or half of a smaller memory",
                  help="Size of the EPC; pages beyond are evicted."),
    click.option("--machine", "machine_name", metavar="NAME",
                  help="A machine that keeps its keys, so that sealed data survives; fresh keys otherwise."),
    click.option(
        "--secret-fd", type=int, hidden=True, help="A descriptor to read the machine's secret from: for the host."
    ),
    click.option("--stats", type=click.Choice(["human", "json"]), metavar="[human|json]",
                  help="Print counters on stderr at the end (--stats or --stats=json)."),
    click.option("--quiet", is_flag=True,
                  help="No line on stderr when a process fails right after a refused ioctl or faulting leaf."),
    click.option("--cpu", type=click.Choice(intel_cpu.CPUS), default=CPU, show_default=True,
                  help="Whose processor CPUID and /proc/cpuinfo show: the host's with SGX, or one of Intel's with the "
                  "host's features, for programs that look for SGX nowhere else."),
    click.option("--svn-update", type=click.Choice([found.value for found in SvnUpdate]), default="none",
                  show_default=True, help="What EUPDATESVN finds when the device is opened and no enclave is there "
                  "(Linux 6.19): newer microcode raises CPUSVN, no-entropy is EAGAIN, fails EIO."),
    click.option("--fast-path/--no-fast-path", default=True,
                  help="Whether EENTER, ERESUME, EEXIT and EDECCSSA take place in the program's own process where they "
                  "can, without a stop."),
    click.option("--no-pin", is_flag=True, help="Never move busy threads onto the supervisor's processor."),
)  # fmt: skip


stepping_option = click.option(
    "--stepping", is_flag=True,
    help="Let the program step through its enclaves, as SGX-Step does, by ioctls of enclu_sgx.h; no fast path.",
)  # fmt: skip


def machine_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Those of every command that runs a program on a machine of its own."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command(
    cls=RunCommand,
    epilog="""\b
Examples:
  enclu run ./my_sgx_app --its-own-option
  enclu run --delivery signal ./my_sgx_app      as before Linux 5.11: exceptions are signals
  enclu run --epc 16M --stats ./my_sgx_app      a small EPC; counters at the end
  enclu run --stats=json ./my_sgx_app 2>log     the last line of log is the counters
  enclu run --cpu intel is-sgx-available        for programs that ask for "GenuineIntel" first
  enclu run --gdb 2345 ./my_sgx_app             wait for gdb: target remote :2345 (see `enclu gdb`, too)
  enclu run --machine build7 ./my_sgx_app       what it seals today it unseals tomorrow
  enclu run --core-dir /tmp/cores ./my_sgx_app  if it crashes: gdb ./my_sgx_app /tmp/cores/core.*

\b
Exit status: the program's own, and the signals it dies by are its own.
  2 for a bad option, 125 for a failure of enclu, 126 for a program that cannot
  be executed, 127 for one that is not there.""",
)
@machine_options
@stepping_option
@click.option("--trace", "trace_file", metavar="FILE", type=click.Path(dir_okay=False),
              help="Write what happens to FILE, as `enclu trace -o` does; JSON if it ends in .json, for Perfetto if it "
              "ends in .pftrace or .perfetto-trace.")  # fmt: skip
@click.option("--core-dir", metavar="DIR", type=click.Path(file_okay=False),
              help="Write a core of each process that a signal ends to DIR: docs/cores.md.")  # fmt: skip
@click.option("--core-enclaves", type=click.Choice(["debug", "all", "none"]), default="debug", show_default=True,
              help="Whose pages are in cores; hardware lets nobody read those of production enclaves.")  # fmt: skip
@click.option(
    "--gdb",
    "gdb_at",
    metavar="[HOST:]PORT|PATH",
    help="Wait for gdb (`target remote`), at a port of this machine or the path of a Unix socket.",
)
@click.option("--gdb-exit", type=click.Choice(["continue", "kill"]), default="continue", show_default=True,
              help="What becomes of PROGRAM if gdb is gone without a word.")  # fmt: skip
@click.argument("program")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def run(
    ctx: click.Context, design: str, epc: int | None, machine_name: str | None, secret_fd: int | None,
    stats: str | None, quiet: bool, cpu: str, svn_update: str, fast_path: bool, no_pin: bool, stepping: bool,
    trace_file: str | None,
    core_dir: str | None, core_enclaves: str, gdb_at: str | None, gdb_exit: str, program: str,
    arguments: tuple[str, ...],
) -> None:  # fmt: skip
    """Run PROGRAM, an unmodified SGX program or any other.

    This process becomes PROGRAM; a supervisor beside it plays processor and kernel for it and for all its
    descendants.  No secrets are protected.
    """
    trace = None
    if trace_file is not None:
        from enclu.trace.forms import form_of
        from enclu.trace.tracer import Wanted

        trace = Wanted(trace_file, form_of(trace_file))
    gdb = None
    if gdb_at is not None:
        from enclu.run.gdb.session import AddressError, Gdb

        try:
            gdb = Gdb(gdb_at, gdb_exit)
        except AddressError as error:
            raise click.BadParameter(f"{gdb_at}: {error}", ctx, param_hint="--gdb") from None
        if stepping:
            raise click.UsageError("--stepping and --gdb both step through enclaves: choose one", ctx)
    ctx.exit(
        start(
            program, arguments, design=design, epc=epc, machine_name=machine_name, secret_fd=secret_fd, stats=stats,
            quiet=quiet, cpu=cpu, svn_update=svn_update, pin=not no_pin, fast_path=fast_path, trace=trace,
            cores=None if core_dir is None else (core_dir, core_enclaves),
            gdb=gdb, stepping=stepping,
        )
    )  # fmt: skip
