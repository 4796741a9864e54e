"""watch.c, for the tests of sweeps: fixtures."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

import enclu
from enclu.sweep.behaviour import Behaviour
from enclu.sweep.loaded import sweep_call
from enclu.sweep.outcome import Kind
from enclu.sweep.session import HANG
from enclu.sweep.subject import Subject
from enclu.sweep.verdict import Verdict
from tests.host.conftest import signed_enclave
from tests.sweep.conftest import ENCLAVES, ProofEnclave

EDL = ENCLAVES / "enclave.edl"
Watch = Callable[..., Verdict]
Made = Callable[[enclu.Enclave], object]


@pytest.fixture(scope="session")
def watch_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return signed_enclave(Path(__file__).with_name("watch.c"), tmp_path_factory.mktemp("watch"))


@pytest.fixture
def watching(stepping_process: enclu.Process, watch_image: Path) -> enclu.Enclave:
    """Its OCALL answers 5."""
    return stepping_process.load(watch_image, ocalls=[lambda argument: 5])


@pytest.fixture
def swept(watching: enclu.Enclave) -> Watch:
    """Sweeps the call of watch.c whose word is 0, or another call: one behaviour, one verdict."""

    def swept(
        host: str | Behaviour, where: str = "all", make: Made = lambda enclave: enclave.ecall(0, bytes(8)),
        hang: float = HANG,
    ) -> Verdict:  # fmt: skip
        (verdict,) = sweep_call(watching, make, where=where, host=[host], hang=hang)
        assert verdict.unlike == "" and verdict.drawn == 0
        return verdict

    return swept


@pytest.fixture
def proof(proof_enclave: ProofEnclave) -> Callable[..., Subject]:
    """A call of the proof enclave."""

    def proof(call: str, *weaknesses: str, **options: object) -> Subject:
        subject = Subject(str(proof_enclave(*weaknesses)), call, str(EDL))
        return dataclasses.replace(subject, **options)  # type: ignore[arg-type]

    return proof


def shape(verdict: Verdict) -> list[Kind]:
    """The kinds of outcome in the order of instructions, each once where it goes on."""
    kinds: list[Kind] = []
    for number in sorted(verdict.points):
        kind = verdict.points[number].kind
        if kinds[-1:] != [kind]:
            kinds.append(kind)
    return kinds
