"""docs/tutorial.md, done by the letter: its files are written, its commands run, what they print compared."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TUTORIAL = ROOT / "docs" / "tutorial.md"
EXAMPLE = ROOT / "examples" / "safe"
FENCE = re.compile(r"^```(\w*)\n", re.MULTILINE)
FILE = re.compile(r"`([\w.-]+)`:\s*\Z")
"""What stands before a block that is a file."""
ANYTHING = "\N{HORIZONTAL ELLIPSIS}"


@dataclass(frozen=True)
class Step:
    """A file to be written, or commands and what they are to print."""

    name: str
    text: str
    output: str | None = None


def steps() -> list[Step]:
    found: list[Step] = []
    parts = FENCE.split(TUTORIAL.read_text())
    # Prose, language, block, "", prose, ...: a closing fence has no language.
    for before, language, text in zip(parts[::4], parts[1::4], parts[2::4], strict=False):
        file = FILE.search(before)
        if file:
            found.append(Step(file[1], text))
        elif language == "sh":
            found.append(Step("sh", text))
        elif language == "text":
            assert found[-1].name == "sh" and found[-1].output is None, text
            found[-1] = Step("sh", found[-1].text, text)
        else:
            raise AssertionError(f"a block that is neither a file nor a command nor its output:\n{text}")
    return found


def files() -> Iterator[Step]:
    return (step for step in steps() if step.name != "sh")


def matches(expected: str, output: str) -> bool:
    """Line by line, but for blanks at their ends.

    An ellipsis in a line stands for anything in it, one that is a line for any lines.
    """
    lines = [r"(.*\n)*" if line.strip() == ANYTHING else _line(line) for line in expected.strip().splitlines()]
    printed = "".join(f"{line.rstrip()}\n" for line in output.strip().splitlines())
    return re.fullmatch("".join(lines), printed) is not None


def _line(line: str) -> str:
    return "[^\n]*".join(map(re.escape, line.split(ANYTHING))) + "\n"


def run(commands: str, directory: Path) -> str:
    """What they print, in a shell of a user who has installed enclu and nothing else of it."""
    environment = {
        **os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "COLUMNS": "80",
        "XDG_CACHE_HOME": str(directory / ".cache"), "XDG_STATE_HOME": str(directory / ".state"),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")])),
    }  # fmt: skip
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", commands], cwd=directory, env=environment, timeout=600, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, f"{commands}\n{done.stdout}"
    return done.stdout


@pytest.mark.timeout(900)
def test_every_step_goes_as_it_is_told(tmp_path: Path) -> None:
    for step in steps():
        if step.name != "sh":
            (tmp_path / step.name).write_text(step.text)
            continue
        output = run(step.text, tmp_path)
        if step.output is not None:
            assert matches(step.output, output), f"{step.text}\nprints\n{output}\nnot\n{step.output}"


@pytest.mark.timeout(300)
def test_the_example_project_is_tested_and_released(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLE, tmp_path / "safe", ignore=shutil.ignore_patterns("*.elf*", "*.pem", "__pycache__"))
    assert "4 passed" in run("make test PYTEST='pytest -k mm-handler'", tmp_path / "safe")
    assert "Weaknesses: none found" in run("make release", tmp_path / "safe")


def test_the_enclave_has_no_more_than_forty_lines() -> None:
    (enclave,) = (step for step in files() if step.name.endswith(".c"))
    assert enclave.text.count("\n") <= 40


def test_the_example_project_is_what_the_tutorial_makes() -> None:
    assert {file.name: file.text for file in files() if (EXAMPLE / file.name).exists()} == {
        name: (EXAMPLE / name).read_text() for name in ("safe.c", "test_safe.py", "pyproject.toml")
    }
