"""Quotes made here, of parts that a test may change before they are signed."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field, replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from enclu.host.attestation import der
from enclu.host.attestation import quote as quotes
from enclu.host.attestation.manufacturer import P256_ORDER, Manufacturer, Product, scalar

MANUFACTURER = Manufacturer(b"secret of the tests".ljust(32))
PCE = Product(mrsigner=bytes([2] * 32), attributes=0x15, miscselect=1, isvprodid=2, isvsvn=1)
QE = replace(PCE, isvprodid=1)
BIT_STRING = 0x03
VENDOR = next(vendor for vendor, name in quotes.VENDORS.items() if "enclu" in name)


def sign(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    """R and S, always the same for the same message: what a test changes at random must not depend on other chance."""
    private, digest = key.private_numbers().private_value, hashlib.sha256(message).digest()
    k = scalar(hmac.digest(private.to_bytes(32, "big"), digest, hashlib.sha512))
    r = ec.derive_private_key(k, ec.SECP256R1()).public_key().public_numbers().x % P256_ORDER
    s = pow(k, -1, P256_ORDER) * (int.from_bytes(digest, "big") + r * private) % P256_ORDER
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def signed_again(made: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
    """A certificate or a revocation list in DER, with such a signature."""
    (_, body), (_, algorithm), _ = der.elements(der.only(made, der.SEQUENCE))
    signed = der.encode(der.SEQUENCE, body)
    raw = sign(key, signed)
    signature = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    bits = der.encode(BIT_STRING, b"\0" + signature)
    return der.sequence(signed, der.encode(der.SEQUENCE, algorithm), bits)


@dataclass
class Parts:
    """All that a quote is made of."""

    header: dict[str, Any] = field(
        default_factory=lambda: {
            "VERSION": 3, "ATT_KEY_TYPE": 2, "QE_SVN": 1, "PCE_SVN": 1, "QE_VENDOR_ID": VENDOR.bytes,
        }
    )  # fmt: skip
    report: dict[str, Any] = field(
        default_factory=lambda: {
            "ATTRIBUTES": 5, "XFRM": 3, "MRENCLAVE": b"e" * 32, "MRSIGNER": b"s" * 32, "ISVPRODID": 4, "ISVSVN": 5,
            "REPORTDATA": b"said".ljust(64, b"\0"),
        }
    )  # fmt: skip
    qe_report: dict[str, Any] = field(
        default_factory=lambda: {
            "ATTRIBUTES": 0x15, "XFRM": 3, "MISCSELECT": 1, "MRSIGNER": QE.mrsigner, "ISVPRODID": 1, "ISVSVN": 1,
        }
    )  # fmt: skip
    attestation: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    pck: ec.EllipticCurvePrivateKey = field(default_factory=lambda: MANUFACTURER.pck_key(PCE))
    authentication: bytes = b"authentication data"
    kind: int = 5
    certification: bytes = field(default_factory=lambda: MANUFACTURER.chain(PCE))

    @property
    def public_key(self) -> bytes:
        return self.attestation.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]

    def make(self) -> bytes:
        """The quote."""
        return self.sign(*self.bodies())

    def bodies(self) -> tuple[bytes, bytes]:
        """What is signed: header with the enclave's report, and the QE's report."""
        bound = hashlib.sha256(self.public_key + self.authentication).digest()
        qe = quotes.REPORT_BODY.pack(**{"REPORTDATA": bound, **self.qe_report})
        return quotes.HEADER.pack(**self.header) + quotes.REPORT_BODY.pack(**self.report), qe

    def sign(self, signed: bytes, qe: bytes) -> bytes:
        """The quote with these bodies."""
        rest = sign(self.attestation, signed) + self.public_key + qe + sign(self.pck, qe)
        rest += len(self.authentication).to_bytes(2, "little") + self.authentication
        rest += self.kind.to_bytes(2, "little") + len(self.certification).to_bytes(4, "little") + self.certification
        return signed + len(rest).to_bytes(4, "little") + rest
