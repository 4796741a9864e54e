"""Hosts in other languages, whose runtimes have ways of their own with signals, stacks and exceptions."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.run.conftest import EncluRun

ROOT = Path(__file__).resolve().parents[2]
HOSTS, C_SOURCES = ROOT / "tests" / "hosts", ROOT / "tests" / "c"


def build(
    tool: str, package: str, *arguments: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None
) -> None:
    """Runs a compiler; fails with its messages, or with the package's name if it is missing."""
    found = shutil.which(tool)
    if found is None:
        pytest.fail(f"{tool} is missing (apt-get install {package})", pytrace=False)
    done = subprocess.run([found, *map(str, arguments)], capture_output=True, text=True, cwd=cwd, env=env)
    if done.returncode:
        pytest.fail(done.stderr, pytrace=False)


def test_a_go_host_without_cgo_runs_goroutines_in_enclaves(
    tmp_path: Path, library: list[Path], enclu_run: EncluRun, enclave_environment: dict[str, str]
) -> None:
    host, writer, sigstruct = tmp_path / "host", tmp_path / "writer", tmp_path / "sigstruct"
    build("gcc", "gcc", "-I", C_SOURCES, HOSTS / "sigstruct.c", *library, "-o", writer, "-lcrypto")
    assert enclu_run(writer, sigstruct, env=enclave_environment).returncode == 0
    environment = {**os.environ, "CGO_ENABLED": "0", "GOCACHE": str(tmp_path / "cache"), "GOTOOLCHAIN": "local"}
    build("go", "golang-go", "build", "-o", host, ".", cwd=HOSTS / "go", env=environment)
    done = enclu_run(host, enclave_environment["ENCLU_TEST_ENCLAVE"], sigstruct)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_cpp_host_throws_exceptions_for_enclave_faults(
    tmp_path: Path, library: list[Path], enclu_run: EncluRun, enclave_environment: dict[str, str]
) -> None:
    host = tmp_path / "host"
    build(
        "g++", "g++", "-g", "-O1", "-Wall", "-Wextra", "-Werror", "-I", C_SOURCES, HOSTS / "host.cc", *library,
        "-o", host, "-lcrypto", "-pthread",
    )  # fmt: skip
    done = enclu_run(host, env=enclave_environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not re.search(r"^not ok", done.stdout, re.MULTILINE), done.stdout
    assert done.stderr == ""
