"""`enclu run`: run a program on the SGX machine."""

from __future__ import annotations

import gc
import json
import os
import re
import resource
import signal
import sys

import click

from enclu.linux import delivery as designs
from enclu.linux.stats import Stats
from enclu.native import launch
from enclu.native.machine_state import MachineStateError, secret_of
from enclu.native.supervisor import Supervisor
from enclu.sgx.machine import Machine

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
MINIMUM_EPC = 1 << 20


class Size(click.ParamType[int]):
    """A number of bytes, with K, M or G."""

    name = "size"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"(\d+)([KMG]?)(?:i?B)?", str(value).strip(), re.IGNORECASE)
        if match is None:
            self.fail(f"{value!r} is not a size; write for example 64M or 1G", param, ctx)
        size = int(match[1]) * _UNITS[match[2].upper()]
        if size < MINIMUM_EPC:
            self.fail(f"{value}: too small; an EPC has at least 1M", param, ctx)
        if size % 4096:
            self.fail(f"{value}: not a multiple of the page size, 4096", param, ctx)
        if size > 1 << 36:
            self.fail(f"{value}: too large; an EPC has at most 64G", param, ctx)
        return size


class RunCommand(click.Command):
    """Lets `--stats` stand alone: click would take the program that follows as its value."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        for i, arg in enumerate(args):
            if arg == "--stats":
                args[i] = "--stats=human"
            if not arg.startswith("-") and (i == 0 or args[i - 1] not in TAKE_A_VALUE):
                break
        return super().parse_args(ctx, args)


TAKE_A_VALUE = ("--delivery", "--policy", "--epc", "--machine")


@click.command(
    cls=RunCommand,
    context_settings={"allow_interspersed_args": False, "ignore_unknown_options": False},
    epilog="Example: enclu run --delivery mm-handler --stats ./my_sgx_app --its-own-option",
)
@click.option("--delivery", "design", type=click.Choice(designs.names()), default="vdso", show_default=True,
              help="How the kernel delivers an exception of ENCLU or of an enclave.")  # fmt: skip
@click.option("--policy", type=click.Choice(["overwrite", "write-once", "unregister-first"]), default="overwrite",
              show_default=True, help="mm-handler: what a second registration does.")  # fmt: skip
@click.option("--epc", type=Size(), default="64M", show_default=True, help="Size of the EPC; pages beyond are evicted.")
@click.option("--machine", "machine_name", metavar="NAME",
              help="A machine that keeps its keys, so that sealed data survives; fresh keys otherwise.")  # fmt: skip
@click.option("--stats", type=click.Choice(["human", "json"]), metavar="[human|json]",
              help="Print counters on stderr at the end (--stats or --stats=json).")  # fmt: skip
@click.option("--no-pin", is_flag=True, help="Never move busy threads onto the supervisor's processor.")
@click.argument("program")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def run(
    ctx: click.Context, design: str, policy: str, epc: int, machine_name: str | None, stats: str | None,
    no_pin: bool, program: str, arguments: tuple[str, ...],
) -> None:  # fmt: skip
    """Run PROGRAM, an unmodified SGX program or any other, and exit as it does.

    enclu waits for PROGRAM and all its descendants.  No secrets are protected.
    """
    if policy != "overwrite" and design != "mm-handler":
        raise click.UsageError("--policy goes with --delivery mm-handler")
    try:
        secret = secret_of(machine_name) if machine_name is not None else None
        path = launch.find(program)
        counters = Stats()
        machine = Machine(epc, secret)
        delivery = designs.create(design, policy=policy) if design == "mm-handler" else designs.create(design)
        supervisor = Supervisor(machine, delivery, counters, pin=not no_pin)
        launch.shield()
        pid = launch.start(path, [program, *arguments])
        _forward(pid)
        # Collecting garbage among as many objects as there are EPC pages costs more than the garbage.
        gc.freeze()
        gc.set_threshold(200_000, 20, 100)
        sys.setswitchinterval(1e-4)  # the workers' tasks are short; waiting for the interpreter must not be longer
        supervisor.adopt(pid)
        status = supervisor.run()
    except (launch.LaunchError, MachineStateError) as error:
        print(f"enclu: {error}", file=sys.stderr)
        ctx.exit(getattr(error, "status", 125))
    if stats:
        _print_stats(counters, stats)
    _exit_as(status)


def _forward(pid: int) -> None:
    """Signals meant for the run as a whole go to the program."""

    def pass_on(signo: int, _frame: object) -> None:
        os.kill(pid, signo)

    for signo in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(signo, pass_on)


def _exit_as(status: int) -> None:
    """End this process as the program ended, so that the shell sees the same."""
    sys.stdout.flush()
    sys.stderr.flush()
    if os.WIFSIGNALED(status):
        signo = os.WTERMSIG(status)
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
        if signo not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(signo, signal.SIG_DFL)
        os.kill(os.getpid(), signo)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def _print_stats(stats: Stats, form: str) -> None:
    values = stats.as_dict()
    if form == "json":
        print(json.dumps(values), file=sys.stderr)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("counter", "value", title="enclu")
    table.columns[1].justify = "right"
    for name, value in values.items():
        if isinstance(value, dict):
            for key, number in value.items():
                table.add_row(f"{name.replace('_', ' ')} {key}", f"{number:,}")
        else:
            table.add_row(name.replace("_", " "), f"{value:,}")
    Console(stderr=True).print(table)
