"""The enclave that is audited."""

from __future__ import annotations

import pytest

import enclu
from enclu.sweep.audit.target import Target


def test_a_process_whose_enclave_cannot_be_loaded_is_ended(own_machine: enclu.Machine) -> None:
    processes: list[enclu.Process] = []

    def load(process: enclu.Process) -> enclu.Enclave:
        processes.append(process)
        raise enclu.HostError("no such image")

    with pytest.raises(enclu.HostError, match="no such image"):
        Target(own_machine, load, lambda target: pytest.fail("there is no enclave"))
    assert [process.alive for process in processes] == [False]
