"""What docs/hostile-host.md shows is what its commands print."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.support.runs import enclu
from tests.sweep.conftest import ENCLAVES, ProofEnclave

PAGE = Path(__file__).parents[2] / "docs" / "hostile-host.md"
BUILT = {"sound": (), "old": ("OLD_ORDER",), "twice": ("DOUBLE_FETCH",)}
SHORT = ("--hang", "0.2")
"""Endless loops are to be known sooner here than by a reader."""


def shown() -> list[tuple[str, list[str]]]:
    """Commands of sweeps, each with the lines that follow it."""
    found = []
    for _, block in re.findall(r"^```(\w*)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        for command in re.split(r"^\$ ", block, flags=re.MULTILINE):
            if command.startswith("enclu sweep"):
                first, *lines = command.splitlines()
                found.append((first, [line.strip() for line in lines if line.strip() not in ("", "...")]))
    return found


def test_the_page_shows_sweeps() -> None:
    assert len(shown()) >= 6


@pytest.mark.parametrize(("command", "lines"), shown(), ids=[str(n) for n in range(len(shown()))])
def test_a_command_of_the_page_prints_what_is_shown(
    command: str, lines: list[str], proof_enclave: ProofEnclave
) -> None:
    words = shlex.split(command.replace("$EDL", str(ENCLAVES / "enclave.edl")))
    name = Path(words[2]).stem
    done = enclu("sweep", proof_enclave(*BUILT[name]), *words[3:], *SHORT)
    printed = [line.strip().replace(str(proof_enclave(*BUILT[name])), words[2]) for line in done.stdout.splitlines()]
    assert [line for line in lines if line not in printed] == [], done.stdout
