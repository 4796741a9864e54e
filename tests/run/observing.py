"""What each C program of the tests comes to, to be compared with what it comes to while it is observed."""

from __future__ import annotations

import re
from pathlib import Path
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


def options_of(name: str) -> tuple[str, ...]:
    return (*observed.OPTIONS, "--delivery", PROGRAMS[name][0], *OPTIONS.get(name, ()))


def passed(name: str, status: int, stdout: str, stderr: str) -> dict[str, Any]:
    """The counters of a program all of whose TAP lines are ok; none of one whose counters time makes."""
    assert status == 0 and not re.search(r"^not ok", stdout, re.MULTILINE), stdout + stderr
    assert re.search(r"^1\.\.[1-9]", stdout, re.MULTILINE), stdout + stderr
    return {} if name in DRIVEN_BY_TIME else observed.counters_of(stderr)[0]


def by_itself(name: str, program: Path, environment: dict[str, str], *more: str) -> dict[str, Any]:
    """Its counters when it is run, with more options than it needs perhaps."""
    done = run_enclu(program, options=(*more, *options_of(name)), env=environment)
    return passed(name, done.returncode, done.stdout, done.stderr)
