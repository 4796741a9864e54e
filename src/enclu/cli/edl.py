"""`enclu edl`: Python for an enclave's interface."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(
    epilog="""\b
Example:
  enclu edl Enclave.edl -o enclave_calls.py""",
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write there, not to standard output."
)
@click.option(
    "-I", "--search-path", "search", multiple=True, type=click.Path(path_type=Path),
    help="Look for imported files there, too.  May be given more than once.",
)  # fmt: skip
@click.option("--sdk", metavar="MAJOR.MINOR", help="The SDK's release, for its own EDL files.  [default: the newest]")
@click.option("--flat", is_flag=True, help="Print the interface as one EDL file, imports resolved, in place of Python.")
def edl(file: Path, output: Path | None, search: tuple[Path, ...], sdk: str | None, flat: bool) -> None:
    """Print a Python module for the enclave whose interface is the EDL FILE.

    It has a class with a typed method for each ECALL, and a Protocol of the OCALLs that you implement.  Functions are
    numbered as Intel's edger8r does; its SDK's own EDL files are known.
    """
    from enclu.host.edl import EdlError, load, stubs

    try:
        interface = load(file, search, _release(sdk))
    except EdlError as error:
        raise click.ClickException(str(error)) from None
    text = str(interface) if flat else stubs.module(interface)
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        output.write_text(text)
    except OSError as error:
        raise click.ClickException(f"{output}: cannot be written: {error.strerror}") from None


def _release(sdk: str | None) -> tuple[int, int] | None:
    if sdk is None:
        return None
    major, dot, minor = sdk.partition(".")
    if not (major.isdecimal() and dot and minor.isdecimal()):
        raise click.BadParameter(f"{sdk!r} is no release such as 2.13", param_hint="--sdk")
    return int(major), int(minor)
