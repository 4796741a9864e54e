"""What a verifier expects is refused if it is of another kind, before anything is verified."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

import enclu
from enclu.host.attestation.expectations import ExpectationError, Expectations
from enclu.host.errors import HostError
from tests.host.attestation.forge import MANUFACTURER, PCE, Parts
from tests.host.attestation.judging import NOW, judged, with_collateral
from tests.host.attestation.test_revocation import PCK_SERIAL, crl, of_the_root


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"accepted_tcb": "UpToDate"}, "accepted_tcb is UpToDate: it must be several of str"),
        ({"accepted_tcb": "NotUpToDate"}, "accepted_tcb is NotUpToDate: it must be several of str"),
        ({"accepted_tcb": ["Uptodate"]}, "accepted_tcb is Uptodate: it must be one of Config.*, UpToDate"),
        ({"accepted_tcb": [b"UpToDate"]}, "accepted_tcb is a bytes: it must be several of str"),
        ({"accepted_tcb": None}, "accepted_tcb is a NoneType: it must be several of str"),
        ({"at": datetime.datetime(2026, 1, 1)}, "at is 2026-01-01 00:00:00: it has no time zone"),
        ({"at": datetime.date(2026, 1, 1)}, "at is 2026-01-01: it must be a datetime"),
        ({"at": 1_767_225_600}, "at is a int: it must be a datetime"),
        ({"crls": crl(PCK_SERIAL)}, "crls is a CertificateRevocationList: it must be several"),
        ({"crls": [b"list"]}, "crls is a bytes: it must be several"),
        ({"signing_chain": MANUFACTURER.tcb_signing}, "signing_chain is a Certificate: it must be several"),
        ({"root": b"root"}, "root is a bytes: it must be a Certificate"),
        ({"tcb_info": with_collateral()["qe_identity"]}, "tcb_info is a QeIdentity: it must be a TcbInfo"),
        ({"qe_identity": b"{}"}, "qe_identity is a bytes: it must be a QeIdentity"),
        ({"mrenclave": "e" * 64}, "mrenclave is e*: it must be bytes"),
        ({"mrsigner": b"s" * 31}, "mrsigner is 73.*: it has 31 bytes; 32 are needed"),
        ({"report_data": bytes(65)}, "report_data is 00.*: it has 65 bytes; 64 are needed"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_is_of_another_kind_is_refused_by_name(wrong: dict[str, Any], text: str) -> None:
    with pytest.raises(ExpectationError, match=text):
        enclu.attestation.verify(Parts().make(), **{"root": MANUFACTURER.root, "at": NOW, **wrong})
    assert issubclass(ExpectationError, HostError)


def test_each_list_is_looked_at_every_time() -> None:
    lists = iter([crl(), of_the_root(MANUFACTURER.tcb_signing.serial_number)])
    assert not judged(**with_collateral(crls=lists)).good
    chain = iter(with_collateral()["signing_chain"])
    assert judged(**with_collateral(signing_chain=chain)).good


@pytest.mark.parametrize("kind", [list, tuple, set, iter])
def test_statuses_come_in_any_collection(kind: Any) -> None:
    assert Expectations(accepted_tcb=kind(["UpToDate"])).accepted_tcb == {"UpToDate"}


def test_times_are_of_any_zone() -> None:
    east = datetime.timezone(datetime.timedelta(hours=9))
    assert judged(at=NOW.astimezone(east), **with_collateral()).good


def test_statements_are_made_for_times_that_say_their_zone() -> None:
    with pytest.raises(ExpectationError, match="at is 2026-01-01 00:00:00: it has no time zone"):
        enclu.attestation.collateral("unused", datetime.datetime(2026, 1, 1))
    east = datetime.timezone(datetime.timedelta(hours=9))
    assert b'"issueDate":"2026-01-01T00:00:00Z"' in MANUFACTURER.tcb_info(PCE, NOW.astimezone(east))
