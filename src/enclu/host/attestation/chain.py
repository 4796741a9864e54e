"""Certificate chains, up to the root that is trusted.

RFC 5280, section 6.1; Intel SGX PCK Certificate and Certificate Revocation List Profile Specification.
"""

from __future__ import annotations

import datetime
import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from enclu.host.attestation.pck import CertificateError, issuer, subject

E = TypeVar("E", bound=x509.ExtensionType)
MAX_CHAIN = 4
UNREADABLE = (
    ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion, x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType, Warning,
)  # fmt: skip
"""What cryptography raises for certificates and lists that it cannot read."""
CRITICAL = (x509.BasicConstraints.oid, x509.KeyUsage.oid)
"""Critical extensions that are understood."""

SIGNATURE = x509.SignatureAlgorithmOID.ECDSA_WITH_SHA256


@dataclass(frozen=True)
class Purpose:
    """What the first certificate of a chain is for: the root's authority alone does not make it fit for that."""

    name: str
    """In its subject's common name."""
    authorities: int
    """Between it and the root."""


PCK = Purpose("SGX PCK Certificate", 1)
TCB_SIGNING = Purpose("SGX TCB Signing", 0)


def load_certificates(data: bytes, name: str) -> list[x509.Certificate]:
    """From PEM; at least one.  Raises CertificateError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what cryptography will refuse some day
            found = x509.load_pem_x509_certificates(data)
            for certificate in found:
                _decode(certificate)
    except UNREADABLE as error:
        raise CertificateError(f"{name}: not a readable certificate chain in PEM: {error}") from None
    if not found:
        raise CertificateError(f"{name}: no certificate")
    return found


def _decode(certificate: x509.Certificate) -> None:
    """What is read later is decoded now, where it may fail.  Raises ValueError and others."""
    subject(certificate), issuer(certificate)
    list(certificate.extensions)
    certificate.public_key()
    certificate.signature_hash_algorithm  # noqa: B018


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of the public key."""
    encoding, form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return hashlib.sha256(certificate.public_key().public_bytes(encoding, form)).hexdigest()


def top(chain: Sequence[x509.Certificate]) -> x509.Certificate:
    """The last that the first leads to, by names."""
    found = chain[0]
    for _ in chain:
        found = next((c for c in chain if c.subject == found.issuer), found)
    return found


def path(
    chain: Sequence[x509.Certificate], root: x509.Certificate, purpose: Purpose, at: datetime.datetime
) -> list[x509.Certificate]:
    """From the first certificate to the given root; all of it is good for its place there.  Raises CertificateError."""
    try:
        found = _path(chain, root)
        for depth, certificate in enumerate(found):
            _check_certificate(certificate, depth, at)
        _check_purpose(found, purpose)
    except UNREADABLE as error:
        raise CertificateError(f"a certificate of the chain cannot be read: {error}") from None
    return found


def _path(chain: Sequence[x509.Certificate], root: x509.Certificate) -> list[x509.Certificate]:
    path = [chain[0]]
    while path[-1] != root and not issued(path[-1], root):
        above = next((c for c in chain[1:] if c not in path and issued(path[-1], c)), None)
        if above is None or len(path) == MAX_CHAIN:
            raise CertificateError(f"{subject(path[-1])!r} was not issued by the root nor by another of the chain")
        path.append(above)
    return path if path[-1] == root else [*path, root]


def issued(certificate: x509.Certificate, by: x509.Certificate) -> bool:
    """By name and signature."""
    try:
        certificate.verify_directly_issued_by(by)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _check_certificate(certificate: x509.Certificate, depth: int, at: datetime.datetime) -> None:
    """Raises CertificateError.  `depth` is 0 for the leaf."""
    name = repr(subject(certificate))
    if certificate.version is not x509.Version.v3:
        raise CertificateError(f"{name} is an X.509 certificate of version 1; only version 3 says what it is for")
    if not certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc:
        dates = f"{certificate.not_valid_before_utc:%Y-%m-%d} to {certificate.not_valid_after_utc:%Y-%m-%d}"
        raise CertificateError(f"{name} is valid from {dates}, not at {at:%Y-%m-%d %H:%M}")
    _check_algorithms(certificate, name)
    unknown = [e.oid.dotted_string for e in certificate.extensions if e.critical and e.oid not in CRITICAL]
    if unknown:
        raise CertificateError(f"{name} has a critical extension that is not known: {unknown[0]}")
    if extension(certificate, x509.ExtendedKeyUsage) is not None:
        raise CertificateError(f"{name} is for purposes of its own (extKeyUsage), and attestation is none of them")
    constraints = extension(certificate, x509.BasicConstraints)
    usage = extension(certificate, x509.KeyUsage)
    if depth == 0:
        if constraints is not None and constraints.ca:
            raise CertificateError(f"{name} is an authority's, where the leaf is expected")
        if usage is not None and not usage.digital_signature:
            raise CertificateError(f"{name} may not sign (keyUsage)")
        return
    if constraints is None or not constraints.ca:
        raise CertificateError(f"{name} is no authority's (basicConstraints)")
    if constraints.path_length is not None and constraints.path_length < depth - 1:
        raise CertificateError(f"{name} allows {constraints.path_length} authorities below it, not {depth - 1}")
    if usage is not None and not usage.key_cert_sign:
        raise CertificateError(f"{name} may not sign certificates (keyUsage)")


def _check_algorithms(certificate: x509.Certificate, name: str) -> None:
    """The profile has one.  Raises CertificateError."""
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise CertificateError(f"{name} has a key that is not of P-256")
    if certificate.signature_algorithm_oid != SIGNATURE:
        raise CertificateError(f"{name} is not signed by ECDSA with SHA-256")


def _check_purpose(path: list[x509.Certificate], purpose: Purpose) -> None:
    """Raises CertificateError."""
    name = subject(path[0])
    if purpose.name not in name:
        raise CertificateError(f"{name!r} is no certificate for this purpose: its name does not say {purpose.name!r}")
    between = len(path) - 2
    if between != purpose.authorities:
        raise CertificateError(
            f"there must be {purpose.authorities} authorities between {name!r} and the root, not {between}"
        )


def extension(certificate: x509.Certificate, kind: type[E]) -> E | None:
    """Of this kind, if the certificate has one."""
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
