"""`enclu gdb`: start gdb, and in it a program on the SGX machine."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import click

from enclu.base import console
from enclu.cli.run import RunCommand, machine_options
from enclu.cli.start import start
from enclu.run.gdb import in_gdb
from enclu.run.gdb.session import Gdb
from enclu.run.program_file import LaunchError, find


@click.command(
    cls=RunCommand,
    epilog="""\b
Examples:
  enclu gdb ./my_sgx_app --its-own-option
  enclu gdb --delivery signal ./my_sgx_app          with the machine's options of `enclu run`
  enclu gdb -x commands ./my_sgx_app                a file of gdb's commands
  enclu gdb --batch -x commands ./my_sgx_app        and no prompt
\b
In gdb:
  (gdb) break my_ecall        in an enclave that is loaded later, too: answer y
  (gdb) monitor sgx           enclaves, and who is in them; `monitor sgx help`
  (gdb) bt                    from the enclave through its entry into the host""",
)
@machine_options
@click.option("-x", "--command", "scripts", metavar="FILE", multiple=True, type=click.Path(exists=True, dir_okay=False),
              help="Have gdb execute the commands in FILE.")  # fmt: skip
@click.option("--batch", is_flag=True, help="gdb has no prompt, and ends after the last command.")
@click.option("--gdb-command", metavar="NAME", default="gdb", show_default=True, help="The gdb to start.")
@click.argument("program")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def gdb(
    ctx: click.Context, design: str, epc: int | None, machine_name: str | None, secret_fd: int | None,
    stats: str | None, quiet: bool, cpu: str, svn_update: str, fast_path: bool, no_pin: bool,
    scripts: tuple[str, ...], batch: bool, gdb_command: str, program: str, arguments: tuple[str, ...],
) -> None:  # fmt: skip
    """Debug PROGRAM, its host code and its debug enclaves, with gdb.

    PROGRAM waits before its first instruction; `continue` starts it, and it is killed when gdb ends.  Enclaves are
    libraries to gdb: their symbols load by themselves where their file can be found.
    """
    command = shutil.which(gdb_command)
    if command is None:
        console.say(f"no {gdb_command} here: install it (apt-get install gdb), or name another by --gdb-command")
        ctx.exit(127)
    try:
        path = find(program)
    except LaunchError as error:
        console.say(str(error))
        ctx.exit(error.status)
    directory = tempfile.mkdtemp(prefix="enclu-gdb-")
    where = str(Path(directory, "socket"))
    waiting = Gdb(where, "kill", directory=directory)
    if os.fork() == 0:
        os._exit(
            start(
                program, arguments, design=design, epc=epc, machine_name=machine_name, secret_fd=secret_fd, stats=stats,
                quiet=quiet, cpu=cpu, svn_update=svn_update, pin=not no_pin, fast_path=fast_path, gdb=waiting,
            )
        )  # fmt: skip
    waiting.listener.close()
    lines = ["set sysroot /", f"file {path}", f"target remote {where}", f"source {in_gdb.__file__}"]
    words = [command, "-q", *(["-batch"] if batch else []), *(word for line in lines for word in ("-ex", line))]
    os.execv(command, [*words, *(word for script in scripts for word in ("-x", script))])
