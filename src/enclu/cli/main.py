"""The `enclu` command."""

from __future__ import annotations

import click

from enclu import __version__
from enclu.cli.check import check
from enclu.cli.compare import compare
from enclu.cli.run import run


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="enclu")
def main() -> None:
    """An SGX machine in software: run SGX programs on x86-64 Linux machines without SGX.

    For developing, testing and teaching.  Nothing in an enclave is protected here.
    """


main.add_command(run)
main.add_command(check)
main.add_command(compare)

if __name__ == "__main__":
    main()
