"""Starting the program: a child that is traced and filtered before it calls exec."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import stat
from collections.abc import Sequence

from enclu.native import ptrace, seccomp
from enclu.native.address_space import OWN_TEXT

OPTIONS = (
    ptrace.Option.TRACESYSGOOD | ptrace.Option.TRACEFORK | ptrace.Option.TRACEVFORK | ptrace.Option.TRACECLONE
    | ptrace.Option.TRACEEXEC | ptrace.Option.TRACEVFORKDONE | ptrace.Option.TRACESECCOMP | ptrace.Option.EXITKILL
)  # fmt: skip
ELF_CLASS64, EM_X86_64 = 2, 62


class LaunchError(Exception):
    """The program cannot be run; `status` is the exit code a shell would give (127 not found, 126 otherwise)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def find(program: str) -> str:
    """The file to execute for `program`, found as a shell would.  Raises LaunchError."""
    path = program if "/" in program else shutil.which(program)
    if path is None or not os.path.exists(path):
        raise LaunchError(127, f"{program}: not found (neither here nor in PATH)" if "/" not in program
                          else f"{program}: no such file")  # fmt: skip
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise LaunchError(126, f"{path}: not a regular file")
    if not os.access(path, os.X_OK):
        raise LaunchError(126, f"{path}: not executable (chmod +x it?)")
    if status.st_mode & (stat.S_ISUID | stat.S_ISGID):
        raise LaunchError(126, f"{path}: is setuid or setgid, and a traced program cannot gain privileges; "
                          "run a copy without the bit")  # fmt: skip
    try:
        with open(path, "rb") as file:
            head = file.read(20)
    except OSError:
        return path  # executable but not readable: let exec decide
    if head[:4] == b"\x7fELF":
        if len(head) < 20 or head[4] != ELF_CLASS64 or int.from_bytes(head[18:20], "little") != EM_X86_64:
            raise LaunchError(126, f"{path}: not an x86-64 program; enclu runs 64-bit x86 programs only")
    elif head[:2] != b"#!":
        raise LaunchError(126, f"{path}: neither an ELF program nor a script with a #! line")
    return path


def start(path: str, arguments: Sequence[str]) -> int:
    """Fork a child that is seized and filtered, and execs; its pid, stopped at the exec event.

    Raises LaunchError, also when tracing or seccomp is denied.
    """
    ready_read, ready_write = os.pipe2(os.O_CLOEXEC)
    error_read, error_write = os.pipe2(os.O_CLOEXEC)
    filter_bytes = seccomp.program(seccomp.EVERY_PROGRAM, OWN_TEXT)
    pid = os.fork()
    if pid == 0:
        try:
            os.close(ready_write)
            os.read(ready_read, 1)
            for signo in (signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU,
                          signal.SIGTERM, signal.SIGHUP, signal.SIGXFSZ):  # fmt: skip
                if _inherited.get(signo) != signal.SIG_IGN:
                    signal.signal(signo, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_NOFILE, _limit)
            seccomp.install(filter_bytes)
            os.execv(path, list(arguments))
        except OSError as error:
            os.write(error_write, f"{error.errno} {error}".encode())
        os._exit(127)
    os.close(ready_read)
    os.close(error_write)
    try:
        ptrace.ptrace(ptrace.SEIZE, pid, 0, OPTIONS)
    except OSError as error:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(ready_write)
        os.close(error_read)
        raise LaunchError(126, f"may not trace a child: {error.strerror}; see `enclu check`") from None
    os.close(ready_write)
    while True:
        _, status = os.waitpid(pid, ptrace.WALL)
        if not os.WIFSTOPPED(status):
            number, _, text = os.read(error_read, 4096).decode(errors="replace").partition(" ")
            os.close(error_read)
            raise LaunchError(127 if number == "2" else 126, f"{path}: cannot be executed: {text or status}")
        if status >> 16 == ptrace.Event.EXEC:
            os.close(error_read)
            return pid
        sent = status >> 8 & 0xFF if status >> 16 == 0 else 0
        ptrace.ptrace(ptrace.CONT, pid, 0, sent)


_inherited: dict[int, object] = {}
_limit = resource.getrlimit(resource.RLIMIT_NOFILE)


def shield() -> None:
    """Let terminal and termination signals be the program's business; remember what was ignored already.

    Allow as many open files as can be had: every process and every enclave takes one.
    """
    resource.setrlimit(resource.RLIMIT_NOFILE, (_limit[1], _limit[1]))
    for signo in (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU):
        _inherited[signo] = signal.signal(signo, signal.SIG_IGN)
    for signo in (signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ):
        _inherited[signo] = signal.getsignal(signo)
    # Python itself ignores these two; a program expects the default.
    _inherited[signal.SIGPIPE] = _inherited[signal.SIGXFSZ] = signal.SIG_DFL
