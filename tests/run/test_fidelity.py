"""docs/fidelity.md: what it says of whole runs, and that the tests it names exist."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TABLE = [
    line.strip("| \n").rsplit(" | ", 2)
    for line in (ROOT / "docs" / "fidelity.md").read_text().splitlines()
    if line.startswith("|") and not line.startswith(("|---", "| difference"))
]


@pytest.mark.parametrize("row", TABLE, ids=[row[0][:40] for row in TABLE])
def test_every_difference_is_shown_by_something_that_exists(row: list[str]) -> None:
    named = re.findall(r"`(\w+)(?:\.c)?`", row[-1])
    sources = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    for name in named:
        program = ROOT / "tests" / "c" / "programs" / f"{name}.c"
        assert f"def {name}(" in sources or (program.exists() and f'"{name}"' in sources), name
    assert named or re.search(r"docs/\w+\.md", row[-1]), "nothing shows it"


def test_a_run_lasts_until_the_last_descendant_ends() -> None:
    script = "exec 3<&0; (read line <&3; echo last) & echo $$; exit 3"
    run = subprocess.Popen(
        [sys.executable, "-m", "enclu.cli.main", "run", "/bin/sh", "-c", script],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert run.stdin is not None and run.stdout is not None
    shell = Path(f"/proc/{run.stdout.readline().strip()}")
    end = time.monotonic() + 20
    while shell.exists() and time.monotonic() < end:
        time.sleep(0.02)
    assert not shell.exists() and run.poll() is None
    assert run.communicate("\n", timeout=20)[0] == "last\n"
    assert run.returncode == 3
