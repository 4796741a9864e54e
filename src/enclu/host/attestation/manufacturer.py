"""The machine as its manufacturer: what only who knows the machine's secret can do.

Intel's factory knows the provisioning keys that fuses give, so that it can compute every PCE's certification key
(PCK) and issue certificates for them.  Here the machine's secret stands for the fuses, and all else follows from it,
the keys of the certification authorities, too.  Their names say that they are not Intel's.
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from enclu.host.attestation import collateral
from enclu.host.attestation.pck import SGX_EXTENSION, SgxExtension, Tcb
from enclu.sgx import crypto, keys
from enclu.sgx.machine import CPUSVN
from enclu.sgx.structs import KEYREQUEST, Attribute, KeyName

ROOT = "enclu software SGX Root CA - NOT INTEL, nothing is protected"
PROCESSOR_CA = "enclu software SGX PCK Processor CA - NOT INTEL"
TCB_SIGNING = "enclu software SGX TCB Signing - NOT INTEL"
PCK = "enclu software SGX PCK Certificate - NOT INTEL"
ORGANIZATION = "enclu: nothing is protected"
NOT_BEFORE = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
NOT_AFTER = datetime.datetime(2050, 1, 1, tzinfo=datetime.UTC)
VALID_FOR = datetime.timedelta(days=30)
"""TCB info and QE identity, as long as Intel's."""
FMSPC = b"enclu\0"
"""The kind of machine."""
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
PCK_LABEL = b"PAK_KEY_DER"
"""Of the key derivation: Intel's PCE uses it, and ours does as well."""
PCK_BITS = 320


@dataclass(frozen=True)
class Product:
    """A PCE, as far as its provisioning keys depend on it, or a QE, as its identity is told."""

    mrsigner: bytes
    attributes: int
    """Of SECS, with INIT."""
    miscselect: int = 0
    isvprodid: int = 0
    isvsvn: int = 0
    pceid: int = 0


def scalar(seed: bytes) -> int:
    """A private key from at least 40 random bytes, by FIPS 186-4 B.4.1."""
    return int.from_bytes(seed, "big") % (P256_ORDER - 1) + 1


class Manufacturer:
    """Of the machine with this secret."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self.root_key = self._key(b"root")
        self.root = self._authority(ROOT, self.root_key, None, path_length=1)
        self._processor_key = self._key(b"processor")
        self.processor_ca = self._authority(PROCESSOR_CA, self._processor_key, self.root, path_length=0)
        self.tcb_signing_key = self._key(b"tcb signing")
        self.tcb_signing = self._certificate(TCB_SIGNING, self.tcb_signing_key.public_key(), self.root, self.root_key)

    # What the enclaves of the machine derive, too.

    def provisioning_key(self, pce: Product, cpusvn: bytes = CPUSVN, isvsvn: int | None = None) -> bytes:
        """EGETKEY[PROVISION_KEY] as PCEs ask for it: with everything but MODE64BIT and XFRM."""
        request = KEYREQUEST.pack(
            KEYNAME=KeyName.PROVISION_KEY, ISVSVN=pce.isvsvn if isvsvn is None else isvsvn, CPUSVN=cpusvn,
            ATTRIBUTEMASK=(1 << 64) - 1 & ~Attribute.MODE64BIT, XFRMMASK=0, MISCMASK=0xFFFF_FFFF,
        )  # fmt: skip
        machine = SimpleNamespace(secret=self._secret, cpusvn=CPUSVN)
        secs = SimpleNamespace(
            mrsigner=pce.mrsigner, attributes=pce.attributes, xfrm=0, miscselect=pce.miscselect,
            isvprodid=pce.isvprodid, configid=bytes(64), isvfamilyid=bytes(16), isvextprodid=bytes(16),
        )  # fmt: skip
        return keys.derive(cast(Any, machine), cast(Any, secs), request)

    def pck_key(self, pce: Product) -> ec.EllipticCurvePrivateKey:
        """The PCE's private key, for this machine's TCB."""
        root = self.provisioning_key(pce)
        tail = b"\0" + b"\0" + PCK_BITS.to_bytes(2, "big")
        blocks = b"".join(crypto.cmac(root, bytes([i]) + PCK_LABEL + tail) for i in (1, 2, 3))
        return ec.derive_private_key(scalar(blocks[: PCK_BITS // 8]), ec.SECP256R1())

    def ppid(self, pce: Product) -> bytes:
        """The platform's number, as the PCE derives it."""
        return crypto.cmac(self.provisioning_key(pce, bytes(16), 0), bytes(16))

    # Certificates.

    def platform(self, pce: Product) -> SgxExtension:
        """What the PCK certificate says."""
        tcb = Tcb(tuple(CPUSVN), pce.isvsvn, CPUSVN)
        return SgxExtension(self.ppid(pce), tcb, pce.pceid.to_bytes(2, "little"), FMSPC)

    def pck(self, pce: Product) -> x509.Certificate:
        """A certificate for the PCE's key."""
        extension = x509.UnrecognizedExtension(SGX_EXTENSION, self.platform(pce).encode())
        key = self.pck_key(pce).public_key()
        return self._certificate(PCK, key, self.processor_ca, self._processor_key, extension)

    def chain(self, pce: Product) -> bytes:
        """PCK certificate, its issuer, the root: PEM, as certification data has them."""
        return pem(self.pck(pce), self.processor_ca, self.root)

    def revoked(self, at: datetime.datetime) -> tuple[bytes, bytes]:
        """The revocation lists of the root and of the processors' authority, PEM: nothing is."""
        return self._empty_list(self.root, self.root_key, at), self._empty_list(
            self.processor_ca, self._processor_key, at
        )

    # Statements about what is up to date.

    def tcb_info(self, pce: Product, at: datetime.datetime) -> bytes:
        """All there is: this TCB is up to date, others are unknown."""
        level = {
            "tcb": {"sgxtcbcomponents": [{"svn": svn} for svn in CPUSVN], "pcesvn": pce.isvsvn},
            "tcbDate": _time(NOT_BEFORE), "tcbStatus": collateral.UP_TO_DATE,
        }  # fmt: skip
        fields = {
            "id": "SGX", "version": 3, **_period(at), "fmspc": FMSPC.hex().upper(), "tcbType": 0,
            "pceId": pce.pceid.to_bytes(2, "little").hex(), "tcbEvaluationDataNumber": 1, "tcbLevels": [level],
        }  # fmt: skip
        return collateral.sign(collateral.TcbInfo.KIND, fields, self.tcb_signing_key)

    def qe_identity(self, qe: Product, at: datetime.datetime) -> bytes:
        """The quoting enclave, of which `qe` has what there is to say."""
        flags = (1 << 64) - 1 & ~Attribute.MODE64BIT
        attributes = (qe.attributes & flags).to_bytes(8, "little") + bytes(8)
        mask = flags.to_bytes(8, "little") + bytes(8)
        level = {"tcb": {"isvsvn": qe.isvsvn}, "tcbDate": _time(NOT_BEFORE), "tcbStatus": collateral.UP_TO_DATE}
        fields = {
            "id": "QE", "version": 2, **_period(at), "tcbEvaluationDataNumber": 1,
            "miscselect": qe.miscselect.to_bytes(4, "little").hex().upper(), "miscselectMask": "FFFFFFFF",
            "attributes": attributes.hex().upper(), "attributesMask": mask.hex().upper(),
            "mrsigner": qe.mrsigner.hex().upper(), "isvprodid": qe.isvprodid, "tcbLevels": [level],
        }  # fmt: skip
        return collateral.sign(collateral.QeIdentity.KIND, fields, self.tcb_signing_key)

    def _key(self, label: bytes) -> ec.EllipticCurvePrivateKey:
        seed = hmac.digest(self._secret, keys.UNPROTECTED + b": certification authority: " + label, hashlib.sha512)
        return ec.derive_private_key(scalar(seed), ec.SECP256R1())

    def _empty_list(self, issuer: x509.Certificate, key: ec.EllipticCurvePrivateKey, at: datetime.datetime) -> bytes:
        builder = x509.CertificateRevocationListBuilder().issuer_name(issuer.subject)
        builder = builder.last_update(at).next_update(at + VALID_FOR).add_extension(x509.CRLNumber(1), critical=False)
        authority = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(_identifier(issuer))
        builder = builder.add_extension(authority, critical=False)
        return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def _authority(
        self, name: str, key: ec.EllipticCurvePrivateKey, issuer: x509.Certificate | None, path_length: int
    ) -> x509.Certificate:
        builder = _builder(name, key.public_key(), issuer)
        builder = builder.add_extension(x509.BasicConstraints(True, path_length), critical=True)
        builder = builder.add_extension(_usage(authority=True), critical=True)
        return builder.sign(self.root_key, hashes.SHA256())

    def _certificate(
        self, name: str, key: ec.EllipticCurvePublicKey, issuer: x509.Certificate,
        issuer_key: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType | None = None,
    ) -> x509.Certificate:  # fmt: skip
        builder = _builder(name, key, issuer)
        builder = builder.add_extension(x509.BasicConstraints(False, None), critical=True)
        builder = builder.add_extension(_usage(authority=False), critical=True)
        if extension is not None:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(issuer_key, hashes.SHA256())


def _time(at: datetime.datetime) -> str:
    return at.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _period(at: datetime.datetime) -> dict[str, str]:
    return {"issueDate": _time(at), "nextUpdate": _time(at + VALID_FOR)}


def pem(*certificates: x509.Certificate) -> bytes:
    """Certificates one after the other."""
    return b"".join(c.public_bytes(serialization.Encoding.PEM) for c in certificates)


def _builder(name: str, key: ec.EllipticCurvePublicKey, issuer: x509.Certificate | None) -> x509.CertificateBuilder:
    own = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, name), x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANIZATION)]
    )
    point = key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key)
    authority = identifier if issuer is None else _identifier(issuer)
    return (
        x509.CertificateBuilder()
        .subject_name(own)
        .issuer_name(own if issuer is None else issuer.subject)
        .public_key(key)
        .serial_number(int.from_bytes(hashlib.sha256(name.encode() + point).digest()[:16], "big") | 1)
        .not_valid_before(NOT_BEFORE)
        .not_valid_after(NOT_AFTER)
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(authority), critical=False)
    )


def _identifier(certificate: x509.Certificate) -> x509.SubjectKeyIdentifier:
    return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority, content_commitment=not authority, key_cert_sign=authority, crl_sign=authority,
        key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
