"""docs/verdict.md claims nothing that the expected matrix does not have."""

from __future__ import annotations

import json
import re

import pytest

from tests.compare.conftest import ROOT, Compare
from tests.compare.test_matrix import SCENARIOS, expected_cells

VERDICT = (ROOT / "docs" / "verdict.md").read_text()
CLAIM = re.compile(r"\[`([a-z0-9-]+)/([a-z0-9:,-]+)`: (\w+)\]\(([^)]*)\)")
CLAIMS = [m.groups() for m in CLAIM.finditer(VERDICT)]


@pytest.mark.parametrize(("scenario", "designs", "outcome", "link"), CLAIMS)
def test_a_claim_is_what_the_matrix_expects(scenario: str, designs: str, outcome: str, link: str) -> None:
    assert scenario in SCENARIOS
    cells = expected_cells(scenario)
    assert {d: cells[d]["outcome"] if d in cells else "no cell" for d in designs.split(",")} == dict.fromkeys(
        designs.split(","), outcome
    )
    assert link == f"../scenarios/{scenario}/"


def test_every_link_to_a_scenario_is_a_claim() -> None:
    assert len(CLAIMS) == VERDICT.count("](../scenarios/") > 0


def test_every_design_is_judged() -> None:
    judged = {d for _, designs, _, _ in CLAIMS for d in designs.split(",")}
    assert judged >= set(expected_cells("two-runtimes"))


def test_every_scenario_is_judged() -> None:
    assert {scenario for scenario, _, _, _ in CLAIMS} == set(SCENARIOS)


def table_of_registers() -> dict[str, dict[tuple[str, int], str]]:
    """By design, what the verdict says of a register in a column of what the scenario prints."""
    text = VERDICT.partition("## Which registers survive?")[2]
    head, _, _, *rows = ([c.strip() for c in line.split("|")[1:-1]] for line in text.splitlines() if line[:1] == "|")
    told: dict[str, dict[tuple[str, int], str]] = {}
    for registers, *cells in rows[: next(i for i, row in enumerate(rows) if row[0].endswith("XFRM 7")) + 1]:
        avx = registers.endswith(", with XFRM 7")
        names = [registers.removesuffix(", with XFRM 7")] if "YMM" in registers else registers.split(", ")
        for index, became in enumerate(cells):
            for design in re.findall(r"`([^`]+)`", head[1 + index // 2 * 2]):
                told.setdefault(design, {}).update({(n, index % 2 + avx): became for n in names if became})
    return told


def test_the_table_of_registers_is_what_the_scenario_observes(compare: Compare) -> None:
    done = compare("--scenario", "registers", "--json")
    assert done.returncode == 0, done.stderr
    told = table_of_registers()
    for cell in json.loads(done.stdout)["cells"]:
        lines = [line[2:] for line in cell["output"].splitlines() if line.startswith("# ")]
        rows = [re.split(r" +(?=kept|zero|changed)", line) for line in lines]
        seen = {(name.strip(), i): became.strip() for name, *three in rows[1:] for i, became in enumerate(three)}
        assert len(rows) == 24
        assert told[cell["design"]] == {key: seen[key] for key in told[cell["design"]]}
        assert set(told[cell["design"]]) >= {(name, i) for name, i in seen if i < 2}
