"""`enclu run` around ordinary programs: streams, arguments, processes, devices, machines."""

import subprocess
import sys
from pathlib import Path

from tests.support.runs import RUN, enclu, environment, sh


def test_standard_streams_are_the_programs() -> None:
    done = sh("cat; echo err >&2", input="through\n")
    assert (done.stdout, done.stderr) == ("through\n", "err\n")


def test_a_pipeline_of_two_runs() -> None:
    run = " ".join(RUN)
    done = subprocess.run(
        f"{run} seq 1000 | {run} tail -1", shell=True, capture_output=True, text=True, check=True, env=environment()
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
    done = sh("test -c /dev/sgx_enclave && test -w /dev/sgx/enclave && grep -c -m1 -w sgx_lc /proc/cpuinfo")
    assert (done.returncode, done.stdout) == (0, "1\n")


def test_tracing_inside_the_run_is_explained() -> None:
    script = "import ctypes; raise SystemExit(ctypes.CDLL(None).ptrace(0, 0, 0, 0) != -1)"
    done = enclu("run", sys.executable, "-c", script)
    assert done.returncode == 0 and "ptrace(2)" in done.stderr


def test_a_named_machine_keeps_one_secret(tmp_path: Path) -> None:
    env = environment(XDG_STATE_HOME=str(tmp_path))
    for _ in range(2):
        assert enclu("run", "--machine", "m1", "/bin/true", env=env).returncode == 0
    state = tmp_path / "enclu" / "machines"
    assert [p.name for p in state.iterdir()] == ["m1"]
    assert (state / "m1").stat().st_mode & 0o777 == 0o600


def test_a_bad_machine_name_is_refused() -> None:
    done = enclu("run", "--machine", "../evil", "/bin/true")
    assert done.returncode == 125 and "machine name" in done.stderr
