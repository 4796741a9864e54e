"""Certificate revocation lists.  RFC 5280, sections 5 and 6.3; only lists of all that their issuer has revoked.

An authority's list that is not understood in full is no list: what it does not say of a certificate means nothing.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from enclu.host.attestation.chain import SIGNATURE, UNREADABLE, extension
from enclu.host.attestation.pck import CertificateError, subject

PARTIAL = {
    x509.DeltaCRLIndicator.oid: "only what has changed since another (deltaCRLIndicator)",
    x509.IssuingDistributionPoint.oid: "only a part of what is revoked (issuingDistributionPoint)",
    x509.CertificateIssuer.oid: "what others have issued (certificateIssuer)",
}
REQUIRED = {x509.CRLNumber.oid: "cRLNumber", x509.AuthorityKeyIdentifier.oid: "authorityKeyIdentifier"}
"""Of every list, by the profile and RFC 5280."""


def load_crl(data: bytes, name: str) -> x509.CertificateRevocationList:
    """From PEM or DER.  Raises CertificateError."""
    try:
        load = x509.load_pem_x509_crl if data.lstrip().startswith(b"-----") else x509.load_der_x509_crl
        return load(data)
    except UNREADABLE as error:
        raise CertificateError(f"{name}: not a certificate revocation list: {error}") from None


def is_looked_up(
    certificate: x509.Certificate, by: x509.Certificate, crls: Sequence[x509.CertificateRevocationList],
    at: datetime.datetime,
) -> bool:  # fmt: skip
    """Whether there is a list to look the certificate up in.

    Raises CertificateError if it is in one of its issuer's lists, or one of them is no good.
    """
    name = f"the CRL of {subject(by)!r}"
    try:
        lists = [crl for crl in crls if crl.issuer == by.subject]
        for crl in lists:
            _check_signature(crl, by, name)
            if crl.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None:
                raise CertificateError(f"{subject(certificate)!r}, serial {certificate.serial_number:#x}, is revoked")
            _check_list(crl, at, name)
    except UNREADABLE as error:
        raise CertificateError(f"{name} cannot be read: {error}") from None
    return bool(lists)


def _check_signature(crl: x509.CertificateRevocationList, by: x509.Certificate, name: str) -> None:
    key = by.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not crl.is_signature_valid(key):
        raise CertificateError(f"{name} is not signed by it")
    if crl.signature_algorithm_oid != SIGNATURE:
        raise CertificateError(f"{name} is not signed by ECDSA with SHA-256")
    usage = extension(by, x509.KeyUsage)
    if usage is not None and not usage.crl_sign:
        raise CertificateError(f"{name} is signed by who may not sign lists (keyUsage)")


def _check_list(crl: x509.CertificateRevocationList, at: datetime.datetime, name: str) -> None:
    """Of this time, and understood in full.  Raises CertificateError."""
    until = crl.next_update_utc
    if until is None:
        raise CertificateError(f"{name} does not say until when it is valid (nextUpdate)")
    if not crl.last_update_utc <= at <= until:
        raise CertificateError(f"{name} is not of the time {at:%Y-%m-%d %H:%M}")
    for found in crl.extensions:
        _check_whole(found, name)
    for oid, required in REQUIRED.items():
        if not any(found.oid == oid for found in crl.extensions):
            raise CertificateError(f"{name} has no {required}")
    for entry in crl:
        for found in entry.extensions:
            _check_whole(found, f"{name}, entry {entry.serial_number:#x},")


def _check_whole(found: x509.Extension[x509.ExtensionType], name: str) -> None:
    """Neither of the list nor of an entry; all that may be critical makes it such.  Raises CertificateError."""
    if found.oid in PARTIAL:
        raise CertificateError(f"{name} has {PARTIAL[found.oid]}")
    if found.critical:
        raise CertificateError(f"{name} has a critical extension that is not known: {found.oid.dotted_string}")
