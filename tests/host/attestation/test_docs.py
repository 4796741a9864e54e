"""docs/attestation.md: what it has users type works as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.runs import ENCLU, ROOT, environment

PAGE = (ROOT / "docs" / "attestation.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(home: Path) -> Path:
    """Where enclave.c is, and `enclu` in PATH."""
    folder = home / "docs"
    (folder / "bin").mkdir(parents=True)
    (folder / "enclave.c").write_text(blocks("c")[0])
    command = folder / "bin" / "enclu"
    command.write_text(f'#!/bin/sh\nexec {" ".join(ENCLU)} "$@"\n')
    command.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def typed(folder: Path) -> subprocess.CompletedProcess[str]:
    """The commands of the page, in a shell that ends with the first that fails."""
    path = f"{folder / 'bin'}:{environment()['PATH']}"
    script = blocks("sh")[0]
    return subprocess.run(
        ["sh", "-exc", script], cwd=folder, env=environment(PATH=path), capture_output=True, text=True, timeout=100
    )


def test_the_commands_work(typed: subprocess.CompletedProcess[str]) -> None:
    assert typed.returncode == 0, typed.stderr
    assert "the quote is to be believed" in typed.stdout
    assert b"what this enclave wants to say".hex() in typed.stdout


def test_the_program_works(typed: subprocess.CompletedProcess[str], folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", blocks("python")[0]], cwd=folder, env=environment(), capture_output=True, text=True,
        timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_names_of_certificates_are_those_that_are_issued() -> None:
    from enclu.host.attestation import manufacturer

    names = [manufacturer.ROOT, manufacturer.PROCESSOR_CA, manufacturer.PCK, manufacturer.TCB_SIGNING]
    assert re.findall(r"^\| `(enclu software [^`]*)`", PAGE, re.MULTILINE) == names
