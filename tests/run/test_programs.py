"""C programs, one behaviour each, under the delivery designs that they are meant for."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable

import pytest

from enclu.linux import delivery

# program -> designs that it is meant for
ANY = tuple(delivery.names())
PROGRAMS: dict[str, tuple[str, ...]] = {
    "aex_interrupt": ANY,
    "bad_eenter": ("vdso",),
    "edmm": ("vdso",),
    "exec_from_thread": ANY,
    "exinfo": ("vdso",),
    "first_thread_ends": ("vdso",),
    "fork_child": ("vdso",),
    "ioctl_errors": ANY,
    "mask_sync_signals": ("signal", "vdso"),
    "mm_handler": ("mm-handler",),
    "nested_handler": ("vdso",),
    "open_during_vfork": ("vdso",),
    "oversubscribe": ("vdso",),
    "own_sigsegv": ANY,
    "range_handler": ("range-handler",),
    "report_key": ANY,
    "signal_fault": ANY,
    "sigstop_cont": ANY,
    "state_kept": ANY,
    "thread_handler": ("thread-handler",),
    "threads": ANY,
    "vdso_2018": ("vdso-2018",),
    "vdso_fault_vectors": ("vdso",),
    "vdso_jmp": ("vdso-jmp",),
    "vdso_jmp_patching": ("vdso-jmp",),
    "vfork_spawn_exec": ANY,
}
OTHER, HANDLER = 1, 2
"""What mm_handler_again meets: the handler that it registers first, and the second."""
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
    ("setting", "second", "met", "unregisters", "third"),
    [
        ("overwrite", 0, HANDLER, (0, errno.ENOENT), 0),
        ("unregister-first", errno.EBUSY, OTHER, (0, errno.ENOENT), 0),
        ("write-once", errno.EBUSY, OTHER, (errno.EBUSY, errno.EBUSY), errno.EBUSY),
    ],
)
def test_mm_handler_settings(
    setting: str, second: int, met: int, unregisters: tuple[int, int], third: int, program: Callable,
    enclu_run: Callable, enclave_environment: dict[str, str],
) -> None:  # fmt: skip
    options = ("--delivery", f"mm-handler:{setting}")
    done = enclu_run(program("mm_handler_again"), options=options, env=enclave_environment)
    first, again = unregisters
    assert done.stdout.splitlines() == [
        "first 0", f"second {second}", f"met {met}", f"unregister {first}", f"unregister {again}", f"third {third}",
    ]  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("command", "status"), [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -TERM $$", -15), ("kill -9 $$", -9)]
)
def test_the_exit_status_is_the_programs(enclu_run: Callable, command: str, status: int) -> None:
    assert enclu_run("/bin/sh", "-c", command).returncode == status


def test_standard_input_and_output_are_the_programs(enclu_run: Callable) -> None:
    done = enclu_run("/bin/cat", stdin="one\ntwo\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "one\ntwo\n", "")
