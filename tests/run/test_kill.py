"""Death at any moment, of the supervisor, the program or a part of it: nothing hangs and nothing is left behind."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support.runs import HANGS, RUN, Marked, children_of, gone, marked, run, status, supervisor_of, wait_until

ROUNDS = int(os.environ.get("ENCLU_TEST_KILLS", "2"))
"""How often each combination is tried; for a thorough search more, ENCLU_TEST_KILLS=50."""
MODES: dict[str, tuple[str, ...]] = {
    "compute": (),
    "enter": (),
    "build": ("--epc", "32M"),
    "reclaim": ("--epc", "2M"),
    "threads": (),
    "storm": (),
    "execs": (),
}
"""What tests/c/programs/victim.c does, and the options that it is run with."""


@pytest.fixture
def processes() -> Iterator[Marked]:
    with marked() as found:
        yield found


@pytest.fixture
def victim(
    program: Callable[[str], Path], enclave_environment: dict[str, str], processes: Marked, tmp_path: Path
) -> Callable[[str], subprocess.Popen[bytes]]:
    """victim(mode): `enclu run` of the program, with directories of its own for what enclu keeps."""

    def start(mode: str) -> subprocess.Popen[bytes]:
        env = processes.environment(
            XDG_CACHE_HOME=str(tmp_path / "cache"), XDG_STATE_HOME=str(tmp_path / "state"), **enclave_environment
        )
        return subprocess.Popen(
            [*RUN, *MODES[mode], str(program("victim")), mode], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env,
            start_new_session=True,
        )  # fmt: skip

    return start


def kill_supervisor(run: subprocess.Popen[bytes], processes: Marked, chance: random.Random) -> None:
    supervisor = int(status(run.pid, "TracerPid") or 0)
    os.kill(supervisor or run.pid, signal.SIGKILL)


def terminate_supervisor(run: subprocess.Popen[bytes], processes: Marked, chance: random.Random) -> None:
    supervisor = int(status(run.pid, "TracerPid") or 0)
    os.kill(supervisor or run.pid, signal.SIGTERM)


def kill_program(run: subprocess.Popen[bytes], processes: Marked, chance: random.Random) -> None:
    os.kill(run.pid, signal.SIGKILL)


def kill_group(run: subprocess.Popen[bytes], processes: Marked, chance: random.Random) -> None:
    os.killpg(run.pid, signal.SIGKILL)


def kill_some(run: subprocess.Popen[bytes], processes: Marked, chance: random.Random) -> None:
    """Whatever there is, one after the other, then the program."""
    for _ in range(3):
        os.kill(chance.choice([*processes.alive(), run.pid]), signal.SIGKILL)
    os.kill(run.pid, signal.SIGKILL)


def has_ended(run: subprocess.Popen[bytes]) -> bool:
    return run.poll() is not None


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kill", [kill_supervisor, terminate_supervisor, kill_program, kill_group, kill_some])
def test_at_any_moment(
    mode: str, kill: Callable[[subprocess.Popen[bytes], Marked, random.Random], None],
    victim: Callable[[str], subprocess.Popen[bytes]], processes: Marked, tmp_path: Path,
) -> None:  # fmt: skip
    chance = random.Random(f"{mode} {kill.__name__}")
    for _ in range(ROUNDS):
        run = victim(mode)
        assert run.stdout is not None and run.stderr is not None
        if chance.random() < 0.7:
            run.stdout.readline()  # it is at it
        time.sleep(chance.random() * 0.3)
        try:
            kill(run, processes, chance)
        except ProcessLookupError:  # what it was to kill had just ended
            run.kill()
        assert wait_until(partial(has_ended, run)), "the program hangs"
        # Children that the program has forked outlive it as they would without enclu.
        for pid in processes.alive():
            if status(pid, "TracerPid") not in ("", "0"):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
        assert processes.all_gone(), [(p, status(p, "Name"), status(p, "State")) for p in processes.alive()]
        assert run.returncode in (-signal.SIGKILL, -signal.SIGTERM)
        assert run.stderr.read() == b""
    assert not [p for p in tmp_path.rglob("*") if p.name.startswith(".")], "unfinished files"


def test_no_signal_is_lost_to_an_exec(program: Callable[[str], Path]) -> None:
    """Nor a run that is killed while it forks: children of one process after the other do all of that at once."""
    result = run(program("killed_in_exec"), "200")
    assert (result.returncode, result.stdout, result.stderr) == (0, "200 ended\n", "")


def test_killing_the_supervisor_kills_every_descendant_at_once(processes: Marked) -> None:
    """Also those that have a session of their own, or no parent any more."""
    script = "setsid sleep 300 & (sleep 300 & sleep 300) & echo up; sleep 300"
    run = subprocess.Popen([*RUN, "/bin/sh", "-c", script], stdout=subprocess.PIPE, env=processes.environment())
    assert run.stdout is not None and run.stdout.readline() == b"up\n"
    assert wait_until(lambda: [status(p, "Name") for p in processes.alive()].count("sleep") == 4)
    os.kill(supervisor_of(run.pid), signal.SIGKILL)
    assert run.wait(30) == -signal.SIGKILL
    assert processes.all_gone()


@pytest.mark.parametrize("signo", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2])
def test_a_signal_for_the_supervisor_is_the_programs(signo: signal.Signals, processes: Marked) -> None:
    script = f"trap 'echo caught; exit 9' {int(signo)}; echo up; while :; do sleep 0.05; done"
    run = subprocess.Popen([*RUN, "/bin/sh", "-c", script], stdout=subprocess.PIPE, env=processes.environment())
    assert run.stdout is not None and run.stdout.readline() == b"up\n"
    os.kill(supervisor_of(run.pid), signo)
    assert run.wait(30) == 9
    assert run.stdout.read() == b"caught\n"
    assert processes.all_gone()


def test_when_the_program_is_gone_the_supervisors_signals_are_its_descendants(processes: Marked) -> None:
    run = subprocess.Popen([*RUN, "/bin/sh", "-c", "sleep 300 & sleep 301 & exit 0"], env=processes.environment())
    assert run.wait(30) == 0
    assert wait_until(lambda: [status(p, "Name") for p in processes.alive()].count("sleep") == 2)
    (one, _) = (p for p in processes.alive() if status(p, "Name") == "sleep")
    os.kill(supervisor_of(one), signal.SIGTERM)
    assert processes.all_gone()


def test_killing_the_program_leaves_its_children_to_themselves(processes: Marked) -> None:
    run = subprocess.Popen(
        [*RUN, "/bin/sh", "-c", "sleep 300 & echo up; wait"], stdout=subprocess.PIPE, env=processes.environment()
    )
    assert run.stdout is not None and run.stdout.readline() == b"up\n"
    assert wait_until(lambda: children_of(run.pid) and status(children_of(run.pid)[0], "Name") == "sleep")
    (sleeper,) = children_of(run.pid)
    run.kill()
    assert run.wait(30) == -signal.SIGKILL
    assert not gone(sleeper)
    os.kill(sleeper, signal.SIGTERM)
    assert processes.all_gone()


def enclaves_of(supervisor: int) -> list[str]:
    """Its descriptors of the memory of enclaves."""
    names = (os.readlink(entry) for entry in Path(f"/proc/{supervisor}/fd").iterdir())
    return [name for name in names if "sgx_enclave" in name]


def test_what_a_program_held_is_given_back_while_all_others_sleep(
    program: Callable[[str], Path], enclave_environment: dict[str, str], processes: Marked
) -> None:
    """Nobody waits for it, and nothing else happens in the run."""
    run = subprocess.Popen(
        [*RUN, "/bin/sh", "-c", f"{program('counted')} hang 0 & exec sleep 300"], stdout=subprocess.PIPE,
        env=processes.environment(**enclave_environment),
    )  # fmt: skip
    assert run.stdout is not None and run.stdout.readline() == b"up\n"
    supervisor = supervisor_of(run.pid)
    assert wait_until(lambda: status(run.pid, "Name") == "sleep")
    assert enclaves_of(supervisor)
    (holder,) = children_of(run.pid)
    os.kill(holder, signal.SIGKILL)
    assert wait_until(lambda: not enclaves_of(supervisor))
    assert not gone(run.pid)
    run.kill()
    run.wait()
    assert processes.all_gone()


def test_runs_at_once_do_not_disturb_each_other(
    program: Callable[[str], Path], enclave_environment: dict[str, str], processes: Marked, tmp_path: Path
) -> None:
    """They also make the same machine at once: all get the keys of the one that was first."""
    env = processes.environment(XDG_STATE_HOME=str(tmp_path), **enclave_environment)
    command = [*RUN, "--machine", "shared", str(program("seal_key"))]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env) for _ in range(6)]
    outputs = [run.communicate(timeout=HANGS) for run in runs]
    assert [run.returncode for run in runs] == [0] * 6
    assert [error for _, error in outputs] == [b""] * 6
    assert len({out for out, _ in outputs}) == 1 and b"seal key" in outputs[0][0]
    assert [p.name for p in (tmp_path / "enclu" / "machines").iterdir()] == ["shared"]
    assert processes.all_gone()
