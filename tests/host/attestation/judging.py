"""What a verdict is made of, and what of it has failed."""

from __future__ import annotations

import datetime
import json
from typing import Any

from enclu.host.attestation import collateral
from enclu.host.attestation import quote as quotes
from enclu.host.attestation.expectations import Expectations
from enclu.host.attestation.manufacturer import Manufacturer
from enclu.host.attestation.verify import Verdict, verify
from tests.host.attestation.forge import MANUFACTURER, PCE, QE, Parts

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
OTHER = Manufacturer(b"another secret".ljust(32))


def expected(**more: Any) -> Expectations:
    return Expectations(**{"root": MANUFACTURER.root, "at": NOW, **more})


def judged(parts: Parts | None = None, **more: Any) -> Verdict:
    return verify(quotes.parse((parts or Parts()).make()), expected(**more))


def failed(verdict: Verdict) -> set[str]:
    return {check.name for check in verdict.checks if check.good is False}


def with_collateral(**more: Any) -> dict[str, Any]:
    return {
        "tcb_info": collateral.parse_tcb_info(MANUFACTURER.tcb_info(PCE, NOW)),
        "qe_identity": collateral.parse_qe_identity(MANUFACTURER.qe_identity(QE, NOW)),
        "signing_chain": [MANUFACTURER.tcb_signing, MANUFACTURER.root],
        **more,
    }


def statement(**changes: Any) -> collateral.TcbInfo:
    """TCB info with some fields changed, and signed."""
    fields = json.loads(MANUFACTURER.tcb_info(PCE, NOW))["tcbInfo"]
    return collateral.parse_tcb_info(collateral.sign("tcbInfo", {**fields, **changes}, MANUFACTURER.tcb_signing_key))


def identity(**changes: Any) -> collateral.QeIdentity:
    """Likewise, the QE's."""
    fields = json.loads(MANUFACTURER.qe_identity(QE, NOW))["enclaveIdentity"]
    made = collateral.sign("enclaveIdentity", {**fields, **changes}, MANUFACTURER.tcb_signing_key)
    return collateral.parse_qe_identity(made)
