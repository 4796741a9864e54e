"""Which instructions are illegal in an enclave (SDM 3D table 36-1)."""

import pytest

from enclu.sgx.inside import illegal


@pytest.mark.parametrize(
    "code",
    ["e420", "ec", "66ed", "f36c", "f2486f", "cd2e", "cd03", "480fb208", "8ed0", "0fa1", "cb", "48cb", "cf", "ff18",
     "48ff28", "0f0100", "660f0108", "0f01e0", "0f00c0", "410f00c9", "0f33", "0f34", "0f37", "0fa2"],
)  # fmt: skip
def test_instructions_that_are_illegal(code: str) -> None:
    assert illegal(bytes.fromhex(code))


@pytest.mark.parametrize(
    "code",
    ["f4", "fa", "0f31", "0f01f9", "0f01d7", "0f01d0", "0f00e0", "ff10", "ff20", "8b00", "0fa3c0", "c3", "", "66", "0f",
     "ff", "48"],
)  # fmt: skip
def test_instructions_that_are_not(code: str) -> None:
    assert not illegal(bytes.fromhex(code))
