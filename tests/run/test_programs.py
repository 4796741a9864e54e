"""C programs, one behaviour each, under the delivery designs that they are meant for."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

# program -> designs. The vDSO's function exists in every design; its fixup only in `vdso`.
ANY = ("signal", "vdso", "mm-handler")
PROGRAMS: dict[str, tuple[str, ...]] = {
    "abort_page": ANY,
    "aex_interrupt": ANY,
    "auxv_file": ANY,
    "bad_eenter": ("vdso",),
    "cpuid_bytes": ANY,
    "edmm": ("vdso",),
    "exec_from_thread": ANY,
    "exinfo": ("vdso",),
    "fork_child": ("vdso",),
    "ioctl_errors": ANY,
    "mask_sync_signals": ("signal", "vdso"),
    "mm_handler": ("mm-handler",),
    "nested_handler": ("vdso",),
    "oversubscribe": ("vdso",),
    "own_seccomp": ANY,
    "own_sigsegv": ANY,
    "report_key": ANY,
    "signal_fault": ANY,
    "sigstop_cont": ANY,
    "state_kept": ANY,
    "threads": ANY,
    "vdso_fault_vectors": ("vdso",),
    "vfork_spawn_exec": ANY,
}
OPTIONS = {"oversubscribe": ("--epc", "4M")}


@pytest.mark.parametrize(
    ("name", "design"), [(name, design) for name, designs in PROGRAMS.items() for design in designs]
)
def test_program(
    name: str, design: str, program: Callable, enclu_run: Callable, enclave_environment: dict[str, str]
) -> None:
    options = ("--delivery", design, *OPTIONS.get(name, ()))
    done = enclu_run(program(name), options=options, env=enclave_environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not re.search(r"^not ok", done.stdout, re.MULTILINE), done.stdout
    assert re.search(r"^1\.\.[1-9]", done.stdout, re.MULTILINE), done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("command", "status"), [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -TERM $$", -15), ("kill -9 $$", -9)]
)
def test_the_exit_status_is_the_programs(enclu_run: Callable, command: str, status: int) -> None:
    assert enclu_run("/bin/sh", "-c", command).returncode == status


def test_standard_input_and_output_are_the_programs(enclu_run: Callable) -> None:
    done = enclu_run("/bin/cat", stdin="one\ntwo\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "one\ntwo\n", "")
