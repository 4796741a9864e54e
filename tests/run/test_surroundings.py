"""Where enclu is run: foreign /proc, other PID namespaces, limits of file sizes, seccomp filters around it."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from enclu.native import proc
from tests.support import filters
from tests.support.runs import (
    DENIED,
    DOCKER,
    ENCLU,
    HANGS,
    RUN,
    enclu,
    environment,
    run,
    sh,
    status,
    without_privileges,
)

EPERM, ENOSYS = 1, 38
FTRUNCATE, PTRACE, FALLOCATE, VM_READ, VM_WRITE, SECCOMP, MEMFD_CREATE, CLONE3 = 77, 101, 285, 310, 311, 317, 319, 435
CAP_SYS_RESOURCE = 24
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="making namespaces takes root")

Program = Callable[[str], Path]


def command(*words: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    options.setdefault("env", environment())
    return subprocess.run(
        list(map(str, words)), capture_output=True, text=True, timeout=HANGS, check=False, stdin=subprocess.DEVNULL,
        **options,
    )  # fmt: skip


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """The program was not run, and one line says why."""
    assert (done.returncode, done.stdout) == (126, ""), done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("enclu: ")
    for word in words:
        assert word in line


def passed(done: subprocess.CompletedProcess[str], *messages: str) -> None:
    """All lines of the program's are ok, and enclu says what is expected of it."""
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok 1 " in done.stdout and "not ok" not in done.stdout
    lines = done.stderr.splitlines()
    assert len(lines) == len(messages)
    for line, message in zip(lines, messages, strict=True):
        assert line.startswith("enclu: ") and message in line


def findings(*words: str) -> dict[str, dict[str, object]]:
    """What `enclu check` finds where the words have it run, by name."""
    done = command(*words, *ENCLU, "check", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == (0 if report["works"] else 1)
    return {finding["name"]: finding for finding in report["findings"]}


# PID namespaces and /proc.

OUTER = ["unshare", "-pf"]
"""/proc is still that of the namespace outside."""
INNER = ["unshare", "-m", "sh", "-c", 'unshare -pf mount -t proc proc /proc; exec "$@"', "sh"]
"""/proc is that of a namespace within this one, in which this process does not exist."""
NONE = ["unshare", "-m", "sh", "-c", 'umount -l /proc; exec "$@"', "sh"]
FOREIGN = [
    pytest.param(OUTER, ["another PID namespace", "unshare --mount-proc"], id="outer"),
    pytest.param(INNER, ["another PID namespace", "unshare --mount-proc"], id="inner"),
    pytest.param(NONE, ["mount -t proc proc /proc"], id="none"),
]


@needs_root
@pytest.mark.parametrize(("where", "words"), FOREIGN)
def test_a_foreign_proc_is_refused(where: Sequence[str], words: Sequence[str]) -> None:
    refused(command(*where, *RUN, "/bin/echo", "ran"), *words)


@needs_root
@pytest.mark.parametrize(("where", "words"), FOREIGN)
def test_check_tells_of_a_foreign_proc(where: Sequence[str], words: Sequence[str]) -> None:
    finding = findings(*where)["/proc"]
    assert finding["good"] is False
    assert all(word in f"{finding['text']} {finding['repair']}" for word in words)


@needs_root
def test_no_signal_goes_to_a_stranger_by_a_foreign_proc() -> None:
    done = command(*OUTER, *ENCLU, "drop-epc", "1")
    assert done.returncode != 0 and "another PID namespace" in done.stderr


@needs_root
def test_a_pid_namespace_with_its_own_proc_will_do(program: Program, enclave_environment: dict[str, str]) -> None:
    env = environment(**enclave_environment)
    passed(command("unshare", "-pf", "--mount-proc", *RUN, program("threads"), env=env))


@needs_root
def test_the_init_of_a_pid_namespace_has_the_supervisor_as_a_child() -> None:
    """Orphans are its children.  Natively there is none."""
    ask = "import os; print(os.getpid(), os.waitpid(-1, os.WNOHANG))"
    done = command("unshare", "-pf", "--mount-proc", *RUN, sys.executable, "-c", ask)
    assert done.stdout == "1 (0, 0)\n", done.stderr


@needs_root
@pytest.mark.parametrize("name", ["threads", "descriptors", "fork_child"])
@pytest.mark.parametrize("namespace", ["-pf", "-pf --mount-proc", "-Urpf", "-Urpf --mount-proc"])
def test_programs_may_make_pid_namespaces(
    namespace: str, name: str, program: Program, enclave_environment: dict[str, str]
) -> None:
    passed(
        run("unshare", *namespace.split(), program(name), options=("--quiet",), env=environment(**enclave_environment))
    )


@needs_root
def test_numbers_in_a_programs_own_proc_are_those_of_its_namespace(
    program: Program, enclave_environment: dict[str, str]
) -> None:
    passed(run("unshare", "-pf", "--mount-proc", program("auxv_file"), env=environment(**enclave_environment)))


@needs_root
def test_a_proc_mounted_later_is_not_taken_for_the_supervisors(
    program: Program, enclave_environment: dict[str, str]
) -> None:
    """The numbers of threads mean others in it."""
    script = f"unshare -pf sh -c 'mount -t proc proc /proc; exec {program('threads')}'; {program('threads')}"
    env = environment(**enclave_environment)
    done = command("unshare", "-m", *RUN, "sh", "-c", f"{script}; test ! -e /proc/self/mem", env=env)
    passed(done)
    assert done.stdout.count("ok 1 ") == 2


@needs_root
@pytest.mark.parametrize("fake", ["", "mkdir -p {0}/self/fd; mount --bind {0} /proc;"], ids=["none", "fake"])
def test_enclaves_are_released_without_proc(
    fake: str, program: Program, enclave_environment: dict[str, str], tmp_path: Path
) -> None:
    """Those of programs that have ended leave the EPC, which has room for few of them."""
    script = f"umount -l /proc; {fake.format(tmp_path)} for i in 1 2 3 4; do {program('counted')} nop 1; done"
    done = command("unshare", "-m", *RUN, "--stats=json", "sh", "-c", script, env=environment(**enclave_environment))
    assert done.stdout.count("ok 1 ") == 4
    once = run(program("counted"), "nop", "1", options=("--stats=json",), env=environment(**enclave_environment))
    assert json.loads(done.stderr)["epc_peak"] == json.loads(once.stderr)["epc_peak"]


def test_the_memory_of_a_process_that_is_not_traced_stays_closed() -> None:
    with subprocess.Popen(["sleep", "60"]) as stranger:
        try:
            assert status(stranger.pid, "State")
            with pytest.raises(ProcessLookupError, match="not one that enclu traces"):
                proc.memory(stranger.pid)
        finally:
            stranger.kill()


def test_an_interpreter_that_nobody_may_read_is_told(tmp_path: Path) -> None:
    """A script is readable, and what is executed for it is not: the program has no SGX then."""
    interpreter, script = tmp_path / "cat", tmp_path / "script"
    interpreter.write_bytes(Path("/bin/cat").read_bytes())
    script.write_text(f"#!{interpreter}\n")
    interpreter.chmod(0o111)
    script.chmod(0o755)
    done = run(script, preexec_fn=without_privileges)
    assert (done.returncode, done.stdout) == (0, script.read_text())
    assert done.stderr.startswith("enclu: ") and "without SGX" in done.stderr and len(done.stderr.splitlines()) == 1


# Limits of file sizes.

SMALL = 4096


def limited(soft: int, hard: int) -> Callable[[], None]:
    def prepare() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        without_privileges()

    return prepare


def test_the_programs_limit_of_file_sizes_is_not_that_of_enclaves(
    program: Program, enclave_environment: dict[str, str]
) -> None:
    for limit in (0, SMALL):
        done = run(program("counted"), "nop", "1", env=environment(**enclave_environment),
                   preexec_fn=limited(limit, resource.RLIM_INFINITY))  # fmt: skip
        passed(done)


def test_a_limit_of_file_sizes_cuts_off_no_module_that_python_compiles(tmp_path: Path) -> None:
    env = environment(PYTHONPYCACHEPREFIX=str(tmp_path))
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    assert run("true", env=env).returncode == 0  # Python's own
    compiled = {path.stat().st_size: path for path in tmp_path.rglob("enclu/**/*.pyc")}
    assert max(compiled) > SMALL
    for path in compiled.values():
        path.unlink()
    for limits in ((SMALL, resource.RLIM_INFINITY), (resource.RLIM_INFINITY, resource.RLIM_INFINITY)):
        done = run("true", env=env, preexec_fn=lambda soft=limits: resource.setrlimit(resource.RLIMIT_FSIZE, soft))
        assert (done.returncode, done.stderr) == (0, "")


def test_a_hard_limit_of_file_sizes_is_the_reason_why_there_is_no_enclave(
    program: Program, enclave_environment: dict[str, str]
) -> None:
    """The program gets an error, and neither it nor the supervisor a signal."""
    for limit in (0, SMALL):
        done = run(program("counted"), "nop", "1", options=("--quiet",), env=environment(**enclave_environment),
                   preexec_fn=limited(limit, limit))  # fmt: skip
        assert done.returncode > 0 and "CREATE: File too large" in done.stdout
        (line,) = done.stderr.splitlines()
        assert line.startswith("enclu: no enclave") and f"{limit:,} bytes; raise `ulimit -Hf`" in line


@pytest.mark.skipif(
    not int(status(os.getpid(), "CapEff"), 16) >> CAP_SYS_RESOURCE & 1, reason="raising limits takes CAP_SYS_RESOURCE"
)
def test_a_hard_limit_is_lifted_by_who_can(program: Program, enclave_environment: dict[str, str]) -> None:
    done = run(program("counted"), "nop", "1", env=environment(**enclave_environment),
               preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL, SMALL)))  # fmt: skip
    passed(done)


def test_what_proc_says_of_sgx_is_as_small_as_files_must_be() -> None:
    """Never half of it: the program reads the host's."""
    script = "grep -c -m1 -w sgx_lc /proc/cpuinfo; tail -n1 /proc/cpuinfo | wc -c; tail -n2 /proc/cpuinfo | head -c5"
    done = sh(script, preexec_fn=limited(64, 64))
    assert done.stdout == "0\n1\npower"
    (line,) = done.stderr.splitlines()
    assert line.startswith("enclu: /proc/cpuinfo") and "64 bytes" in line and "ulimit -Hf" in line
    assert sh(script, preexec_fn=limited(64, resource.RLIM_INFINITY)).stdout.startswith("1\n")


def test_a_machines_secret_that_is_too_large_a_file_is_told(tmp_path: Path) -> None:
    done = run("true", options=("--machine", "m"), env=environment(XDG_STATE_HOME=str(tmp_path)),
               preexec_fn=limited(0, 0))  # fmt: skip
    assert done.returncode == 125
    assert f"{tmp_path}/enclu/machines/m: File too large" in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(("hard", "good"), [(resource.RLIM_INFINITY, True), (SMALL, None)])
def test_check_tells_how_large_enclaves_may_be(hard: int, good: bool | None) -> None:
    done = enclu("check", "--json", preexec_fn=limited(SMALL, hard))
    report = json.loads(done.stdout)
    (finding,) = (f for f in report["findings"] if f["name"] == "file size")
    assert finding["good"] is good and report["works"] is True
    if good is None:
        assert "4,096 bytes" in finding["text"] and "ulimit -Hf" in finding["repair"]


# seccomp filters around enclu.

CALLS = [
    (PTRACE, "trace the program (ptrace(2): "),
    (SECCOMP, "filter system calls (seccomp(2): "),
    (VM_READ, "read memory of the program (process_vm_readv(2): "),
    (VM_WRITE, "write memory of the program (process_vm_writev(2): "),
    (MEMFD_CREATE, "create the memory of enclaves (memfd_create(2): "),
    (FTRUNCATE, "size the memory of enclaves (ftruncate(2): "),
    (FALLOCATE, "give back memory of enclaves (fallocate(2): "),
]
HOW = [
    (str(EPERM), "Operation not permitted"),
    (str(ENOSYS), "Function not implemented"),
    ("kill", "kills the process"),
]


@pytest.mark.parametrize("number", [number for number, _ in CALLS])
@pytest.mark.parametrize("how", HOW, ids=["EPERM", "ENOSYS", "kill"])
def test_a_filter_that_denies_what_enclu_needs_is_told(number: int, how: tuple[str, str]) -> None:
    done = command(*DENIED, str(number), how[0], *RUN, "/bin/echo", "ran")
    refused(done, dict(CALLS)[number] + how[1], "seccomp", "docker run", "enclu check")


def test_all_that_is_denied_is_told_in_one_line() -> None:
    numbers = ",".join(str(number) for number, _ in CALLS)
    refused(command(*DENIED, numbers, str(EPERM), *RUN, "true"), *(words for _, words in CALLS))


def test_what_is_denied_is_told_where_sigchld_is_ignored() -> None:
    script = f"trap '' CHLD; exec {' '.join([*DENIED, str(MEMFD_CREATE), 'kill', *RUN, 'true'])}"
    refused(command("sh", "-c", script), "memfd_create(2): kills the process")


@pytest.mark.parametrize("how", HOW, ids=["EPERM", "ENOSYS", "kill"])
def test_check_tells_all_that_a_filter_denies(how: tuple[str, str]) -> None:
    finding = findings(*DENIED, f"{MEMFD_CREATE},{VM_READ},{FTRUNCATE}", how[0])["system calls"]
    assert finding["good"] is False and "docker run" in str(finding["repair"])
    for number in (MEMFD_CREATE, VM_READ, FTRUNCATE):
        assert dict(CALLS)[number] + how[1] in str(finding["text"])


def test_enclaves_do_without_threads_where_none_can_be_created(
    program: Program, enclave_environment: dict[str, str], tmp_path: Path
) -> None:
    """A fresh cache directory: text is searched, too."""
    env = environment(**enclave_environment, XDG_CACHE_HOME=str(tmp_path))
    done = command(*DENIED, str(CLONE3), str(EPERM), *RUN, program("counted"), "enclave", "2", env=env)
    passed(done, "no threads can be created")


def test_programs_fail_to_create_threads_as_they_would_without_enclu() -> None:
    script = "import threading\ntry: threading.Thread(target=int).start()\nexcept RuntimeError as error: print(error)"
    python = [sys.executable, "-c", script]
    alone = command(*DENIED, str(CLONE3), str(EPERM), *python)
    done = command(*DENIED, str(CLONE3), str(EPERM), *RUN, *python)
    assert (done.returncode, done.stdout) == (alone.returncode, alone.stdout) == (0, "can't start new thread\n")


def test_a_missing_clone3_is_nothing_to_tell(program: Program, enclave_environment: dict[str, str]) -> None:
    env = environment(**enclave_environment)
    passed(command(*DENIED, str(CLONE3), str(ENOSYS), *RUN, program("threads"), env=env))
    assert findings(*DENIED, str(CLONE3), str(ENOSYS))["threads"]["good"] is True


def test_a_clone3_that_kills_is_refused() -> None:
    refused(command(*DENIED, str(CLONE3), "kill", *RUN, "true"), "create threads (clone3(2): kills the process)")


def test_check_notes_that_no_threads_can_be_created() -> None:
    found = findings(*DENIED, str(CLONE3), str(EPERM))
    assert found["threads"]["good"] is None and "clone3(2)" in str(found["threads"]["text"])
    assert found["trial run"]["good"] is True


@pytest.mark.parametrize("name", ["threads", "edmm", "evict_across_processes", "vfork_spawn_exec", "signal_storm"])
def test_dockers_default_profile_will_do(name: str, program: Program, enclave_environment: dict[str, str]) -> None:
    passed(command(*DOCKER, *RUN, program(name), env=environment(**enclave_environment)))


def test_check_has_nothing_against_dockers_default_profile() -> None:
    assert all(finding["good"] is not False for finding in findings(*DOCKER).values())


# seccomp filters of the program's own.


@pytest.mark.parametrize(("number", "call"), [(MEMFD_CREATE, "memfd_create(2)"), (SECCOMP, "seccomp(2)")])
def test_a_program_that_forbids_itself_sgx_is_told_once(number: int, call: str) -> None:
    script = "exec 3</dev/sgx_enclave || exec 3</dev/sgx_enclave"
    done = run(*DENIED, str(number), str(EPERM), "bash", "-c", script)
    ours = [line for line in done.stderr.splitlines() if line.startswith("enclu: ")]
    assert done.returncode == 1 and len(ours) == 1 and done.stderr.count("Operation not permitted\n") == 2
    assert "cannot use SGX" in ours[0] and f"a seccomp filter of its own denies {call}" in ours[0]


DIFFERENT_FILTERS = """
import os, threading
from tests.support import filters
ready, go = threading.Event(), threading.Event()
def other():
    filters.install(filters.denying([], filters.ALLOW)); ready.set(); go.wait()
threading.Thread(target=other).start()
ready.wait()
try:
    os.open("/dev/sgx_enclave", os.O_RDWR)
except PermissionError:
    print("refused")
go.set()
"""


def test_threads_with_different_filters_cannot_use_sgx() -> None:
    done = run(sys.executable, "-c", DIFFERENT_FILTERS)
    assert (done.returncode, done.stdout) == (0, "refused\n")
    (line,) = done.stderr.splitlines()
    assert line.startswith("enclu: ") and "its threads have different seccomp filters" in line


def test_the_filters_of_these_tests_deny_what_they_shall() -> None:
    """And nothing else: a test that denies nothing shows nothing."""
    script = (
        "import os\ntry: os.memfd_create('x')\nexcept OSError as error: print(error.errno)\nprint(os.getppid() > 0)"
    )
    done = command(*DENIED, str(MEMFD_CREATE), str(ENOSYS), sys.executable, "-c", script)
    assert done.stdout == f"{ENOSYS}\nTrue\n"
    assert command(*DENIED, str(MEMFD_CREATE), "kill", sys.executable, "-c", script).returncode == -31
    assert command(*DOCKER, "unshare", "-U", "true").returncode == 1
    assert len(filters.denying([1, 2], filters.ALLOW)) == 8 * 6
