"""Certificates as a test wants them."""

from __future__ import annotations

import datetime
import hashlib
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from enclu.host.attestation import manufacturer

Hash = hashes.SHA256 | hashes.SHA384 | hashes.SHA512


@dataclass
class Certificate:
    """What a certificate is issued with."""

    subject: x509.Name
    key: ec.EllipticCurvePublicKey
    issuer: x509.Name
    by: ec.EllipticCurvePrivateKey
    extensions: list[x509.Extension[x509.ExtensionType]]
    begin: datetime.datetime = manufacturer.NOT_BEFORE
    end: datetime.datetime = manufacturer.NOT_AFTER
    hash: Hash = field(default_factory=hashes.SHA256)

    @classmethod
    def like(cls, made: x509.Certificate, by: ec.EllipticCurvePrivateKey) -> Certificate:
        key = made.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        return cls(made.subject, key, made.issuer, by, list(made.extensions))

    def put(self, value: x509.ExtensionType, critical: bool = False) -> None:
        """In the place of the one of its kind."""
        self.extensions = [e for e in self.extensions if e.oid != value.oid]
        self.extensions.append(x509.Extension(value.oid, critical, value))

    def issue(self) -> x509.Certificate:
        serial = int.from_bytes(hashlib.sha256(self.subject.public_bytes()).digest()[:8], "big") | 1
        builder = x509.CertificateBuilder().subject_name(self.subject).issuer_name(self.issuer).public_key(self.key)
        builder = builder.serial_number(serial).not_valid_before(self.begin).not_valid_after(self.end)
        for one in self.extensions:
            builder = builder.add_extension(one.value, one.critical)
        return builder.sign(self.by, self.hash)


def named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def usage(*allowed: str) -> x509.KeyUsage:
    every = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
        "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{name: name in allowed for name in every})
