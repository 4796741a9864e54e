"""Debuggers that come, go, are killed, or say what no debugger should."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.run.gdb.conftest import DESIGNS, TO_THE_END, Debug, Remote, gdb, started
from tests.support.runs import HANGS, PATIENCE, RUN, environment

Build = Callable[[str], Path]


def test_ctrl_c_stops_a_running_program(place: Path, program: Build, enclave_environment: dict[str, str]) -> None:
    with started(place, program("debuggee"), "wait", env=enclave_environment) as process:
        remote = Remote(place / "socket")
        remote.ask(b"?")
        remote.send(b"vCont;c")
        remote.socket.sendall(b"\x03")
        assert remote.receive().startswith(b"T02")
        assert remote.ask(b"g").isalnum()
        remote.send(b"k")
        assert process.wait(PATIENCE) == -signal.SIGKILL


def test_ctrl_c_that_crosses_a_stop_is_not_lost(
    place: Path, program: Build, enclave_environment: dict[str, str]
) -> None:
    with started(place, program("debuggee"), "wait", env=enclave_environment) as process:
        remote = Remote(place / "socket")
        remote.ask(b"?")
        remote.socket.sendall(b"\x03")
        assert remote.ask(b"vCont;c").startswith(b"T02")
        remote.send(b"k")
        assert process.wait(PATIENCE) == -signal.SIGKILL


def test_the_socket_is_the_users_alone(place: Path, program: Build, enclave_environment: dict[str, str]) -> None:
    with started(place, program("debuggee"), env=enclave_environment):
        assert (place / "socket").stat().st_mode & 0o777 == 0o600


def test_the_socket_is_gone_when_the_run_is_over(debug: Debug, place: Path) -> None:
    debug("continue\n")
    until = time.monotonic() + PATIENCE
    while (place / "socket").exists():
        assert time.monotonic() < until


def test_a_program_that_is_detached_goes_on(debug: Debug) -> None:
    session = debug("break twice\ncontinue\ndetach\n", "load", "add", "twice", "add")
    session.expect(r"\[Inferior 1 .* detached\]")
    assert session.status == 3
    assert session.stdout.endswith("twice 42\nfunction 4 vector 0 result 23\n")


def test_another_debugger_takes_over_what_was_detached(
    place: Path, program: Build, enclave_environment: dict[str, str]
) -> None:
    debuggee = program("debuggee")
    with started(place, debuggee, "load", "wait", "add", env=enclave_environment) as process:
        gdb(place, debuggee, 'break here if $_streq(what, "wait")\ncontinue\ndetach\n')
        second = gdb(place, debuggee, "set var go_on = 1\nbreak encl_body\ncontinue\nbt 1\ndelete\ncontinue\n")
        assert process.wait(HANGS) == 3
    assert re.search("encl_body .*body.c", second), second


def killed_in_the_middle(
    place: Path, program: Build, env: dict[str, str], script: str, *words: str, options: tuple[str, ...] = ()
) -> tuple[int, str]:
    """gdb is killed when its script has come to its end; how the program ends, and its output."""
    debuggee = program("debuggee")
    with started(place, debuggee, *words, options=options, env=env) as process:
        gdb(place, debuggee, f"{script}\nshell kill -KILL $PPID\n")
        stdout, _ = process.communicate(timeout=HANGS)
    return process.returncode, stdout


BREAKPOINTS = "break twice\nset breakpoint pending on\nbreak encl_body\ncontinue\n"


def test_when_gdb_is_killed_the_program_goes_on(
    place: Path, program: Build, enclave_environment: dict[str, str]
) -> None:
    ended = killed_in_the_middle(place, program, enclave_environment, BREAKPOINTS, "load", "add", "twice", "add")
    assert ended == (3, "function 4 vector 0 result 23\ntwice 42\nfunction 4 vector 0 result 23\n")


@pytest.mark.parametrize("design", DESIGNS)
def test_when_gdb_is_killed_at_an_exception_the_program_gets_it(
    design: str, place: Path, program: Build, enclave_environment: dict[str, str]
) -> None:
    options = ("--delivery", design)
    ended = killed_in_the_middle(place, program, enclave_environment, "continue", "load", "ud2", "add", options=options)
    assert ended == (3, "function 3 vector 6 result 0\nfunction 4 vector 0 result 23\n")


def test_when_gdb_is_killed_the_program_dies_if_that_is_asked_for(
    place: Path, program: Build, enclave_environment: dict[str, str]
) -> None:
    options = ("--gdb-exit", "kill")
    ended = killed_in_the_middle(place, program, enclave_environment, BREAKPOINTS, "load", "add", options=options)
    assert ended == (-signal.SIGKILL, "")


def test_when_gdb_is_killed_while_threads_run_the_program_goes_on(
    place: Path, program: Build, enclave_environment: dict[str, str]
) -> None:
    with started(place, program("debuggee"), "load", "spin", "threads", env=enclave_environment) as process:
        remote = Remote(place / "socket")
        remote.ask(b"?")
        remote.send(b"vCont;c")
        remote.close()
        stdout, _ = process.communicate(timeout=HANGS)
    assert (process.returncode, stdout) == (3, "function 4\n")


def test_a_second_debugger_is_refused(place: Path, program: Build, enclave_environment: dict[str, str]) -> None:
    with started(place, program("debuggee"), env=enclave_environment) as process:
        first = Remote(place / "socket")
        assert first.ask(b"?").startswith(b"T05")
        second = Remote(place / "socket")
        assert second.socket.recv(1) == b""
        assert first.ask(b"qC").startswith(b"QC")
        first.send(b"D;%x" % process.pid)
        assert first.receive() == b"OK"
        assert process.wait(HANGS) == 3


def test_at_a_port_only_this_machine_is_listened_to(program: Build, enclave_environment: dict[str, str]) -> None:
    command = [*RUN, "--gdb", "0", str(program("debuggee"))]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment(**enclave_environment))
    try:
        assert process.stderr is not None
        found = re.search(r"target remote 127\.0\.0\.1:(\d+)$", process.stderr.readline())
        assert found is not None
        with socket.create_connection(("127.0.0.1", int(found[1]))) as connection:
            connection.sendall(b"$?#3f")
            assert connection.recv(1) == b"+"
            connection.sendall(b"$D#44")
        assert process.wait(HANGS) == 3
    finally:
        process.kill()
        process.communicate()


def test_ctrl_c_ends_the_wait_for_a_debugger(place: Path, program: Build, enclave_environment: dict[str, str]) -> None:
    with started(place, program("debuggee"), env=enclave_environment) as process:
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == -signal.SIGINT


@pytest.mark.parametrize("where", ["99999", "no.such.host.invalid:1", "/no/such/directory/socket", "/dev/null"])
def test_an_address_that_is_none_is_told_in_a_line(where: str, program: Build) -> None:
    command = [*RUN, "--gdb", where, str(program("debuggee"))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANGS, env=environment(), check=False)
    assert done.returncode == 2
    assert re.fullmatch(rf"enclu: invalid value for --gdb: {re.escape(where)}: .*\n", done.stderr), done.stderr


@pytest.mark.parametrize(
    "packet",
    [
        b"", b"!", b"vCont;q", b"vCont;c:pzz", b"g" * 5000, b"m0", b"m,", b"mffffffffffffffff,10", b"M0,1:zz",
        b"X0,5:a", b"P999=00", b"pfffff", b"G00", b"Z0,zz,1", b"Z9,0,1", b"Z2,1,3", b"z0,0,1", b"Hgpffff.1", b"Tp1.1",
        b"qXfer:features:read:other.xml:0,1", b"qXfer:auxv:read", b"qXfer:nothing:read::0,10", b"qRcmd,zz",
        b"qRcmd,737", b"vFile:open:zz,0,0", b"vFile:pread:77,10,0", b"vFile:nothing:", b"QPassSignals:zz",
        b"vKill;zz", b"D;zz", b"\x7d", b"qThreadExtraInfo,zz",
    ],
)  # fmt: skip
def test_a_packet_that_makes_no_sense_is_answered(
    packet: bytes, place: Path, program: Build, enclave_environment: dict[str, str]
) -> None:
    with started(place, program("debuggee"), env=enclave_environment) as process:
        remote = Remote(place / "socket")
        remote.ask(b"?")
        answer = remote.ask(packet)
        assert re.fullmatch(rb"|E..|OK|F-1,.*|(..)*", answer) or packet.startswith((b"g", b"qRcmd")), answer
        assert remote.ask(b"qC") == b"QCp%x.%x" % (process.pid, process.pid)


def test_counters_are_those_of_a_run_without_gdb(
    place: Path, program: Build, enclave_environment: dict[str, str]
) -> None:
    debuggee = program("debuggee")
    words = ("load", "add", "ud2", "write", "unload", "load", "bad-read", "threads", "fork")
    plain = subprocess.run(
        [*RUN, "--stats=json", "--no-fast-path", str(debuggee), *words], capture_output=True, text=True,
        timeout=HANGS, env=environment(**enclave_environment), check=False,
    )  # fmt: skip
    with started(place, debuggee, *words, options=("--stats=json",), env=enclave_environment) as process:
        gdb(place, debuggee, f"{BREAKPOINTS}stepi\nnext\nbt\nfinish\n{TO_THE_END}")
        stdout, _ = process.communicate(timeout=HANGS)
    assert (process.returncode, stdout) == (plain.returncode, plain.stdout)
    told, expected = ((text.splitlines()[-1]) for text in ((place / "stderr").read_text(), plain.stderr))
    assert told == expected
