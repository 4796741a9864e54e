"""Keys of a named machine outlast a run; those of an unnamed one do not."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.run.conftest import EncluRun

SealKey = Callable[..., str]


@pytest.fixture
def seal_key(
    program: Callable[[str], Path], enclu_run: EncluRun, enclave_environment: dict[str, str], tmp_path: Path
) -> SealKey:
    """seal_key(*options): the seal key that the test enclave gets in a run with these options."""

    def run(*options: str) -> str:
        env = {**enclave_environment, "XDG_STATE_HOME": str(tmp_path)}
        done = enclu_run(program("seal_key"), options=options, env=env)
        assert done.returncode == 0, done.stdout + done.stderr
        (key,) = re.findall(r"seal key ([0-9a-f]{32})", done.stdout)
        return str(key)

    return run


def test_a_named_machine_has_the_same_seal_key_in_every_run(seal_key: SealKey) -> None:
    assert seal_key("--machine", "one") == seal_key("--machine", "one")


def test_two_named_machines_have_different_seal_keys(seal_key: SealKey) -> None:
    assert seal_key("--machine", "one") != seal_key("--machine", "two")


def test_without_a_name_every_run_is_a_new_machine(seal_key: SealKey) -> None:
    assert seal_key() != seal_key()
