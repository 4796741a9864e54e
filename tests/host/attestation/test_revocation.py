"""Revocation lists: what is revoked is refused, and so is a list that does not say all that it ought to."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from enclu.host.attestation.manufacturer import pem
from enclu.host.attestation.pck import CertificateError
from enclu.host.attestation.revocation import load_crl
from tests.host.attestation.forge import MANUFACTURER, PCE, Parts
from tests.host.attestation.issuing import Certificate, Hash, usage
from tests.host.attestation.judging import NOW, failed, judged, with_collateral

HOUR = datetime.timedelta(hours=1)
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\5\0")
PCK_SERIAL = MANUFACTURER.pck(PCE).serial_number
Extensions = Sequence[tuple[x509.ExtensionType, bool]]
REQUIRED: Extensions = [
    (x509.CRLNumber(1), False),
    (x509.AuthorityKeyIdentifier.from_issuer_public_key(MANUFACTURER.processor_ca.public_key()), False),  # type: ignore[arg-type]
]


def crl(
    *serials: int, issuer: x509.Certificate = MANUFACTURER.processor_ca,
    key: ec.EllipticCurvePrivateKey = MANUFACTURER._processor_key, begin: datetime.datetime = NOW - HOUR,
    end: datetime.datetime = NOW + HOUR, extensions: Extensions = (), required: Extensions = REQUIRED,
    of_entries: Extensions = (), digest: Hash | None = None,
) -> x509.CertificateRevocationList:  # fmt: skip
    builder = x509.CertificateRevocationListBuilder().issuer_name(issuer.subject).last_update(begin).next_update(end)
    for value, critical in (*required, *extensions):
        builder = builder.add_extension(value, critical)
    for serial in serials:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(begin)
        for value, critical in of_entries:
            entry = entry.add_extension(value, critical)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(key, digest or hashes.SHA256())


def of_the_root(*serials: int) -> x509.CertificateRevocationList:
    return crl(*serials, issuer=MANUFACTURER.root, key=MANUFACTURER.root_key)


def distribution(**only: bool) -> x509.IssuingDistributionPoint:
    every = ("only_contains_user_certs", "only_contains_ca_certs", "indirect_crl", "only_contains_attribute_certs")
    return x509.IssuingDistributionPoint(
        full_name=None, relative_name=None, only_some_reasons=None, **{name: only.get(name, False) for name in every}
    )


def assert_refused(found: Sequence[x509.CertificateRevocationList], text: str, **more: Any) -> None:
    verdict = judged(crls=found, **more)
    assert failed(verdict) == {"certificate chain"}
    [said] = [check.text for check in verdict.checks if check.name == "certificate chain"]
    assert text in said


def test_a_list_of_others_revokes_nothing() -> None:
    verdict = judged(crls=[crl(PCK_SERIAL + 1), of_the_root()])
    assert verdict.good
    assert [c.good for c in verdict.checks if c.name == "certificate chain, revocation"] == [True]


def test_what_no_list_tells_of_is_said() -> None:
    verdict = judged(crls=[crl()])
    assert [c.good for c in verdict.checks if c.name == "certificate chain, revocation"] == [None]


@pytest.mark.parametrize(
    "lists",
    [
        [crl(PCK_SERIAL), of_the_root()],
        [crl(), of_the_root(MANUFACTURER.processor_ca.serial_number)],
        [crl(), of_the_root(MANUFACTURER.root.serial_number)],
    ],
    ids=["leaf", "authority", "root"],
)
def test_what_is_revoked_is_refused(lists: list[x509.CertificateRevocationList]) -> None:
    assert_refused(lists, "is revoked")


def test_who_signs_statements_can_be_revoked() -> None:
    revoking = of_the_root(MANUFACTURER.tcb_signing.serial_number)
    verdict = judged(**with_collateral(crls=[revoking]))
    assert failed(verdict) == {"TCB info, certificate chain", "QE identity, certificate chain"}


@pytest.mark.parametrize("newer_first", [True, False])
def test_of_several_lists_of_one_issuer_each_is_heeded(newer_first: bool) -> None:
    lists = [crl(), crl(PCK_SERIAL, begin=NOW - HOUR / 2)]
    assert_refused(lists[::-1] if newer_first else lists, "is revoked")
    assert_refused([crl(), crl(begin=NOW - 2 * HOUR, end=NOW - HOUR)], "is not of the time")


@pytest.mark.parametrize(
    ("made", "text"),
    [
        ({"end": NOW - HOUR / 2}, "is not of the time"),
        ({"begin": NOW + HOUR / 2}, "is not of the time"),
        ({"key": MANUFACTURER.root_key}, "is not signed by it"),
        ({"digest": hashes.SHA384()}, "is not signed by ECDSA with SHA-256"),
        ({"extensions": [(UNKNOWN, True)]}, "a critical extension that is not known: 1.2.3.4"),
        ({"extensions": [(x509.DeltaCRLIndicator(3), True)]}, "deltaCRLIndicator"),
        ({"extensions": [(x509.DeltaCRLIndicator(3), False)]}, "deltaCRLIndicator"),
        ({"extensions": [(distribution(only_contains_ca_certs=True), True)]}, "issuingDistributionPoint"),
        ({"extensions": [(distribution(only_contains_user_certs=True), True)]}, "issuingDistributionPoint"),
        ({"extensions": [(distribution(indirect_crl=True), False)]}, "issuingDistributionPoint"),
        ({"required": REQUIRED[:1]}, "has no authorityKeyIdentifier"),
        ({"required": REQUIRED[1:]}, "has no cRLNumber"),
        ({"of_entries": [(UNKNOWN, True)]}, "a critical extension that is not known: 1.2.3.4"),
        ({"of_entries": [(x509.CertificateIssuer([x509.DNSName("x")]), False)]}, "certificateIssuer"),
    ],
    ids=lambda value: repr(value) if isinstance(value, str) else None,
)
def test_a_list_that_is_not_understood_in_full_is_refused(made: dict[str, Any], text: str) -> None:
    assert_refused([crl(PCK_SERIAL + 1, **made), of_the_root()], text)


@pytest.mark.parametrize("where", ["extensions", "of_entries"])
def test_extensions_that_are_not_critical_do_not_matter(where: str) -> None:
    extensions: dict[str, Any] = {where: [(UNKNOWN, False)]}
    assert judged(crls=[crl(PCK_SERIAL + 1, **extensions), of_the_root()]).good


def test_a_list_whose_extensions_cannot_be_read_is_refused() -> None:
    garbage = x509.UnrecognizedExtension(x509.CRLNumber.oid, b"\xff")
    assert_refused([crl(required=REQUIRED[1:], extensions=[(garbage, False)]), of_the_root()], "cannot be read")


def test_an_authority_that_may_not_sign_lists_has_none() -> None:
    authority = Certificate.like(MANUFACTURER.processor_ca, MANUFACTURER.root_key)
    authority.put(usage("key_cert_sign"), critical=True)
    parts = Parts(certification=pem(MANUFACTURER.pck(PCE), authority.issue(), MANUFACTURER.root))
    verdict = judged(parts, crls=[crl()])
    assert failed(verdict) == {"certificate chain"}
    assert any("is signed by who may not sign lists" in check.text for check in verdict.checks)


def test_a_list_is_read_from_der_and_pem_and_nothing_else_is() -> None:
    made = crl(5)
    for encoding in (Encoding.DER, Encoding.PEM):
        assert load_crl(made.public_bytes(encoding), "list") == made
    with pytest.raises(CertificateError, match="list: not a certificate revocation list"):
        load_crl(b"nothing", "list")
