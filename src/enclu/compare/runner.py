"""Runs programs under designs and observes how they end."""

from __future__ import annotations

import contextlib
import enum
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from enclu.base import directories
from enclu.compare import CompareError
from enclu.compare.catalog import Scenario

ENCLU_FAILED = (125, 126, 127)
"""Exit statuses of `enclu run` itself."""


class Outcome(enum.StrEnum):
    """How a scenario ends under a design."""

    WORKS = "works"
    WRONG = "wrong"
    REFUSED = "refused"
    KILLED = "killed"


@dataclass(frozen=True)
class Ended:
    """How one run ended."""

    outcome: Outcome
    reason: str
    output: str
    """What the program printed, on stdout and then on stderr."""


@dataclass(frozen=True)
class Task:
    """A scenario to be run under a design."""

    scenario: Scenario
    design: str
    """With or without a setting."""
    program: Path

    @property
    def arguments(self) -> tuple[str, ...]:
        """Of the enclu command."""
        return ("run", "--quiet", "--delivery", self.design, *self.scenario.options, str(self.program))

    @property
    def command(self) -> str:
        """For people, to run it by hand."""
        words = shlex.join(("enclu", *self.arguments))
        return words.replace(f"{Path.home()}/", "~/")


@dataclass(frozen=True)
class Cell:
    """A task and how it ended, each time."""

    task: Task
    ended: tuple[Ended, ...]

    @property
    def outcome(self) -> Outcome:
        return self.ended[0].outcome

    @property
    def reason(self) -> str:
        return self.ended[0].reason


def _end(process: subprocess.Popen[str]) -> None:
    """Kill a program and all its descendants: they end with the supervisor that traces them."""
    with contextlib.suppress(OSError):  # it may end by itself meanwhile
        fields = dict(line.split(":", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines())
        if tracer := int(fields["TracerPid"]):
            os.kill(tracer, signal.SIGKILL)
    process.kill()


def enclu(arguments: tuple[str, ...], timeout: float) -> tuple[int | None, str, str]:
    """Run the enclu command in an empty directory; its exit status (None: took too long), stdout and stderr.

    Raises CompareError if enclu itself cannot run programs here.
    """
    try:
        empty = directories.temporary("enclu-compare-")
    except directories.NoTemporary as error:
        raise CompareError(str(error.strerror)) from None
    with empty as directory:
        process = subprocess.Popen(
            [sys.executable, "-m", "enclu.cli.main", *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, errors="replace", cwd=directory,
        )  # fmt: skip
        try:
            stdout, stderr = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            _end(process)
            stdout, stderr = process.communicate()
            return None, stdout, stderr
    if process.returncode in ENCLU_FAILED or "Traceback (most recent call last)" in stderr:
        raise CompareError(f"enclu {shlex.join(arguments)} failed:\n{stderr.strip()}")
    return process.returncode, stdout, stderr


def run_once(task: Task) -> Ended:
    """Run a task; how it ended."""
    status, stdout, stderr = enclu(task.arguments, task.scenario.timeout)
    outcome, reason = judge(status, stdout, stderr, task.scenario.timeout)
    return Ended(outcome, reason, stdout + stderr)


def judge(status: int | None, stdout: str, stderr: str, timeout: float) -> tuple[Outcome, str]:
    """Outcome and reason, from what a program did: nobody declares a death."""
    observed = [line for line in stdout.splitlines() if line.startswith(("ok ", "not ok "))]
    after = f"after {observed[-1].partition(' - ')[2]!r}" if observed else "before anything was observed"
    if status is None:
        return Outcome.WRONG, f"still running after {timeout:g} seconds, {after}"
    if status < 0:
        said = stderr.strip().splitlines()
        return Outcome.KILLED, f"{signal.Signals(-status).name}{', ' + said[-1] if said else ''}, {after}"
    for line in stdout.splitlines():
        key, _, rest = line.partition(" ")
        word, _, reason = rest.partition(" ")
        if key == "outcome:" and word in (Outcome.WORKS, Outcome.WRONG, Outcome.REFUSED):
            return Outcome(word), reason
    said = (stderr or stdout).strip().splitlines()
    return Outcome.WRONG, f"ended with status {status} and no outcome, {said[-1] if said else after}"


def run_all(tasks: list[Task], runs: int, jobs: int, done: Callable[[Task], None] = lambda task: None) -> list[Cell]:
    """Run every task so many times, several at once; `done` after each run.

    Raises CompareError if the runs of a task end differently.
    """

    def run(task: Task) -> Ended:
        ended = run_once(task)
        done(task)
        return ended

    with ThreadPoolExecutor(jobs) as pool:
        futures = [[pool.submit(run, task) for _ in range(runs)] for task in tasks]
        try:
            cells = [Cell(t, tuple(f.result() for f in group)) for t, group in zip(tasks, futures, strict=True)]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    unstable = [cell for cell in cells if len({(e.outcome, e.reason) for e in cell.ended}) > 1]
    if unstable:
        raise CompareError("\n".join(_differing(cell) for cell in unstable))
    return cells


def _differing(cell: Cell) -> str:
    counts: dict[tuple[str, str], int] = {}
    for e in cell.ended:
        counts[e.outcome, e.reason] = counts.get((e.outcome, e.reason), 0) + 1
    lines = [f"{cell.task.scenario.name} under {cell.task.design} ended differently in {len(cell.ended)} runs:"]
    lines += [f"  {n} times {outcome}: {reason}" for (outcome, reason), n in counts.items()]
    return "\n".join([*lines, f"  {cell.task.command}"])
