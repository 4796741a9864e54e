"""`enclu drop-epc`: a power event for a run that is under way."""

from __future__ import annotations

import os
import signal

import click

from enclu.native import proc
from enclu.run.control import supervisor_of


@click.command(
    epilog="""\b
Example:
  enclu run ./my_sgx_app & enclu drop-epc $!     does my_sgx_app build its enclaves anew?""",
)
@click.argument("pid", type=click.IntRange(1))
def drop_epc(pid: int) -> None:
    """Have the machine of process PID lose its EPC, as real ones do when they sleep.

    PID is any process under `enclu run`; all enclaves of that run are lost.  A program can do it itself:
    ENCLU_SGX_IOC_DROP_EPC in enclu_sgx.h.
    """
    try:
        proc.check()
        supervisor = supervisor_of(pid)
        if supervisor is None:
            raise click.ClickException(f"process {pid} is not under `enclu run`")
        os.kill(supervisor, signal.SIGPWR)
    except proc.ProcUnusable as error:
        raise click.ClickException(str(error)) from None
    except (FileNotFoundError, ProcessLookupError):
        raise click.ClickException(f"there is no process {pid}") from None
    except PermissionError:
        raise click.ClickException(f"process {pid} is another user's") from None
