"""docs/verdict.md claims nothing that the expected matrix does not have."""

from __future__ import annotations

import re

import pytest

from compare.conftest import ROOT
from compare.test_matrix import SCENARIOS, expected_cells

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
