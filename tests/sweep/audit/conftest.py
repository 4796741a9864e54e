"""Audits of the proof enclave, each once for each run of the tests."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import pytest

import enclu
from enclu.host.edl import Interface
from enclu.sweep.audit import Finding, audit
from tests.sweep.conftest import ProofEnclave

AuditOf = Callable[..., tuple[Finding, ...]]


@pytest.fixture(scope="module")
def own_machine() -> Iterator[enclu.Machine]:
    with enclu.Machine() as machine:
        yield machine


@pytest.fixture(scope="module")
def audit_of(own_machine: enclu.Machine, proof_enclave: ProofEnclave, interface: Interface) -> AuditOf:
    """The findings of one item, of the proof enclave with these weaknesses; of one subject, if that is given."""

    @functools.cache
    def findings(item: str, weaknesses: tuple[str, ...], debug: bool, aex_notify: bool) -> tuple[Finding, ...]:
        image = proof_enclave(*weaknesses, debug=debug, aex_notify=aex_notify)
        return audit(image, interface=interface, only=[item], machine=own_machine).findings

    def audit_of(
        item: str, *weaknesses: str, subject: str = "", debug: bool = False, aex_notify: bool = False
    ) -> tuple[Finding, ...]:
        return tuple(f for f in findings(item, weaknesses, debug, aex_notify) if f.subject.startswith(subject))

    return audit_of
