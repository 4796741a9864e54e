"""The matrix is what the thread made us expect, sentence by sentence; a surprise is a failure."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from enclu.compare import catalog
from enclu.linux import delivery
from tests.compare.conftest import Compare

EXPECTED = Path(__file__).parent / "expected"
SCENARIOS = catalog.read(catalog.find_root()).scenarios


def expected_cells(name: str) -> dict[str, dict[str, Any]]:
    """What is expected of a scenario, by design."""
    groups = tomllib.loads((EXPECTED / f"{name}.toml").read_text())["cells"]
    return {design: group for group in groups for design in group["designs"]}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", SCENARIOS)
def test_every_cell_is_as_expected(name: str, compare: Compare) -> None:
    done = compare("--scenario", name, "--json")
    assert done.returncode == 0, done.stderr
    cells = {cell["design"]: cell for cell in json.loads(done.stdout)["cells"]}
    surprises = [
        f"{name} under {design}: {cells[design]['outcome']} ({cells[design]['reason']}), "
        f"not {want['outcome']} ({want.get('reason', 'for any reason')})\n{cells[design]['output']}"
        for design, want in expected_cells(name).items()
        if cells[design]["outcome"] != want["outcome"] or want.get("reason", "") not in cells[design]["reason"]
    ]
    assert not surprises, "\n".join(surprises)


@pytest.mark.parametrize("name", SCENARIOS)
def test_something_is_expected_of_every_cell(name: str) -> None:
    assert set(expected_cells(name)) == {*delivery.names(), *SCENARIOS[name].also}


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_cell_confirms_or_refutes_a_sentence(name: str) -> None:
    for design, want in expected_cells(name).items():
        (sentence,) = [want[key] for key in ("confirms", "refutes") if key in want]
        assert 0 <= sentence["message"] <= 11 and len(sentence["says"].split()) >= 4, design


@pytest.mark.parametrize("name", SCENARIOS)
def test_what_does_not_work_has_an_expected_reason(name: str) -> None:
    assert [d for d, want in expected_cells(name).items() if want["outcome"] != "works" and "reason" not in want] == []


def test_every_expectation_is_of_a_scenario() -> None:
    assert {path.stem for path in EXPECTED.iterdir()} == set(SCENARIOS)
