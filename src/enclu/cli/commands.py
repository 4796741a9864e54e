"""The commands of `enclu`."""

from __future__ import annotations

import importlib
import sys

import click
from click.exceptions import NoArgsIsHelpError

from enclu import __version__
from enclu.base import console

NAMES = (
    "run", "trace", "profile", "gdb", "check", "compare", "conform", "explain", "drop-epc", "core", "sweep", "audit",
    "build", "measure", "inspect", "sign", "edl", "quote",
)  # fmt: skip
"""Each has a module here, in which it has the module's name."""


class Commands(click.Group):
    """Imports the command that is asked for; says what to write instead when `run` was forgotten."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(NAMES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in NAMES:
            return None
        name = cmd_name.replace("-", "_")
        found: click.Command = getattr(importlib.import_module(f"enclu.cli.{name}"), name)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in NAMES:
            known = ", ".join(sorted(NAMES))
            ctx.fail(f"no command {args[0]!r} (there are: {known}); to run a program: enclu run {' '.join(args)}")
        return super().resolve_command(ctx, args)


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Examples:
  enclu check                   can this machine do it?
  enclu run ./my_sgx_app        run a program as on a machine with SGX
  enclu trace ./my_sgx_app      and see what happens, and why something is refused
  enclu profile -- ./my_sgx_app see where its time goes
  enclu gdb ./my_sgx_app        debug it, enclaves and all
  enclu run --help              the designs of exception delivery, and more
  enclu compare                 what becomes of the thread's arguments under each design""",
)
@click.version_option(__version__, prog_name="enclu")
def commands() -> None:
    """An SGX machine in software: run SGX programs on x86-64 Linux machines without SGX.

    For developing, testing and teaching.  Nothing in an enclave is protected here.
    """


def main() -> int:
    """What the command line asks for; its exit status.  What is wrong with it is said in one line."""
    try:
        status = commands.main(prog_name="enclu", standalone_mode=False)
    except NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else "", err=True)
        return error.exit_code
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        named = [name for name in sys.argv[1:2] if name in NAMES]
        command = context.command_path if context is not None else " ".join(["enclu", *named])
        message = error.format_message().replace("\n", " ").rstrip(".")
        console.say(f"{message[:1].lower()}{message[1:]}; see `{command} --help`")
        return error.exit_code
    except click.Abort:
        return 130
    return status if isinstance(status, int) else 0
