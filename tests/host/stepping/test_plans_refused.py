"""Plans that there cannot be."""

from __future__ import annotations

from typing import Any

import pytest

import enclu


@pytest.mark.parametrize("plan", [{"until": -1}, {"address": 1 << 64}, {"times": -1}, {"room": -5}, {"clear": -1}])
def test_numbers_that_are_none_are_refused(enclave: enclu.Enclave, plan: dict[str, Any]) -> None:
    with pytest.raises(enclu.HostError, match="numbers of 64 bits"):
        enclave.stepping.arm(enclave.tcs[0], **plan)
