"""`--fast-path`: EENTER and EEXIT in the program's own process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from enclu.native.trampoline import Rule
from tests.run.conftest import Passes
from tests.run.test_programs import OPTIONS
from tests.support.runs import HANGS, environment, run

ENTERS = frozenset(Rule) - {Rule.LEAVING, Rule.LEFT, Rule.LEFT_COUNTED}
LEAVES = frozenset(Rule) - {Rule.CLAIMING, Rule.ENTERED, Rule.ENTERED_COUNTED}
PROGRAMS = (
    "aex_interrupt", "death_inside", "debug_access", "debug_optin", "descriptor_exec", "dynamic_tcs", "eacceptcopy",
    "edeccssa", "evict_across_processes", "exception_vectors", "exec_while_inside", "fork_inside",
    "illegal_instructions", "oversubscribe", "oversubscribe_threads", "power_event", "signal_storm", "single_step",
    "ssa_protected_inside", "ssa_removed_inside", "state_kept", "syscall_registers", "tcs_trimmed_inside",
    "tcs_unmapped_inside", "threads", "unmapped_inside", "user_dispatch", "vfork_spawn_exec", "xsave_by_xfrm",
)  # fmt: skip
"""Of the programs that pass where transitions stop a thread, those to which it could make a difference."""


def test_a_thread_can_be_stopped_at_every_instruction(
    program: Callable[[str], Path], enclave_environment: dict[str, str], tmp_path: Path
) -> None:
    """Registers, extended state, TCS and slot are those before the ENCLU then, or those behind it."""
    found = tmp_path / "found.json"
    env = environment(**enclave_environment, ENCLU_SWEEP=str(found))
    command = [sys.executable, "-m", "tests.support.sweep", str(program("pairs")), "1200"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=HANGS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(found.read_text())
    assert result["wrong"] == []
    assert set(result["met"]) >= {f"EENTER {r.name}" for r in ENTERS - {Rule.AT_ENCLU}} | {
        f"EEXIT {r.name}" for r in LEAVES - {Rule.AT_ENCLU}
    }


def counters(program: Path, env: dict[str, str], *options: str) -> dict[str, object]:
    done = run(program, "500", "2", options=("--stats=json", *options), env=environment(**env))
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(json.loads(done.stderr))


def test_the_counters_are_the_same(program: Callable[[str], Path], enclave_environment: dict[str, str]) -> None:
    fast = counters(program("pairs"), enclave_environment, "--fast-path")
    assert fast == counters(program("pairs"), enclave_environment, "--no-fast-path")


def test_threads_under_a_storm_of_signals_get_right_results(passes: Passes) -> None:
    passes("pairs", "100000", "4", "1000", options=("--fast-path",))


@pytest.mark.parametrize("name", PROGRAMS)
def test_program(name: str, passes: Passes) -> None:
    passes(name, options=("--quiet", "--fast-path", *OPTIONS.get(name, ())))


@pytest.mark.parametrize("design", ["vdso-2018", "vdso-jmp", "signal"])
def test_every_design_goes_with_it(design: str, passes: Passes) -> None:
    passes("threads", options=("--fast-path", "--delivery", design))
