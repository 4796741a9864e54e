"""The program that executes the cases: its sources, building it, running it."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

from enclu.base import directories, files
from enclu.base.abi import PR_SET_PDEATHSIG
from enclu.conform import ConformError, Interrupted
from enclu.conform.report import Report, closed, parsed

SOURCE = Path(__file__).parent / "program"
ARGUMENTS = "build.args"
"""gcc's, with the names of what is compiled: an owner of hardware says `gcc @build.args -o conform`."""
LARGEST = 1 << 24
"""Bytes of the program; it is far smaller."""
FINISHED = (0, 1)
"""Exit statuses of the program when it has executed what it was asked."""
WHERE = "the machine in software"
HANGS = 3600
"""Seconds after which the cases are taken to hang, however busy the machine."""


def sources() -> list[Path]:
    """All files of the program, what image.h was made from included."""
    return sorted(path for path in SOURCE.iterdir() if path.suffix in (".c", ".h", ".S", ".args"))


def copy_source(directory: Path) -> None:
    """Write the files into a directory, which is made.  Raises ConformError."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for path in sources():
            (directory / path.name).write_bytes(path.read_bytes())
    except OSError as error:
        raise ConformError(f"{error.filename or directory}: {error.strerror}") from None


def build() -> Path:
    """The program in the user's cache, built if its sources have changed.  Raises ConformError."""
    gcc = shutil.which("gcc")
    if gcc is None:
        raise ConformError("gcc is missing, which compiles the cases: apt-get install gcc")
    digest = hashlib.sha256()
    for path in sources():
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    try:
        program = directories.cache() / "conform" / digest.hexdigest()[:16] / "conform"
        stamp = program.with_name("conform.stamp")
        if not _is_whole(program, stamp):
            directories.make(program.parent)
            scratch = program.with_name(f"conform.{os.getpid()}")
            command = [gcc, f"@{ARGUMENTS}", "-o", str(scratch)]
            done = subprocess.run(command, capture_output=True, text=True, cwd=SOURCE, check=False)
            if done.returncode:
                raise ConformError(f"gcc cannot build the cases\n{done.stderr.strip()}")
            scratch.chmod(0o755)
            content = hashlib.sha256(scratch.read_bytes()).hexdigest()
            scratch.rename(program)
            directories.replace(stamp, content.encode())
    except OSError as error:
        raise ConformError(
            f"{error.filename or 'cache'}: {error.strerror}; the program is kept there, or under XDG_CACHE_HOME"
        ) from None
    return program


def _is_whole(program: Path, stamp: Path) -> bool:
    """What was built here before is there, unchanged and the user's own."""
    try:
        return hashlib.sha256(files.read_own(program, LARGEST)).hexdigest().encode() == files.read_own(stamp, 65)
    except OSError:
        return False


def claims(part: str = "") -> dict[str, Any]:
    """What is claimed and expected, as the program has it; SGX is not needed.  Raises ConformError."""
    done = subprocess.run([build(), "--list", part], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ConformError(f"the program cannot list its cases (exit status {done.returncode})")
    listed: dict[str, Any] = json.loads(done.stdout)
    return listed


def run(options: tuple[str, ...], part: str = "") -> Report:
    """Execute the cases on the machine in software; `options` are those of `enclu run`.

    Raises ConformError; Interrupted by Ctrl-C, where that is KeyboardInterrupt.
    """
    command = [
        sys.executable,
        "-m",
        "enclu.cli.main",
        "run",
        "--quiet",
        *options,
        str(build()),
        *([part] if part else []),
    ]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=partial(_die_with, os.getpid()),
    )  # fmt: skip
    try:
        said, told = process.communicate(timeout=HANGS)
    except subprocess.TimeoutExpired:
        raise ConformError(f"still running after {HANGS} seconds: {' '.join(command)}") from None
    except KeyboardInterrupt:
        process.kill()
        raise Interrupted(closed(process.communicate()[0])) from None
    finally:
        process.kill()
    if process.returncode not in FINISHED:
        why = told.strip().removeprefix("enclu: ") or f"exit status {process.returncode}"
        raise ConformError(f"the cases could not be run: {why}")
    return parsed(said, WHERE)


_prctl = ctypes.CDLL(None).prctl


def _die_with(parent: int) -> None:
    """What this process becomes is killed when its parent ends, however that does."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
