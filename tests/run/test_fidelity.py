"""docs/fidelity.md: what it says of whole runs, and that the tests it names exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from enclu.conform.accepted import ACCEPTED

ROOT = Path(__file__).resolve().parents[2]
TABLE = [
    line.strip("| \n").rsplit(" | ", 2)
    for line in (ROOT / "docs" / "fidelity.md").read_text().splitlines()
    if line.startswith("|") and not line.startswith(("|---", "| difference"))
]


@pytest.mark.parametrize("row", TABLE, ids=[row[0][:40] for row in TABLE])
def test_every_difference_is_shown_by_something_that_exists(row: list[str]) -> None:
    named = re.findall(r"`([\w-]+)(?:\.c)?`", row[-1])
    sources = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    for name in named:
        program = ROOT / "tests" / "c" / "programs" / f"{name}.c"
        if (ROOT / "scenarios" / name / "scenario.toml").exists():
            continue
        assert f"def {name}(" in sources or (program.exists() and f'"{name}"' in sources), name
    cases = re.findall(r"`enclu conform`: (\w+)", row[-1])
    for group in cases:
        shown = [why for name, (_, why) in ACCEPTED.items() if name.startswith(f"{group}/")]
        assert any(row[0].startswith(why) for why in shown), group
    assert named or cases or re.search(r"docs/\w+\.md", row[-1]), "nothing shows it"
