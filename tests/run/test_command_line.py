"""`enclu run` around ordinary programs: exit status, signals, streams, errors; nothing left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ENCLU = [sys.executable, "-m", "enclu.cli.main"]


def enclu(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*ENCLU, *arguments], capture_output=True, text=True, timeout=60, check=False, **options)  # type: ignore[call-overload,no-any-return]


def sh(script: str, **options: object) -> subprocess.CompletedProcess[str]:
    return enclu("run", "/bin/sh", "-c", script, **options)


@pytest.mark.parametrize("code", [0, 1, 42, 255])
def test_exit_code_is_passed_through(code: int) -> None:
    assert sh(f"exit {code}").returncode == code


@pytest.mark.parametrize("signo", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV, signal.SIGUSR1])
def test_death_by_signal_is_passed_through(signo: int) -> None:
    assert sh(f"kill -{int(signo)} $$").returncode == -signo


def test_standard_streams_are_the_programs() -> None:
    done = sh("cat; echo err >&2", input="through\n")
    assert (done.stdout, done.stderr) == ("through\n", "err\n")


def test_a_pipeline_of_two_runs() -> None:
    python = f"{sys.executable} -m enclu.cli.main run"
    done = subprocess.run(
        f"{python} seq 1000 | {python} tail -1", shell=True, capture_output=True, text=True, check=True
    )
    assert done.stdout == "1000\n"


def test_arguments_after_the_program_are_the_programs() -> None:
    assert enclu("run", "/bin/echo", "--stats", "-n", "--epc").stdout == "--stats -n --epc\n"


def test_a_tree_of_processes_runs() -> None:
    done = sh("for i in 1 2 3; do (sh -c 'echo $((2+3))' & wait); done | sort | uniq -c")
    assert done.stdout.split() == ["3", "5"]


def test_threads_and_exec_from_one_of_them() -> None:
    script = (
        "import os, threading\n"
        "threading.Thread(target=lambda: threading.Event().wait(9), daemon=True).start()\n"
        "t = threading.Thread(target=lambda: os.execv('/bin/echo', ['echo', 'execed'])); t.start(); t.join()\n"
    )
    assert enclu("run", sys.executable, "-c", script).stdout == "execed\n"


def test_children_killed_while_they_start_do_no_harm() -> None:
    script = (
        "import os, random, signal, time\n"
        "for i in range(300):\n"
        "    child = os.posix_spawn('/bin/true', ['true'], os.environ) if i % 2 else os.fork()\n"
        "    if child == 0: os.execv('/bin/true', ['true'])\n"
        "    time.sleep(random.random() * 0.003)\n"
        "    os.kill(child, signal.SIGKILL)\n"
        "    os.waitpid(child, 0)\n"
        "print('done')\n"
    )
    done = enclu("run", sys.executable, "-c", script)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def test_the_device_and_the_processor_announce_sgx() -> None:
    done = sh("test -c /dev/sgx_enclave && test -w /dev/sgx/enclave && grep -c -m1 -w sgx2 /proc/cpuinfo")
    assert (done.returncode, done.stdout) == (0, "1\n")


@pytest.mark.parametrize(
    ("program", "status", "words"),
    [("no-such-program", 127, "not found"), ("/no/such/file", 127, "no such file"), ("/etc/passwd", 126, "executable"),
     ("/tmp", 126, "not a regular file")],
)  # fmt: skip
def test_what_cannot_be_run_is_named(program: str, status: int, words: str) -> None:
    done = enclu("run", program)
    assert done.returncode == status
    assert done.stderr.startswith("enclu: ") and words in done.stderr and "Traceback" not in done.stderr


def test_a_program_of_another_machine_is_refused(tmp_path: Path) -> None:
    image = bytearray(Path("/bin/true").read_bytes())
    image[18:20] = (183).to_bytes(2, "little")
    other = tmp_path / "arm"
    other.write_bytes(image)
    other.chmod(0o755)
    done = enclu("run", str(other))
    assert done.returncode == 126 and "x86-64" in done.stderr


def test_a_setuid_program_is_refused(tmp_path: Path) -> None:
    program = tmp_path / "true"
    program.write_bytes(Path("/bin/true").read_bytes())
    program.chmod(0o4755)
    done = enclu("run", str(program))
    assert done.returncode == 126 and "setuid" in done.stderr


@pytest.mark.parametrize("size", ["4K", "0", "lots", "-5M", "100G", "1048577"])
def test_an_epc_size_that_makes_no_sense_is_refused(size: str) -> None:
    done = enclu("run", f"--epc={size}", "/bin/true")
    assert done.returncode == 2 and "--epc" in done.stderr


def test_tracing_inside_the_run_is_explained() -> None:
    script = "import ctypes; raise SystemExit(ctypes.CDLL(None).ptrace(0, 0, 0, 0) != -1)"
    done = enclu("run", sys.executable, "-c", script)
    assert done.returncode == 0 and "ptrace(2)" in done.stderr


def test_stats_are_json_when_asked_for() -> None:
    done = enclu("run", "--stats=json", "/bin/true")
    assert json.loads(done.stderr)["entries"] == 0


def test_stats_alone_are_a_table() -> None:
    assert "evictions" in enclu("run", "--stats", "/bin/true").stderr


def test_check_finds_this_machine_fit() -> None:
    done = enclu("check")
    assert done.returncode == 0 and "ptrace" in done.stdout


def test_version_and_help() -> None:
    assert enclu("--version").stdout.startswith("enclu")
    assert "mm-handler" in enclu("run", "--help").stdout


def children_of(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_until(condition: object, seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():  # type: ignore[operator]
            return True
        time.sleep(0.02)
    return False


def start_sleeper() -> tuple[subprocess.Popen[bytes], int]:
    run = subprocess.Popen([*ENCLU, "run", "/bin/sh", "-c", "echo up; sleep 60 & wait"], stdout=subprocess.PIPE)
    assert run.stdout is not None and run.stdout.readline() == b"up\n"
    assert wait_until(lambda: children_of(run.pid) and children_of(children_of(run.pid)[0]))
    return run, children_of(run.pid)[0]


def test_killing_the_supervisor_leaves_no_orphan() -> None:
    run, shell = start_sleeper()
    sleeper = children_of(shell)[0]
    run.kill()
    run.wait()
    assert wait_until(lambda: not os.path.exists(f"/proc/{shell}") and not os.path.exists(f"/proc/{sleeper}"))


def test_sigterm_to_the_supervisor_reaches_the_program() -> None:
    run, shell = start_sleeper()
    for child in children_of(shell):
        os.kill(child, signal.SIGKILL)
    run.terminate()
    assert run.wait(10) == -signal.SIGTERM or run.returncode == 128 + signal.SIGTERM


def test_killing_the_program_ends_the_run() -> None:
    run, shell = start_sleeper()
    for child in children_of(shell):
        os.kill(child, signal.SIGKILL)
    os.kill(shell, signal.SIGKILL)
    assert run.wait(10) == -signal.SIGKILL


def test_a_stopped_program_goes_on() -> None:
    script = "import os, signal; os.kill(os.getpid(), signal.SIGSTOP); print('went on')"
    run = subprocess.Popen([*ENCLU, "run", sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert wait_until(lambda: children_of(run.pid))
    pid = children_of(run.pid)[0]
    assert wait_until(lambda: "State:\tt" in Path(f"/proc/{pid}/status").read_text())
    time.sleep(0.3)
    os.kill(pid, signal.SIGCONT)
    assert run.communicate(timeout=20)[0] == b"went on\n"


def test_a_named_machine_keeps_one_secret(tmp_path: Path) -> None:
    env = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}
    for _ in range(2):
        assert enclu("run", "--machine", "m1", "/bin/true", env=env).returncode == 0
    state = tmp_path / "enclu" / "machines"
    assert [p.name for p in state.iterdir()] == ["m1"]
    assert (state / "m1").stat().st_mode & 0o777 == 0o600


def test_a_bad_machine_name_is_refused() -> None:
    done = enclu("run", "--machine", "../evil", "/bin/true")
    assert done.returncode == 125 and "machine name" in done.stderr
