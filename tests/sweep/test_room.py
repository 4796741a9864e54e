"""The EPC of a machine whose enclave is brought back again and again."""

from __future__ import annotations

import pytest

import enclu
from enclu.run import host_memory
from enclu.sweep import room
from tests.sweep.conftest import ProofEnclave


def test_it_is_the_usual_one_for_small_enclaves(proof_enclave: ProofEnclave) -> None:
    assert room.epc_for(enclu.open_image(proof_enclave())) == host_memory.default_epc()


def test_every_page_of_a_large_enclave_fits(proof_enclave: ProofEnclave, monkeypatch: pytest.MonkeyPatch) -> None:
    image = enclu.open_image(proof_enclave())
    monkeypatch.setattr(room, "default_epc", lambda: 1 << 20)
    assert room.epc_for(image) >= sum(region.size for region in image.regions() if region.added) + room.MORE


def test_an_enclave_that_memory_does_not_suffice_for_is_refused(
    proof_enclave: ProofEnclave, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "total", lambda: 100 << 20)
    with pytest.raises(enclu.HostError, match=r"MiB are kept 3 times .* has 100 MiB"):
        room.epc_for(enclu.open_image(proof_enclave()))
