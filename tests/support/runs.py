"""Runs of enclu as processes, for tests that look at them from outside."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
ENCLU = [sys.executable, "-m", "enclu.cli.main"]
RUN = [*ENCLU, "run"]
DENIED = [sys.executable, "-m", "tests.support.denied"]
DOCKER = [sys.executable, "-m", "tests.support.docker_default"]
"""Before the words of a command, to have it run like that; in the `environment`."""
MARK = "ENCLU_TEST_MARK"
PR_CAPBSET_DROP, CAP_LAST = 24, 63
HANGS = 600
"""Seconds after which a program is taken to hang, however busy the machine."""
PATIENCE = 120
"""Seconds after which something that should happen at once is taken not to happen."""


def environment(**more: str) -> dict[str, str]:
    """The environment with this checkout's enclu and tests in it."""
    path = os.pathsep.join(filter(None, [str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, **more}


def enclu(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """One command to its end, its output as text."""
    options.setdefault("env", environment())
    if "input" not in options:
        options.setdefault("stdin", subprocess.DEVNULL)
    command = [*ENCLU, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=HANGS, check=False, **options)


def run(*program: str | Path, options: tuple[str, ...] = (), **more: Any) -> subprocess.CompletedProcess[str]:
    """`enclu run` to its end."""
    return enclu("run", *options, *program, **more)


def sh(script: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """A shell script under `enclu run`."""
    return run("/bin/sh", "-c", script, **more)


def without_privileges() -> None:
    """Root, too, is bound by file modes from the next exec on."""
    prctl = ctypes.CDLL(None).prctl
    for capability in range(CAP_LAST + 1):
        prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)


def wait_until(condition: Callable[[], object], seconds: float = PATIENCE) -> bool:
    """Whether it comes true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def status(pid: int, field: str) -> str:
    """A field of /proc/PID/status, empty for a process that is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(field + ":")), "")


def supervisor_of(pid: int) -> int:
    """The process that traces `pid`, which is a program that has come as far as its first instruction."""
    assert wait_until(lambda: status(pid, "TracerPid") not in ("", "0"))
    return int(status(pid, "TracerPid"))


def children_of(pid: int) -> list[int]:
    """Children of the main thread of `pid`."""
    try:
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def gone(pid: int) -> bool:
    """No such process, or nothing of it but a zombie that its parent has yet to wait for."""
    return status(pid, "State")[:1] in ("", "Z", "X")


class Marked:
    """Processes that have inherited a mark in their environment: everything that a run consists of."""

    def __init__(self) -> None:
        self.mark = uuid.uuid4().hex

    def environment(self, **more: str) -> dict[str, str]:
        return environment(**{MARK: self.mark}, **more)

    def alive(self) -> list[int]:
        """The processes that are left."""
        wanted, found = f"{MARK}={self.mark}".encode(), []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    if wanted in (entry / "environ").read_bytes():
                        found.append(int(entry.name))
                except OSError:
                    continue  # gone meanwhile, or not ours to look at
        return found

    def all_gone(self) -> bool:
        return wait_until(lambda: not self.alive())


@contextmanager
def marked() -> Iterator[Marked]:
    """Processes of a test; none is left behind by it, whatever becomes of it."""
    processes = Marked()
    try:
        yield processes
    finally:
        for pid in processes.alive():
            try:
                os.kill(pid, 9)
            except ProcessLookupError:
                continue
