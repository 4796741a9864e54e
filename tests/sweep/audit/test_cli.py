"""`enclu audit`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from enclu.cli.audit import audit
from tests.sweep.conftest import ENCLAVES, ProofEnclave

EDL = str(ENCLAVES / "enclave.edl")


def test_status_0_where_nothing_is_found(proof_enclave: ProofEnclave) -> None:
    result = CliRunner().invoke(audit, [str(proof_enclave()), "--edl", EDL, "--only", "entry/df"])

    assert (result.exit_code, "sound  entry/df" in result.output) == (0, True)


def test_status_1_where_something_is(proof_enclave: ProofEnclave) -> None:
    result = CliRunner().invoke(audit, [str(proof_enclave("KEEPS_DF")), "--edl", EDL, "--only", "entry/df"])

    assert (result.exit_code, "WEAK  entry/df" in result.output) == (1, True)


def test_json_has_each_finding(proof_enclave: ProofEnclave) -> None:
    arguments = [str(proof_enclave("KEEPS_DF")), "--edl", EDL, "--only", "entry/df", "--json"]

    (finding,) = json.loads(CliRunner().invoke(audit, arguments).stdout)["findings"]

    assert (finding["item"], finding["verdict"], finding["means"]) == ("entry/df", "weak", "host-causable")


def test_list_tries_nothing() -> None:
    result = CliRunner().invoke(audit, ["--list"])

    assert (result.exit_code, "exception/stack-window" in result.output) == (0, True)


@pytest.mark.parametrize("arguments", [["--only", "entry/of"], ["--convention", "telepathy", "x"], []])
def test_status_2_for_bad_options(arguments: list[str]) -> None:
    assert CliRunner().invoke(audit, arguments).exit_code == 2


def test_status_3_for_what_is_no_enclave(tmp_path: Path) -> None:
    file = tmp_path / "enclave.so"
    file.write_bytes(b"no enclave")

    assert CliRunner().invoke(audit, [str(file)]).exit_code == 3
