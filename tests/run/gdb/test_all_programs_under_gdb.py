"""Every C program, debugged by a gdb that stops for everything: its outcome is the same."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.run.gdb.conftest import gdb, started
from tests.run.test_programs import OPTIONS, PROGRAMS
from tests.support.runs import HANGS

QUIET = (
    "handle all nostop noprint pass\nhandle SIGINT nostop noprint pass\ncontinue\n"
    "while $_isvoid($_exitcode)\nsignal SIGTRAP\nend\n"
)
"""gdb keeps SIGTRAP to itself unless it is told otherwise at each."""
DISTURBED = {
    "open_during_vfork": "gdb has no other thread run until a child of vfork(2) has called exec",
    "vdso_jmp_undisturbed": "when gdb stops a thread, its epoll_wait(2) gets EINTR",
    "waits_undisturbed": "the same",
}


@pytest.mark.parametrize("name", [name for name in PROGRAMS if name not in DISTURBED])
def test_the_outcome_is_the_same(
    name: str, place: Path, program: Callable[[str], Path], enclave_environment: dict[str, str]
) -> None:
    path = program(name)
    options = ("--quiet", "--delivery", PROGRAMS[name][0], *OPTIONS.get(name, ()))
    with started(place, path, options=options, env=enclave_environment) as process:
        output = gdb(place, path, QUIET)
        stdout, _ = process.communicate(timeout=HANGS)
    told = output + stdout + (place / "stderr").read_text()
    assert process.returncode == 0, told
    assert not re.search(r"^not ok", stdout, re.MULTILINE), told
    assert re.search(r"^1\.\.[1-9]", stdout, re.MULTILINE), told
