"""A large enclave that takes long to load: what is seen of it under `enclu run` and from Python."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import enclu
from enclu.host.trial_images import TrialImages
from tests.support.runs import HANGS, ROOT, RUN, environment, marked
from tests.support.terminal import Terminal

IMPATIENT = "import enclu.base.console as c, enclu.run.loading as l; c.PATIENCE, l.LARGE = {patience}, 1\n"
"""In a sitecustomize.py: every load is large."""
LINE = r"enclu: loading an enclave: \d+ MiB added in \d+ s"
Loads = Callable[..., subprocess.CompletedProcess[str]]


def impatient(folder: Path, patience: float) -> str:
    """A PYTHONPATH."""
    (folder / "sitecustomize.py").write_text(IMPATIENT.format(patience=patience))
    return os.pathsep.join((str(folder), environment()["PYTHONPATH"]))


@pytest.fixture
def loads(program: Callable[[str], Path], enclave_environment: dict[str, str], tmp_path: Path) -> Loads:
    def run(patience: float, shell: str = 'exec "$@"') -> subprocess.CompletedProcess[str]:
        env = {**environment(**enclave_environment), "PYTHONPATH": impatient(tmp_path, patience)}
        command = ["sh", "-c", shell, "sh", *RUN, str(program("oversubscribe"))]
        return subprocess.run(command, capture_output=True, text=True, timeout=HANGS, stdin=subprocess.DEVNULL, env=env)

    return run


def test_one_line_where_standard_error_is_no_terminal(loads: Loads) -> None:
    done = loads(0)
    assert done.returncode == 0 and re.fullmatch(LINE + "\n", done.stderr), done.stderr
    assert done.stdout == loads(3600).stdout


def test_no_line_for_a_load_that_is_soon_over(loads: Loads) -> None:
    done = loads(3600)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_closed_standard_error(loads: Loads) -> None:
    done = loads(0, 'exec "$@" 2>&-')
    assert done.returncode == 0 and done.stderr == "" and done.stdout == loads(3600).stdout


def test_lines_of_their_own_at_a_terminal(
    program: Callable[[str], Path], enclave_environment: dict[str, str], tmp_path: Path
) -> None:
    path = impatient(tmp_path, 0)
    with marked() as processes:
        terminal = Terminal([*RUN, str(program("oversubscribe"))], processes, PYTHONPATH=path, **enclave_environment)
        try:
            seen = terminal.expect(r"1\.\.1\n")
        finally:
            terminal.close()
    assert re.fullmatch(rf"({LINE}\n)+ok 1 contents\n1\.\.1\n", seen), seen


def test_from_python_it_is_on_the_standard_error_of_the_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    image = TrialImages(tmp_path).open([ROOT / "tests" / "host" / "enclave.c"])
    monkeypatch.setenv("PYTHONPATH", impatient(tmp_path, 0))
    with enclu.Machine() as machine:
        assert machine.process().load(image).ecall(0, 41) == 42
    seen = capfd.readouterr()
    assert seen.out == "" and re.fullmatch(LINE + "\n", seen.err), seen.err
