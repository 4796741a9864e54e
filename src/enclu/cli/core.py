"""`enclu core`: a core of a process that goes on, and what a core tells of enclaves."""

from __future__ import annotations

import os
from pathlib import Path

import click


@click.command(
    epilog="""\b
Examples:
  enclu core 4711                           core.4711 of a process under `enclu run`, which goes on
  enclu core 4711 -o before && enclu core 4711 -o after
  enclu core --inspect core.app.4711        its threads, enclaves, exception and SSA frames
  enclu core --inspect --gdb core.app.4711 >s && gdb -x s ./app core.app.4711
                                            with the symbols of its enclaves

\b
Cores of processes that crash: `enclu run --core-dir DIR`.""",
)
@click.argument("what", metavar="PID|CORE")
@click.option("-o", "--output", metavar="FILE", type=click.Path(dir_okay=False),
              help="Where to write the core; core.PID if it is not given.  There must be no such file.")  # fmt: skip
@click.option("--enclaves", type=click.Choice(["debug", "all", "none"]), default="debug", show_default=True,
              help="Whose pages are in it; hardware lets nobody read those of production enclaves.")  # fmt: skip
@click.option("--inspect", is_flag=True, help="Tell what is in a core.")
@click.option("--gdb", "for_gdb", is_flag=True, help="With --inspect: as commands for gdb that load symbols.")
@click.option("--image", "images", metavar="FILE", multiple=True, type=click.Path(exists=True, dir_okay=False),
              help="With --inspect: the file of an enclave, if the core does not tell it.")  # fmt: skip
def core(
    what: str, output: str | None, enclaves: str, inspect: bool, for_gdb: bool, images: tuple[str, ...]
) -> None:  # fmt: skip
    """Write a core of process PID, or tell what is in one.

    PID is any process under `enclu run`.  gdb opens the core as one of the kernel's; threads in debug enclaves have
    the registers that they have there.  Nothing in an enclave is protected from this.
    """
    if inspect or for_gdb:
        _inspect(Path(what), images, for_gdb=for_gdb)
        return
    if images:
        raise click.UsageError("--image is for --inspect")
    if not what.isdigit():
        raise click.UsageError(f"{what!r} is no number of a process; to look into a core: enclu core --inspect {what}")
    from enclu.run.control import Refused
    from enclu.run.cores.dump import Enclaves
    from enclu.run.cores.live import core as write

    path = Path(output or f"core.{what}")
    try:
        write(int(what), path, Enclaves(enclaves))
    except Refused as why:
        raise click.ClickException(str(why)) from None
    except FileExistsError:
        raise click.ClickException(f"{path} is there already, and is not overwritten; -o names another") from None
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}") from None
    click.echo(os.fspath(path))


def _inspect(path: Path, images: tuple[str, ...], *, for_gdb: bool) -> None:
    from enclu.host.cores import Core, NoCore

    try:
        found = Core.read(path, images)
        click.echo(found.commands() if for_gdb else found.described())
    except NoCore as why:
        raise click.ClickException(f"{path}: {why}") from None
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}") from None
