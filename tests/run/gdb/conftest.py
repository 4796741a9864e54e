"""Scripted sessions of Debian's gdb with programs of the tests, under `enclu run --gdb`."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import pytest

from tests.run.conftest import C_SOURCES, compile_c
from tests.support.runs import HANGS, PATIENCE, RUN, environment

DESIGNS = ("vdso", "signal", "mm-handler")
ADDED = "function 4 vector 0 result 23\n"
"""What the program debuggee prints of an enclave that it has had add."""
TO_THE_END = "while $_isvoid($_exitcode)\ncontinue\nend\n"
"""A script's last lines, for sessions in which it does not matter how often the program stops."""


def under(design: str) -> tuple[str, ...]:
    """The options for it."""
    return ("--delivery", design)


@dataclass(frozen=True)
class Session:
    """How a session ended."""

    output: str
    """gdb's."""
    status: int
    """The program's."""
    stdout: str
    stderr: str

    def expect(self, *patterns: str) -> None:
        """All of these are in gdb's output, one behind the other."""
        at = 0
        for pattern in patterns:
            found = re.compile(pattern, re.MULTILINE).search(self.output, at)
            assert found is not None, f"{pattern!r} is not behind character {at} of\n{self.output}\n{self.stderr}"
            at = found.end()


class Debug(Protocol):
    def __call__(
        self, script: str, *words: str, options: tuple[str, ...] = ..., program: Path | None = ..., end: bool = ...
    ) -> Session: ...


@pytest.fixture(scope="session")
def enclave_environment(work: Path, enclave_key: str) -> dict[str, str]:
    """The test enclave with what a debugger reads: lines, and how to unwind."""
    enclave, source = work / "debug-enclave.elf", C_SOURCES / "enclaves"
    compile_c(
        "-g", "-O1", "-ffreestanding", "-fPIE", "-mgeneral-regs-only", "-fno-stack-protector", "-fno-jump-tables",
        "-fvisibility=hidden", "-fcf-protection=none", "-fno-asynchronous-unwind-tables", "-static", "-nostdlib",
        "-Wl,--build-id=none,-z,norelro", "-Wl,-T," + str(source / "enclave.lds"),
        source / "entry.S", source / "body.c", "-o", enclave,
    )  # fmt: skip
    return {"ENCLU_TEST_ENCLAVE": str(enclave), "ENCLU_TEST_KEY": enclave_key}


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory whose name is short enough for the path of a socket."""
    with tempfile.TemporaryDirectory(prefix="enclu-gdb-") as directory:
        yield Path(directory)


def await_listener(errors: Path, process: subprocess.Popen[str]) -> None:
    """Return when somebody waits for gdb."""
    until = time.monotonic() + PATIENCE
    while process.poll() is None and "waiting for gdb" not in errors.read_text():
        assert time.monotonic() < until, "nobody listens"
        time.sleep(0.02)


@contextmanager
def started(
    place: Path, program: Path, *words: str, options: tuple[str, ...] = (), at: str = "", cwd: Path | None = None,
    env: dict[str, str],
) -> Iterator[subprocess.Popen[str]]:  # fmt: skip
    """The program, waiting for gdb at `place`/socket, or at `at`; killed at the end if it still runs."""
    command = [*RUN, *options, "--gdb", at or str(place / "socket"), str(program), *words]
    with (place / "stderr").open("w") as errors:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True,
            cwd=cwd, env=environment(**env),
        )  # fmt: skip
    try:
        await_listener(place / "stderr", process)
        yield process
    finally:
        process.kill()
        process.wait(PATIENCE)


def gdb(place: Path, program: Path, script: str, *, connect: bool = True) -> str:
    """A script run by gdb, to its end; what it has printed."""
    if shutil.which("gdb") is None:
        pytest.fail("gdb is missing (apt-get install gdb)", pytrace=False)
    path = place / "script"
    path.write_text(script)
    first = ["set sysroot /", f"file {program}", f"target remote {place / 'socket'}"]
    command = ["gdb", "-batch", "-nx", "-q", *(word for line in first[: 3 if connect else 2] for word in ("-ex", line))]
    done = subprocess.run(
        [*command, "-x", str(path)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, timeout=HANGS, env={**os.environ, "DEBUGINFOD_URLS": "", "LC_ALL": "C.UTF-8"}, check=False,
    )  # fmt: skip
    return done.stdout


@pytest.fixture
def debug(place: Path, program: Callable[[str], Path], enclave_environment: dict[str, str]) -> Debug:
    """debug(script, *words): the program debuggee, told to do `words`, debugged by the script."""

    def run(
        script: str, *words: str, options: tuple[str, ...] = (), program: Path | None = None, end: bool = True
    ) -> Session:  # fmt: skip
        debuggee = build("debuggee") if program is None else program
        with started(place, debuggee, *words, options=options, env=enclave_environment) as process:
            output = gdb(place, debuggee, script)
            if not end:
                process.kill()
            stdout, _ = process.communicate(timeout=HANGS)
        return Session(output, process.returncode, stdout, (place / "stderr").read_text())

    build = program
    return run


@pytest.fixture(params=DESIGNS)
def debug_after_entry(debug: Debug, request: pytest.FixtureRequest) -> Debug:
    """As `debug`, under three designs, each of which has been at work: an enclave is entered before `words`.

    What the program tells of that is not in the session's stdout.
    """

    def run(
        script: str, *words: str, options: tuple[str, ...] = (), program: Path | None = None, end: bool = True
    ) -> Session:  # fmt: skip
        options = (*options, *under(request.param))
        session = debug(script, "load", "add", *words, options=options, program=program, end=end)
        assert session.stdout.startswith(ADDED), session.output + session.stderr
        return replace(session, stdout=session.stdout.removeprefix(ADDED))

    return run


class Remote:
    """A debugger that speaks the protocol itself, for what gdb would never say."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(str(path))
        self._received = b""

    def send(self, body: bytes) -> None:
        self.socket.sendall(b"$%s#%02x" % (body, sum(body) & 0xFF))

    def receive(self) -> bytes:
        """The next packet; empty at the end of the connection."""
        while not (found := re.search(rb"\$([^#]*)#..", self._received)):
            data = self.socket.recv(1 << 16)
            if not data:
                return b""
            self._received += data
        self._received = self._received[found.end() :]
        with contextlib.suppress(BrokenPipeError):  # it was the last
            self.socket.sendall(b"+")
        return found[1]

    def ask(self, body: bytes) -> bytes:
        self.send(body)
        return self.receive()

    def close(self) -> None:
        self.socket.close()
