"""What the program inherits under `enclu run` is what it inherits without: each case is run both ways."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.run.conftest import compile_c
from tests.support.runs import HANGS, RUN, environment, sh

ADDR_NO_RANDOMIZE = 0x0040000
PR_SET_PDEATHSIG, PR_SET_TIMERSLACK = 1, 29


def ignore(*signals: signal.Signals) -> None:
    for signo in signals:
        signal.signal(signo, signal.SIG_IGN)


def block(*signals: signal.Signals) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)


def pending() -> None:
    block(signal.SIGUSR1, signal.SIGRTMIN, signal.SIGCHLD)
    os.kill(os.getpid(), signal.SIGUSR1)
    os.kill(os.getpid(), signal.SIGRTMIN)


def a_trap() -> None:
    """The signal that also ends what the machine has a new program do before its first instruction."""
    block(signal.SIGTRAP)
    os.kill(os.getpid(), signal.SIGTRAP)


def limits() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 128))
    resource.setrlimit(resource.RLIMIT_STACK, (4 << 20, 64 << 20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 30))


def descriptors() -> None:
    os.dup2(os.open("/etc/passwd", os.O_RDONLY), 7)
    os.dup2(os.pipe()[1], 9)


def closed() -> None:
    for fd in range(3):
        os.close(fd)


def in_no_directory() -> None:
    os.mkdir("gone")
    os.chdir("gone")
    os.rmdir("../gone")


CASES: dict[str, Callable[[], Any]] = {
    "nothing special": lambda: None,
    "ignored signals": lambda: ignore(signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1),
    "ignored SIGCHLD": lambda: ignore(signal.SIGCHLD),
    "blocked signals": lambda: block(signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGRTMAX),
    "pending signals": pending,
    "a pending trap": a_trap,
    "limits": limits,
    "descriptors": descriptors,
    "closed standard descriptors": closed,
    "standard input closed": lambda: os.close(0),
    "standard error closed": lambda: os.close(2),
    "umask": lambda: os.umask(0o077),
    "niceness": lambda: os.nice(3),
    "one processor": lambda: os.sched_setaffinity(0, {max(os.sched_getaffinity(0))}),
    "session": os.setsid,
    "process group": lambda: os.setpgid(0, 0),
    "alarm": lambda: signal.alarm(1000),
    "personality": lambda: ctypes.CDLL(None).personality(ADDR_NO_RANDOMIZE),
    "death signal": lambda: ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGUSR2),
    "timer slack": lambda: ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 77_000),
    "no current directory": in_no_directory,
}


def inherited(
    command: Sequence[str], work: Path, prepare: Callable[[], Any] = lambda: None, env: dict[str, str] | None = None
) -> str:
    """What the program wrote, started by `command` after `prepare` in its process."""
    out = work / "inherited"
    arguments = [*command, str(out), "an argument", "", "--stats"]
    # Descriptors of the test's own, such as those of its workers, must not come and go between the two runs.
    status = subprocess.run(
        arguments, preexec_fn=prepare, env=environment() if env is None else env, cwd=work, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=HANGS, check=False,
    ).returncode  # fmt: skip
    assert status == 0
    text = out.read_text()
    out.unlink()
    return text


@pytest.mark.parametrize("case", CASES)
def test_the_same_as_natively(case: str, program: Callable[[str], Path], tmp_path: Path) -> None:
    command = [str(program("inherited"))]
    assert inherited([*RUN, *command], tmp_path, CASES[case]) == inherited(command, tmp_path, CASES[case])


FIRST = """
.globl _start
.balign 4096
page: .skip 4096 - BEFORE, 0xcc
_start: .byte 0xe9; .long on - _start - 5
.balign 4096, 0xcc
on:
.irp register, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15
or %\\register, %rax
.endr
setnz %bl
mov $0xcc, %al
mov $page, %edi
mov $4096 - BEFORE, %ecx
repe scasb
setne %cl; or %cl, %bl
mov $_start + 5, %edi
mov $BEFORE - 5, %ecx
repe scasb
setne %cl; or %cl, %bl
movzbl %bl, %edi
mov $231, %eax
syscall
"""
"""A program that begins BEFORE bytes before the end of a page.  It exits with 1 unless all registers are 0 at its first
instruction, and the rest of the page is what it was."""


@pytest.mark.parametrize("before", [5, 150, 4095])
def test_registers_and_text_are_those_of_a_new_program(before: int, tmp_path: Path) -> None:
    """Wherever in its page the program begins."""
    source, program = tmp_path / "first.S", tmp_path / "first"
    source.write_text(FIRST)
    compile_c("-nostdlib", "-static", "-no-pie", f"-DBEFORE={before}", source, "-o", program)
    for command in ([str(program)], [*RUN, str(program)]):
        done = subprocess.run(command, env=environment(), timeout=HANGS, check=False, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, command


@pytest.mark.parametrize(
    "env",
    [{}, {"LC_CTYPE": "C"}, {"LC_ALL": "C"}, {"LANG": "C", "EMPTY": "", "_": "x"}, {"LC_CTYPE": "de_DE.UTF-8"}],
    ids=["empty", "LC_CTYPE=C", "LC_ALL=C", "LANG=C", "unknown locale"],
)
def test_the_environment_is_the_users(env: dict[str, str], program: Callable[[str], Path], tmp_path: Path) -> None:
    """Python puts LC_CTYPE=C.UTF-8 into its own."""
    command = [str(program("inherited"))]
    assert inherited([*RUN, *command], tmp_path, env=env) == inherited(command, tmp_path, env=env)


def test_sigpipe_is_at_its_default() -> None:
    """Python ignores it; the program would not end when nobody reads what it writes."""
    done = sh("yes | head -1; kill -PIPE $$; echo ignored")
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGPIPE, "y\n", "")


def test_a_parent_that_ignores_its_children_learns_nothing_new(tmp_path: Path) -> None:
    """With SIGCHLD ignored the kernel keeps no exit status, which the supervisor needs all the same."""
    command = [*RUN, "/bin/sh", "-c", "/bin/true; /bin/false; echo $?"]
    done = subprocess.run(
        command, preexec_fn=lambda: ignore(signal.SIGCHLD), capture_output=True, text=True, timeout=HANGS, check=False,
        env=environment(),
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_no_new_privs_is_the_only_privilege_lost() -> None:
    """An unprivileged process may install a seccomp filter only with it."""
    fields = sh("grep -E '^(NoNewPrivs|CapBnd|CapPrm):' /proc/self/status").stdout.split()
    natively = Path("/proc/self/status").read_text().split()
    assert fields[fields.index("NoNewPrivs:") + 1] == "1"
    for name in ("CapBnd:", "CapPrm:"):
        assert fields[fields.index(name) + 1] == natively[natively.index(name) + 1]


def test_python_finds_its_own_interpreter_inside() -> None:
    """A relative path to the program stays relative to the current directory."""
    directory, name = os.path.split(sys.executable)
    done = subprocess.run(
        [*RUN, f"./{name}", "-c", "print(6 * 7)"], cwd=directory, env=environment(), capture_output=True, text=True,
        timeout=HANGS, check=False,
    )  # fmt: skip
    assert done.stdout == "42\n"
