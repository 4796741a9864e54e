"""docs/tutorial.md, done by the letter: its files are written, its commands run, what they print compared."""

from __future__ import annotations

import os
import re
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
    """Line by line; an ellipsis in a line stands for anything in it, a line of its own for any lines."""
    lines = ["(.*\n)*" if line.strip() == ANYTHING else _line(line) for line in expected.strip().splitlines()]
    return re.fullmatch("".join(lines), output.strip() + "\n") is not None


def _line(line: str) -> str:
    return "[^\n]*".join(map(re.escape, line.split(ANYTHING))) + "\n"


@pytest.mark.timeout(900)
def test_every_step_goes_as_it_is_told(tmp_path: Path) -> None:
    environment = {
        **os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "COLUMNS": "120",
        "XDG_CACHE_HOME": str(tmp_path / ".cache"), "XDG_STATE_HOME": str(tmp_path / ".state"),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")])),
    }  # fmt: skip
    for step in steps():
        if step.name != "sh":
            (tmp_path / step.name).write_text(step.text)
            continue
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", step.text], cwd=tmp_path, env=environment, timeout=600, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert done.returncode == 0, f"{step.text}\n{done.stdout}"
        if step.output is not None:
            assert matches(step.output, done.stdout), f"{step.text}\nprints\n{done.stdout}\nnot\n{step.output}"


def test_the_enclave_has_no_more_than_forty_lines() -> None:
    (enclave,) = (step for step in files() if step.name.endswith(".c"))
    assert enclave.text.count("\n") <= 40


def test_the_example_project_is_what_the_tutorial_makes() -> None:
    assert {file.name: file.text for file in files() if (EXAMPLE / file.name).exists()} == {
        name: (EXAMPLE / name).read_text() for name in ("safe.c", "test_safe.py", "pyproject.toml")
    }
