"""`enclu drop-epc`: a power event for a run that is under way."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import click

from enclu.native import proc


def supervisor_of(pid: int) -> int | None:
    """Who supervises a process: it traces it, and has a handler for SIGPWR, as no debugger has."""
    tracer = int(_status(pid)["TracerPid"])
    caught = int(_status(tracer)["SigCgt"], 16) if tracer else 0
    return tracer if caught >> signal.SIGPWR - 1 & 1 else None


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":", 1) for line in lines)


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
