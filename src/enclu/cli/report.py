"""What a run tells people: its counters, and how it failed."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

from enclu import __version__
from enclu.base import console
from enclu.native.exec_image import NoVdso
from enclu.native.proc import REQUEST

if TYPE_CHECKING:
    from enclu.run.supervisor import Supervisor


def supervise(supervisor: Supervisor, pid: int, *, subreaper: bool) -> None:
    """The supervisor's life.  Whatever goes wrong in it ends the run: the program is killed, never left hanging."""
    # Collecting garbage among as many objects as there are EPC pages costs more than the garbage.
    gc.freeze()
    gc.enable()
    gc.set_threshold(200_000, 20, 100)
    # Not one thread of NumPy's for each processor; where none can be created, it would raise SIGINT.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    sys.setswitchinterval(1e-4)  # the workers' tasks are short; waiting for the interpreter must not be longer
    try:
        supervisor.adopt(pid, subreaper=subreaper)  # before there are signals to pass on to it
        for signo in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(signo, lambda signo, _frame: supervisor.pass_on(signo))
        signal.signal(signal.SIGPWR, lambda _signo, _frame: supervisor.power_event())
        signal.signal(REQUEST, lambda _signo, _frame: supervisor.asked())
        supervisor.run()
    except BaseException as error:
        failure(error, killed=True)
        supervisor.kill()


def failure(error: BaseException, *, killed: bool = False) -> None:
    """One line that says what went wrong and what to do about it."""
    so = "; the program is killed" if killed else ""
    if os.environ.get(console.DEBUG):
        import traceback

        with contextlib.suppress(OSError, ValueError):  # no standard error to print it on
            traceback.print_exception(error, file=sys.stderr)
    if isinstance(error, NoVdso):
        console.say(f"{error}{so}")
    elif isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        console.say(f"out of memory{so}; a smaller --epc, or a higher `ulimit -v`, may help")
    elif isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        console.say(f"out of file descriptors{so}; enclu needs about one for each process: raise `ulimit -Hn`")
    else:
        where = _where(error)
        console.say(
            f"internal error in enclu {__version__}, {where}: {type(error).__name__}: {' '.join(str(error).split())}"
            f"{so}. Please report this line, the command and what it prints with {console.DEBUG}=1"
        )


def _where(error: BaseException) -> str:
    import traceback  # seldom needed

    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if f"{os.sep}enclu{os.sep}" in frame.filename] or frames
    return f"{os.path.basename(ours[-1].filename)}:{ours[-1].lineno}" if ours else "nowhere"


def stats(counters: dict[str, Any], in_process: dict[str, int], by_stops: list[str], form: str) -> None:
    """Print the counters on standard error, `form` being human or json."""
    import json

    values = {**counters, "in_process": in_process, "by_stops": by_stops}
    console.write(json.dumps(values) + "\n" if form == "json" else _table(values))


ROWS = {
    "entries": "entries (EENTER, ERESUME)",
    "exits": "exits (EEXIT)",
    "leaves": "ENCLU",
    "in_process": "without a stop",
    "aex": "AEX",
    "fixups": "exceptions fixed up",
    "signals": "exceptions that became signals",
    "async_signals": "other signals",
    "faults_resolved": "page faults resolved",
    "faulting_leaves": "ENCLU leaves that faulted",
    "refused_ioctls": "ioctls refused",
    "enclaves": "enclaves",
    "epc_peak": "EPC pages at most",
    "epc_peak_mib": "EPC MiB at most",
    "epc_used": "EPC pages at the end",
    "evictions": "evictions",
    "reloads": "reloads",
    "refused_pages": "pages refused at reload",
}
"""What each counter is called in the table, in its order."""


def _table(values: dict[str, Any]) -> str:
    rows: list[tuple[str, str]] = []
    for name, label in ROWS.items():
        value = values[name]
        if isinstance(value, dict):
            rows += [(f"{label} {key}", f"{number:,}") for key, number in value.items()]
        else:
            rows.append((label, f"{value:,.1f}" if isinstance(value, float) else f"{value:,}"))
    left, right = max(len(n) for n, _ in rows), max(len(v) for _, v in rows)
    lines = ["enclu:", *(f"  {n:<{left}}  {v:>{right}}" for n, v in rows)]
    lines += [f"  transitions that stop the thread: {why}" for why in values["by_stops"]]
    return "".join(f"{line}\n" for line in lines)
