"""Every C program, debugged by a gdb that stops for everything: its outcome and counters are the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.run.gdb.conftest import gdb, started
from tests.run.observing import agree, by_itself, options_of, passed
from tests.run.test_programs import PROGRAMS
from tests.support.runs import HANGS

QUIET = (
    "set auto-solib-add off\nhandle all nostop noprint pass\nhandle SIGINT nostop noprint pass\ncontinue\n"
    "while $_isvoid($_exitcode)\nsignal SIGTRAP\nend\n"
)
"""gdb keeps SIGTRAP to itself unless it is told otherwise at each."""
DISTURBED = {
    "open_during_vfork": "gdb has no other thread run until a child of vfork(2) has called exec",
    "vdso_jmp_undisturbed": "when gdb stops a thread, its epoll_wait(2) gets EINTR",
    "waits_undisturbed": "the same",
}
LEAVING = f"break attempt\n{QUIET.partition('while')[0]}detach\n"
"""gdb goes where an enclave is entered for the first time, with a breakpoint there."""


@pytest.mark.parametrize("script", [QUIET, LEAVING], ids=["attached", "gone"])
@pytest.mark.parametrize("name", [name for name in PROGRAMS if name not in DISTURBED])
def test_the_outcome_is_the_same(
    name: str, script: str, place: Path, program: Callable[[str], Path], enclave_environment: dict[str, str]
) -> None:
    path = program(name)

    def debugged() -> dict[str, Any]:
        with started(place, path, options=options_of(name), env=enclave_environment) as process:
            output = gdb(place, path, script)
            stdout, _ = process.communicate(timeout=HANGS)
        return passed(name, process.returncode, stdout, output + (place / "stderr").read_text())

    agree(name, debugged, lambda: by_itself(name, path, enclave_environment))
