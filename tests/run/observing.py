"""What each C program of the tests comes to, to be compared with what it comes to while it is observed."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

from tests.run.conftest import run_enclu
from tests.run.test_programs import OPTIONS, PROGRAMS
from tests.support import observed

DRIVEN_BY_TIME = (
    "abort_page", "added_singly", "aex_interrupt", "avx_by_xfrm", "clone_untraced", "evict_across_processes",
    "exits_shared", "extended_state", "handled_while_blocked_elsewhere", "longjmp_out", "mxcsr", "ordinary_signals",
    "oversubscribe_threads", "pages_raced", "power_event_busy", "signal_frame", "signal_storm", "sigstop_cont",
    "stack_fault_signal", "state_kept", "vdso_jmp_patching", "vdso_jmp_undisturbed", "xsave_by_xfrm",
)  # fmt: skip
"""Programs that do something as often as they can, or until a signal comes, or whose threads come to the same pages at
the same time: no two runs agree on their counters."""


VARIES = re.compile(r"0x[0-9a-f]{9,}|\d+ (?=MiB)")
"""What programs print that no two runs agree on: addresses, and how much memory they have."""


def options_of(name: str) -> tuple[str, ...]:
    return (*observed.OPTIONS, "--delivery", PROGRAMS[name][0], *OPTIONS.get(name, ()))


def passed(name: str, status: int, stdout: str, stderr: str) -> dict[str, Any]:
    """Counters and output of a program all of whose TAP lines are ok; nothing of one whose counters time makes."""
    assert status == 0 and not re.search(r"^not ok", stdout, re.MULTILINE), stdout + stderr
    assert re.search(r"^1\.\.[1-9]", stdout, re.MULTILINE), stdout + stderr
    if name in DRIVEN_BY_TIME:
        return {}
    return {**observed.counters_of(stderr)[0], "stdout": VARIES.sub("", stdout)}


def run_by_itself(name: str, program: Path, environment: dict[str, str], *more: str) -> CompletedProcess[str]:
    """With more options than it needs perhaps."""
    return run_enclu(program, options=(*more, *options_of(name)), env=environment)


def by_itself(name: str, program: Path, environment: dict[str, str], *more: str) -> dict[str, Any]:
    """What it comes to when it is run so."""
    done = run_by_itself(name, program, environment, *more)
    return passed(name, done.returncode, done.stdout, done.stderr)


def agree(name: str, one: Callable[[], dict[str, Any]], other: Callable[[], dict[str, Any]]) -> None:
    """Both come to the same, where that can be told; `other` is what is known to pass."""
    if name in DRIVEN_BY_TIME:
        one()
    else:
        observed.agree(one, other)
