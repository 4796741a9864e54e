"""enclu installed from a wheel, far from any checkout."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import enclu
from tests.release.conftest import ROOT

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(installed: Path, tmp_path: Path) -> Run:
    """Runs a command of the installation, with a user's directories that are new."""

    def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path)}
        command = [str(installed / "bin" / name), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=100, cwd=tmp_path, env=environment)

    return run


def test_it_is_not_the_checkout(run: Run, installed: Path) -> None:
    done = run("python", "-c", "import enclu; print(enclu.__file__)")
    assert done.stdout.startswith(str(installed))


def test_command_and_metadata_tell_the_version_of_the_package(run: Run) -> None:
    assert run("enclu", "--version").stdout == f"enclu, version {enclu.__version__}\n"
    done = run("python", "-c", "from importlib.metadata import version; print(version('enclu'))")
    assert done.stdout == f"{enclu.__version__}\n"


def test_it_finds_the_machine_fit_and_runs_a_program(run: Run) -> None:
    assert run("enclu", "check").returncode == 0
    done = run("enclu", "run", "sh", "-c", "echo $0; exit 7", "hello")
    assert (done.returncode, done.stdout, done.stderr) == (7, "hello\n", "")


def test_it_has_the_scenarios(run: Run, installed: Path) -> None:
    script = "from enclu.compare import catalog; c = catalog.read(catalog.find_root()); print(c.root, *c.scenarios)"
    root, *scenarios = run("python", "-c", script).stdout.split()
    assert root.startswith(str(installed))
    assert set(scenarios) == {path.parent.name for path in (ROOT / "scenarios").glob("*/scenario.toml")}
    assert "--scenario NAME" in run("enclu", "compare", "--help").stdout


def test_it_builds_its_quoting_enclave_and_one_in_c(run: Run, tmp_path: Path) -> None:
    (tmp_path / "reporter.c").write_text(
        '#include "attestation.h"\n#include "trusted.h"\n'
        "uint64_t enclave_main(struct thread *thread, uint64_t function, void *argument)\n"
        "{\n\t(void)thread, (void)function;\n\treturn answer_report_request(argument, NULL);\n}\n"
    )
    for command in (
        ("openssl", "genrsa", "-3", "-out", "key.pem", "3072"),
        ("enclu", "build", "reporter.c"),
        ("enclu", "sign", "reporter.elf", "--key", "key.pem"),
        ("enclu", "quote", "make", "reporter.elf", "--by", "0", "-o", "quote.bin"),
        ("enclu", "quote", "inspect", "quote.bin"),
    ):
        done = run(*command) if command[0] == "enclu" else subprocess.run(command, cwd=tmp_path, capture_output=True)
        assert done.returncode == 0, done.stderr


def test_pytest_finds_its_fixtures(run: Run, tmp_path: Path) -> None:
    (tmp_path / "test_machine.py").write_text("def test_process(sgx_process):\n    assert sgx_process.pid > 0\n")
    done = run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path / "test_machine.py"))
    assert done.returncode == 0, done.stdout + done.stderr
