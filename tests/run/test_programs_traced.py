"""Every C program, traced: its outcome and counters are the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.run.observing import agree, by_itself
from tests.run.test_programs import PROGRAMS


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_outcome_is_the_same(
    name: str, program: Callable[[str], Path], enclave_environment: dict[str, str], tmp_path: Path
) -> None:
    path, log = program(name), str(tmp_path / "log.json")
    agree(
        name,
        lambda: by_itself(name, path, enclave_environment, "--trace", log),
        lambda: by_itself(name, path, enclave_environment),
    )
