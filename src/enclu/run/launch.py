"""Starting the program.

The process that the user started becomes the program itself, by exec: shells, `timeout` and every other parent deal
with the program and nothing else, be it exit status, signals, job control or the time used.  The supervisor is a
process beside it, in a session of its own, so that nothing meant for the program hits it.  The kernel recommends it:
wait_consider_task() in kernel/exit.c hides group stops from a real parent that is the tracer too.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import signal
from collections.abc import Callable, Sequence
from typing import NoReturn

from enclu.base import console
from enclu.base.abi import PR_GET_CHILD_SUBREAPER, PR_SET_CHILD_SUBREAPER, PR_SET_PTRACER
from enclu.native import limits, proc, ptrace, resume, seccomp, wait
from enclu.native.address_space import OWN_TEXT
from enclu.native.stop import Kind
from enclu.run import surroundings
from enclu.run.program_file import LaunchError, why_not_executed

OPTIONS = (
    ptrace.Option.TRACESYSGOOD | ptrace.Option.TRACEFORK | ptrace.Option.TRACEVFORK | ptrace.Option.TRACECLONE
    | ptrace.Option.TRACEEXEC | ptrace.Option.TRACEVFORKDONE | ptrace.Option.TRACEEXIT | ptrace.Option.TRACESECCOMP
    | ptrace.Option.EXITKILL
)  # fmt: skip


def is_subreaper() -> bool:
    """Whether this process, and so the program that it becomes, adopts orphans among its descendants."""
    answer = ctypes.c_int()
    ctypes.CDLL(None).prctl(PR_GET_CHILD_SUBREAPER, ctypes.byref(answer), 0, 0, 0)
    return bool(answer.value)


def _be_subreaper(wanted: bool) -> None:
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, int(wanted), 0, 0, 0)


def start(path: str, arguments: Sequence[str], supervise: Callable[[int], None], keep: Sequence[int] = ()) -> NoReturn:
    """Become the program; in a process of its own call `supervise` with its pid, stopped at its exec event.

    That process has the descriptors of `keep`, which exec is to close.  Raises LaunchError in the calling process when
    the program cannot be executed or traced.
    """
    try:
        proc.check()
    except proc.ProcUnusable as error:
        raise LaunchError(126, str(error)) from None
    for fd in range(3):
        # Else the pipes would get its number.  Closed for the program all the same.
        if not _is_open(fd):
            console.null(fd)
    to_supervisor, to_program = os.pipe2(os.O_CLOEXEC), os.pipe2(os.O_CLOEXEC)
    program = os.getpid()
    # The supervisor must be nobody's child that the program might wait for, so it is not to be adopted here.
    subreaper = is_subreaper()
    _be_subreaper(False)
    child_signals = signal.sigpending() & {signal.SIGCHLD}
    try:
        middle = os.fork()
    except OSError as error:
        raise LaunchError(126, f"cannot start the supervisor: {error.strerror} (ulimit -u?)") from None
    if middle == 0:
        status = 1
        try:
            if _fit() and os.fork() == 0:
                _supervisor(program, to_supervisor[0], to_program[1], path, supervise, keep)
            status = 0
        finally:
            os._exit(status)
    _undo_locale_coercion()  # this and the filter take their time, which the supervisor needs for its start
    filtering = seccomp.every_program(OWN_TEXT)
    with contextlib.suppress(ChildProcessError):  # nothing to wait for where SIGCHLD is ignored
        os.waitpid(middle, 0)
    _be_subreaper(subreaper)
    if not child_signals and signal.SIGCHLD in signal.sigpending():
        signal.sigtimedwait([signal.SIGCHLD], 0)
    os.close(to_supervisor[0])
    os.close(to_program[1])
    _become_traced(to_supervisor[1], to_program[0])
    _become(path, arguments, filtering)


def _fit() -> bool:
    """Whether the surroundings let this process do what the supervisor will.  It may be killed for trying."""
    denials = surroundings.try_here()
    if any(denial.fatal for denial in denials):
        return False
    for denial in denials:
        console.say("; ".join(surroundings.thread_note(denial)))
    return True


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _supervisor(
    program: int, requests: int, answers: int, path: str, supervise: Callable[[int], None], keep: Sequence[int]
) -> NoReturn:
    """The process beside the program."""
    status = 1
    try:
        os.setsid()
        _let_go(keep=(requests, answers, *keep))
        os.write(answers, str(os.getpid()).encode())
        if os.read(requests, 1):
            try:
                ptrace.ptrace(ptrace.SEIZE, program, 0, OPTIONS)
            except OSError as error:
                os.write(answers, str(error.errno).encode())
            else:
                os.write(answers, b"0")
                os.close(requests)
                os.close(answers)
                if _until_exec(program, path):
                    supervise(program)
                status = 0
    except BrokenPipeError:
        status = 0  # the program has been killed before it became one
    except Exception as error:
        console.say(f"the supervisor cannot start: {error}")
    finally:
        os._exit(status)


def _let_go(keep: Sequence[int]) -> None:
    """Give back what belongs to the program: descriptors (a pipe ends when its last one is closed), limits, signals."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > console.STDERR and int(name) not in keep:
            with contextlib.suppress(OSError):  # the one that listed them
                os.close(int(name))
    console.null(0)
    console.null(1)
    limits.let_go()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # if ignored, the kernel would not tell how tracees end
    signal.pthread_sigmask(signal.SIG_SETMASK, (signal.SIGCHLD,))  # see `run.departures`


def _until_exec(program: int, path: str) -> bool:
    """Let the program run until it is what it shall be; False if it never becomes that."""
    while True:
        _, stop = wait.blocking()
        if stop.kind is Kind.ENDED:
            return False
        if stop.kind is Kind.EXEC:
            return True
        if stop.kind is Kind.EXIT:
            with contextlib.suppress(ProcessLookupError):  # killed here
                status = ptrace.event_message(program)
                if os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGSEGV, signal.SIGBUS):
                    console.say(f"{path}: the kernel cannot load it; is the file damaged?")
                resume.let_go(program, kept=False)  # see `run.ends`
            return False
        resume.before_exec(program, stop)


def _become_traced(requests: int, answers: int) -> None:
    """The program's side of the agreement with the supervisor.  Raises LaunchError."""
    supervisor = os.read(answers, 32)
    if not supervisor:
        raise LaunchError(126, _why_no_supervisor())
    # Yama lets a process be traced by its ancestors, or by whom it names; EINVAL where there is no Yama.
    ctypes.CDLL(None).prctl(PR_SET_PTRACER, int(supervisor), 0, 0, 0)
    os.write(requests, b"!")
    answer = os.read(answers, 32)
    if not answer:
        raise LaunchError(126, "the supervisor ended before the program began")
    if answer != b"0":
        raise LaunchError(126, f"may not trace the program: {os.strerror(int(answer))}; {why_not_traced()}")


def _why_no_supervisor() -> str:
    with contextlib.suppress(OSError):
        denials = [denial for denial in surroundings.try_each() if denial.fatal]
        if denials:
            return f"{surroundings.refusal(denials)}; {surroundings.ALLOW}; `enclu check` tells more"
    return "the supervisor did not start: no memory, or no process left (ulimit -u)?"


def why_not_traced() -> str:
    """The likeliest cause of a refusal, and the way out."""
    with open("/proc/self/status") as status:
        tracer = next((line.split()[1] for line in status if line.startswith("TracerPid:")), "0")
    if tracer != "0":
        return f"process {tracer} traces it already, and only one can: start enclu outside strace, gdb and enclu run"
    return "in a container add --cap-add=SYS_PTRACE; `enclu check` tells more"


def _become(path: str, arguments: Sequence[str], filtering: bytes) -> NoReturn:
    """exec, with everything as enclu got it, but for the filter of system calls.  Raises LaunchError."""
    for signo in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(signo, signal.SIG_DFL)  # Python ignores them, and what was before it has forgotten
    try:
        seccomp.install(filtering)
    except OSError as error:
        raise LaunchError(126, f"may not filter system calls: {error.strerror}; enclu needs seccomp(2), "
                          "which this kernel, container or service manager denies") from None  # fmt: skip
    try:
        os.execv(path, list(arguments))
    except OSError as error:
        status = 127 if error.errno == errno.ENOENT else 126
        raise LaunchError(status, why_not_executed(path, error)) from None


def _undo_locale_coercion() -> None:
    """Put LC_CTYPE back as it was before Python replaced the C locale by C.UTF-8 (PEP 538)."""
    try:
        with open("/proc/self/environ", "rb") as file:
            before = file.read().split(b"\0")
    except OSError:
        return  # a process that may not read its own environment keeps Python's
    given = next((entry[9:] for entry in before if entry.startswith(b"LC_CTYPE=")), None)
    if given is None:
        os.environb.pop(b"LC_CTYPE", None)
    elif os.environb.get(b"LC_CTYPE") != given:
        os.environb[b"LC_CTYPE"] = given
