"""What enclu lacks, or does wrong itself: one line that tells, the program never left behind or hanging."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from enclu.native.address_space import SCRATCH
from tests.run.conftest import EncluRun
from tests.support.runs import DENIED, HANGS, RUN, enclu, environment, marked, run, sh

EPERM, ENOSYS = 1, 38
PTRACE, SECCOMP, FORK, CLONE, CLONE3, VFORK = 101, 317, 57, 56, 435, 58


def denied(numbers: list[int], error: int, *command: str) -> subprocess.CompletedProcess[str]:
    """`enclu run` where some system calls are denied."""
    return subprocess.run(
        [*DENIED, ",".join(map(str, numbers)), str(error), *command], capture_output=True, text=True, timeout=HANGS,
        check=False, env=environment(),
    )  # fmt: skip


def one_line(done: subprocess.CompletedProcess[str], *words: str) -> None:
    (line,) = done.stderr.splitlines()
    assert line.startswith("enclu: ")
    for word in words:
        assert word in line


def test_without_ptrace_the_way_out_is_named() -> None:
    done = denied([PTRACE], EPERM, *RUN, "/bin/echo", "ran")
    assert (done.returncode, done.stdout) == (126, "")
    one_line(done, "may not trace the program", "SYS_PTRACE", "enclu check")


def test_without_seccomp_the_way_out_is_named() -> None:
    done = denied([SECCOMP], ENOSYS, *RUN, "/bin/echo", "ran")
    assert (done.returncode, done.stdout) == (126, "")
    one_line(done, "may not filter system calls", "seccomp(2)")


def test_without_processes_to_spare_that_is_said() -> None:
    done = denied([FORK, CLONE, CLONE3, VFORK], 11, *RUN, "/bin/echo", "ran")
    assert (done.returncode, done.stdout) == (126, "")
    one_line(done, "cannot start the supervisor", "ulimit -u")


def test_under_another_tracer_the_way_out_is_named() -> None:
    done = run(*RUN, "/bin/echo", "ran")
    assert (done.returncode, done.stdout) == (126, "")
    first, second = done.stderr.splitlines()  # the outer run's, then the inner's
    assert "ptrace(2)" in first
    assert "traces it already" in second and "outside strace, gdb and enclu run" in second


SABOTAGE = {
    "a system call": (
        "import enclu.linux.syscalls.memory as m",
        "m.MemoryCalls.mmap = lambda *a: {}['nothing here']",
        "KeyError: 'nothing here'",
    ),
    "the first moment": (
        "import enclu.run.execs as m",
        "m._give_vdso = lambda *a: 1 / 0",
        "ZeroDivisionError",
    ),
    "the loop": ("import enclu.run.supervisor as m", "m.Supervisor._dispatch = lambda *a: None + 1", "TypeError"),
    "a fork": ("import enclu.run.births as m", "m.Births.event = lambda *a: [].pop()", "IndexError"),
}


def sabotaged(module: str, change: str, *program: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """`enclu run` with something broken in the supervisor."""
    script = f"{module}; {change}; from enclu.cli.main import main; main()"
    return subprocess.run(
        [sys.executable, "-c", script, "run", *program], capture_output=True, text=True, timeout=HANGS, check=False,
        env=environment(**variables),
    )  # fmt: skip


PROGRAM = ("/bin/sh", "-c", "/bin/true; read x </proc/cpuinfo; (sleep 0.01); exec sleep 300")


@pytest.mark.parametrize("where", SABOTAGE)
def test_an_error_of_enclu_kills_the_program_and_asks_for_a_report(where: str) -> None:
    module, change, error = SABOTAGE[where]
    with marked() as processes:
        done = sabotaged(module, change, *PROGRAM, ENCLU_TEST_MARK=processes.mark)
        assert done.returncode == -9
        one_line(done, "internal error", error, "the program is killed", "report", "ENCLU_DEBUG=1")
        assert processes.all_gone()


def test_the_traceback_is_there_for_who_asks() -> None:
    module, change, error = SABOTAGE["a system call"]
    done = sabotaged(module, change, *PROGRAM, ENCLU_DEBUG="1")
    assert "Traceback" in done.stderr and "in serve" in done.stderr
    assert error in done.stderr.splitlines()[-1]


def test_an_error_before_the_program_begins_is_one_line_too() -> None:
    done = sabotaged("import enclu.cli.start as m", "m.Machine = lambda *a: 1 / 0", "/bin/true")
    assert done.returncode == 125
    one_line(done, "internal error", "ZeroDivisionError", "report")


def test_a_kernel_without_vdso_is_explained() -> None:
    change = "m._find_auxv = lambda thread: (_ for _ in ()).throw(m.NoVdso('the host kernel gave no vDSO; vdso=1'))"
    done = sabotaged("import enclu.native.exec_image as m", change, "/bin/true")
    assert done.returncode == -9
    one_line(done, "gave no vDSO", "the program is killed")
    assert "internal error" not in done.stderr


def test_an_installation_that_lacks_something_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "click").mkdir()
    (tmp_path / "click" / "__init__.py").write_text("raise ImportError('no click')")
    env = environment()
    env["PYTHONPATH"] = f"{tmp_path}{os.pathsep}{env['PYTHONPATH']}"
    done = enclu("run", "--quiet", "true", env=env)
    assert done.returncode == 125
    one_line(done, "cannot load", "no click")


def limited(limit: int, soft: int, hard: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(limit, (soft, hard))


@pytest.mark.parametrize("error", ["MemoryError()", "OSError(12, 'Cannot allocate memory')"])
def test_too_little_memory_is_told_in_one_line(error: str) -> None:
    """Before the program begins, and after."""
    fails = f"lambda *a: (_ for _ in ()).throw({error})"
    done = sabotaged("import enclu.cli.start as m", f"m.Machine = {fails}", "/bin/true")
    assert done.returncode == 125
    one_line(done, "out of memory", "--epc", "ulimit -v")
    done = sabotaged("import enclu.native.exec_image as m", f"m.install = {fails}", "/bin/true")
    assert done.returncode == -9
    one_line(done, "out of memory", "the program is killed")


@pytest.mark.parametrize("files", [5, 6, 7])
def test_too_few_descriptors_to_start_are_told(files: int) -> None:
    done = run("true", preexec_fn=limited(resource.RLIMIT_NOFILE, files, files))
    assert done.returncode in (125, 126)
    assert done.stderr.startswith("enclu: ") and "Traceback" not in done.stderr


def test_the_programs_own_limit_of_descriptors_is_not_the_supervisors() -> None:
    """Every process costs the supervisor a descriptor; only the hard limit is one for it."""
    done = sh(
        "ulimit -Sn; for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do sleep 0.2 & done; wait; echo done",
        preexec_fn=limited(resource.RLIMIT_NOFILE, 12, 256),
    )
    assert (done.stdout, done.stderr) == ("12\ndone\n", "")


def test_too_few_descriptors_for_many_processes_end_the_run_with_a_reason() -> None:
    with marked() as processes:
        done = sh(
            "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do sleep 300 & done; wait",
            preexec_fn=limited(resource.RLIMIT_NOFILE, 16, 16), env=processes.environment(),
        )  # fmt: skip
        assert done.returncode == -9
        one_line(done, "out of file descriptors", "the program is killed", "ulimit -Hn")
        assert processes.all_gone()


@pytest.mark.parametrize("files", [48, 64, 70, 75])
def test_devices_for_which_enclu_has_no_descriptors_are_refused(
    files: int, program: Callable[[str], Path], enclave_environment: dict[str, str]
) -> None:
    done = run(
        program("devices_of_many"), options=("--quiet",), env=environment(**enclave_environment),
        preexec_fn=limited(resource.RLIMIT_NOFILE, files, files),
    )  # fmt: skip
    assert (done.returncode, "not ok" in done.stdout) == (0, False), done.stdout + done.stderr
    one_line(done, "out of file descriptors", "ulimit -Hn")


def test_limits_of_the_program_do_not_end_the_supervisor() -> None:
    """Small soft limits of memory and file size are the program's; the supervisor makes enclaves all the same."""

    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        resource.setrlimit(resource.RLIMIT_CPU, (1, resource.RLIM_INFINITY))

    done = sh("exec 3</dev/sgx_enclave && echo opened && grep -c -m1 -w sgx /proc/cpuinfo", preexec_fn=small)
    assert (done.stdout, done.stderr) == ("opened\n1\n", "")


def unusable(tmp_path: Path, kind: str) -> dict[str, str]:
    """Environments in which the user's directories cannot be used."""
    nowhere = str(tmp_path / "file" / "sub")
    (tmp_path / "file").write_text("")
    return {
        "HOME is a file": {"HOME": nowhere},
        "XDG directories unwritable": {"XDG_CACHE_HOME": nowhere, "XDG_STATE_HOME": nowhere},
        "XDG directories relative": {"XDG_CACHE_HOME": "rel/cache", "XDG_STATE_HOME": "rel/state", "HOME": nowhere},
        "XDG directories empty": {"XDG_CACHE_HOME": "", "XDG_STATE_HOME": "", "HOME": nowhere},
        "no temporary directory": {"TMPDIR": nowhere, "HOME": nowhere},
    }[kind]


KINDS = [
    "HOME is a file", "XDG directories unwritable", "XDG directories relative", "XDG directories empty",
    "no temporary directory",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_programs_run_without_a_place_for_enclus_files(kind: str, tmp_path: Path) -> None:
    done = run("/bin/echo", "ran", env=environment(**unusable(tmp_path, kind)), cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ran\n", "")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_machine_without_a_place_for_its_secret_is_refused(kind: str, tmp_path: Path) -> None:
    env = environment(**unusable(tmp_path, kind))
    done = run("/bin/echo", "ran", options=("--machine", "m"), env=env, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (125, "")
    one_line(done, "machine m", "XDG_STATE_HOME")


@pytest.mark.parametrize(("options", "status"), [((), 0), (("--machine", "m"), 125)], ids=["run", "machine"])
def test_a_user_without_home_runs_programs_and_is_refused_machines(options: tuple[str, ...], status: int) -> None:
    """No HOME, and no entry in the password database."""
    unknown = "m.getpwuid = lambda uid: {}[uid]; m.os = __import__('os'); m.os.environ.pop('HOME', None)"
    done = sabotaged("import pwd as m", unknown, *options, "/bin/echo", "ran")
    assert done.returncode == status
    if status:
        one_line(done, "set HOME or XDG_STATE_HOME")
    else:
        assert (done.stdout, done.stderr) == ("ran\n", "")


def test_closed_standard_descriptors_do_not_break_messages() -> None:
    """Descriptor 2 must not be one that enclu opened for another purpose."""
    for closing in (lambda: os.close(2), lambda: os.closerange(0, 3)):
        command = [*RUN, "--stats", "/bin/sh", "-c", "exit 5"]
        done = subprocess.run(command, preexec_fn=closing, env=environment(), timeout=HANGS, check=False)
        assert done.returncode == 5
    done = subprocess.run(
        [*RUN, "no-such-program"], preexec_fn=lambda: os.close(2), env=environment(), timeout=HANGS, check=False,
        stdout=subprocess.PIPE,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (127, b"")


MSEAL = 462
TAKEN_AWAY = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
libc.{call}(ctypes.c_void_p({address}), ctypes.c_size_t(0x10000), 0)
open("/dev/sgx_enclave", "rb")
"""


@pytest.mark.parametrize("call", ["munmap", "mprotect"])
def test_without_its_own_memory_in_the_program_the_machine_says_so_and_ends(call: str) -> None:
    script = TAKEN_AWAY.format(call=call, address=SCRATCH)
    done = denied([MSEAL], ENOSYS, *RUN, sys.executable, "-c", script)
    assert done.returncode == -9
    one_line(done, "has changed memory of its machine", "is killed", "Linux 6.10")


def test_a_guard_region_in_its_own_memory_ends_a_program_when_the_machine_needs_it(
    program: Callable[[str], Path], enclu_run: EncluRun, enclave_environment: dict[str, str]
) -> None:
    done = enclu_run(program("guarded_scratch"), options=("--no-fast-path",), env=enclave_environment)
    if done.returncode == 77:
        pytest.skip("the kernel has no guard regions (Linux 6.13)")
    assert done.returncode == -9
    one_line(done, "has changed memory of its machine", "is killed")
