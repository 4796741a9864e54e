"""Verifying a quote in full: chain, signatures, what binds them, debug, TCB, and what the verifier expects."""

from __future__ import annotations

import datetime
import hashlib
import hmac
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from enclu.host.attestation.collateral import UP_TO_DATE, QeIdentity, Statement, TcbInfo, verify_p256
from enclu.host.attestation.pck import CertificateError, issuer, platform_of, subject
from enclu.host.attestation.quote import CertificationType, Quote
from enclu.host.errors import HostError
from enclu.sgx.structs import Attribute

INTEL_ROOT = "a0af031289f5d5d4132f9186068a7fc13628633ba235777472e29b6b6c67a49e"
"""SHA-256 of the SubjectPublicKeyInfo of Intel's SGX Root CA."""
E = TypeVar("E", bound=x509.ExtensionType)
MAX_CHAIN = 4
UNREADABLE = (
    ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion, x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType, Warning,
)  # fmt: skip
"""What cryptography raises for certificates and lists that it cannot read."""
CRITICAL = (x509.BasicConstraints.oid, x509.KeyUsage.oid)
"""Critical extensions that are understood."""


class VerificationError(HostError):
    """The quote is not to be believed: the first check that failed."""


@dataclass(frozen=True)
class Expectations:
    """What the verifier trusts and wants."""

    root: x509.Certificate | None = None
    """The root of trust.  There is none by default: whoever verifies says whom to trust."""
    at: datetime.datetime | None = None
    """When; now by default."""
    crls: Sequence[x509.CertificateRevocationList] = ()
    tcb_info: TcbInfo | None = None
    qe_identity: QeIdentity | None = None
    signing_chain: Sequence[x509.Certificate] = ()
    """Of who signs the collateral, up to below the root."""
    accepted_tcb: frozenset[str] = frozenset({UP_TO_DATE})
    mrenclave: bytes | None = None
    mrsigner: bytes | None = None
    isvprodid: int | None = None
    min_isvsvn: int = 0
    report_data: bytes | None = None
    """REPORTDATA, 64 bytes, or its first bytes followed by zeros."""
    allow_debug: bool = False


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.  `good` is None where it could not be."""

    name: str
    good: bool | None
    text: str


@dataclass
class Verdict:
    """All checks, in order."""

    quote: Quote
    checks: list[Check] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """The quote is to be believed."""
        return bool(self.checks) and all(check.good is not False for check in self.checks)

    def require(self) -> None:
        """Raises VerificationError unless `good`."""
        for check in self.checks:
            if check.good is False:
                raise VerificationError(f"{self.quote.name}: {check.name}: {check.text}")


def verify(quote: Quote, expected: Expectations) -> Verdict:
    """All checks, also those after one that failed.  Raises CertificateError for certificates that cannot be read."""
    verdict = Verdict(quote)
    at = expected.at or datetime.datetime.now(datetime.UTC)
    chain = certificates(quote)
    verdict.checks.append(_check_root(chain, expected.root))
    verdict.checks.extend(_check_chain("certificate chain", chain, expected, at))
    verdict.checks.extend(_check_signatures(quote, chain[0]))
    verdict.checks.extend(_check_enclaves(quote, expected))
    verdict.checks.extend(_check_tcb(quote, chain[0], expected, at))
    return verdict


def certificates(quote: Quote) -> list[x509.Certificate]:
    """The PCK certificate and what is above it, from the certification data.  Raises QuoteError, CertificateError."""
    kind = quote.certification_type
    if kind is not CertificationType.PCK_CHAIN:
        raise quote.error("certification data type", kind.value, "without the PCK certificate chain (type 5)")
    return load_certificates(quote.certification_data.rstrip(b"\0"), f"{quote.name}: certification data")


def load_certificates(data: bytes, name: str) -> list[x509.Certificate]:
    """From PEM; at least one.  Raises CertificateError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what cryptography will refuse some day
            found = x509.load_pem_x509_certificates(data)
            for certificate in found:
                _readable(certificate)
    except UNREADABLE as error:
        raise CertificateError(f"{name}: not a readable certificate chain in PEM: {error}") from None
    if not found:
        raise CertificateError(f"{name}: no certificate")
    return found


def load_crl(data: bytes, name: str) -> x509.CertificateRevocationList:
    """From PEM or DER.  Raises CertificateError."""
    try:
        load = x509.load_pem_x509_crl if data.lstrip().startswith(b"-----") else x509.load_der_x509_crl
        return load(data)
    except UNREADABLE as error:
        raise CertificateError(f"{name}: not a certificate revocation list: {error}") from None


def _readable(certificate: x509.Certificate) -> None:
    """What is read later is decoded now, where it may fail.  Raises ValueError and others."""
    subject(certificate), issuer(certificate)
    list(certificate.extensions)
    certificate.public_key()
    certificate.signature_hash_algorithm  # noqa: B018


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of the public key."""
    encoding, form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return hashlib.sha256(certificate.public_key().public_bytes(encoding, form)).hexdigest()


def _check_root(chain: list[x509.Certificate], root: x509.Certificate | None) -> Check:
    top = _top(chain)
    name = repr(issuer(top))
    if root is None:
        return Check("root", False, f"no root is trusted unless you name it; this chain ends at {name}")
    if root.subject not in (top.issuer, top.subject):
        return Check("root", False, f"the chain ends at {name}, not at the given {subject(root)!r}")
    intel = fingerprint(root) == INTEL_ROOT
    if not intel and subject(root).lower().startswith("intel"):
        return Check("root", False, f"{subject(root)!r} is not Intel's: its key is {fingerprint(root)[:16]}")
    whose = "Intel's" if intel else "not Intel's"
    return Check("root", True, f"{subject(root)!r}, {whose}, key {fingerprint(root)[:16]}")


def _top(chain: list[x509.Certificate]) -> x509.Certificate:
    """The last that the first leads to, by names."""
    top = chain[0]
    for _ in chain:
        top = next((c for c in chain if c.subject == top.issuer), top)
    return top


def _path(chain: Sequence[x509.Certificate], root: x509.Certificate) -> list[x509.Certificate]:
    """From the first certificate to the given root.  Raises CertificateError."""
    path = [chain[0]]
    while path[-1] != root and not _issued(path[-1], root):
        above = next((c for c in chain[1:] if c not in path and _issued(path[-1], c)), None)
        if above is None or len(path) == MAX_CHAIN:
            raise CertificateError(f"{subject(path[-1])!r} was not issued by the root nor by another of the chain")
        path.append(above)
    return path if path[-1] == root else [*path, root]


def _issued(certificate: x509.Certificate, by: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(by)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _check_chain(
    what: str, chain: Sequence[x509.Certificate], expected: Expectations, at: datetime.datetime
) -> Iterator[Check]:
    if expected.root is None:
        yield Check(what, False, "without a root there is nothing to verify it by")
        return
    try:
        path = _path(chain, expected.root)
        for depth, certificate in enumerate(path):
            _check_certificate(certificate, depth, at)
        revoked = [_check_revocation(path[i], path[i + 1], expected.crls, at) for i in range(len(path) - 1)]
    except CertificateError as error:
        yield Check(what, False, str(error))
        return
    yield Check(what, True, " < ".join(subject(c) for c in path))
    if not all(revoked):
        yield Check(f"{what}, revocation", None, "no CRL was given for all of it")
    else:
        yield Check(f"{what}, revocation", True, "nothing of it is revoked")


def _check_certificate(certificate: x509.Certificate, depth: int, at: datetime.datetime) -> None:
    """Raises CertificateError.  `depth` is 0 for the leaf."""
    name = repr(subject(certificate))
    if not certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc:
        dates = f"{certificate.not_valid_before_utc:%Y-%m-%d} to {certificate.not_valid_after_utc:%Y-%m-%d}"
        raise CertificateError(f"{name} is valid from {dates}, not at {at:%Y-%m-%d %H:%M}")
    unknown = [e.oid.dotted_string for e in certificate.extensions if e.critical and e.oid not in CRITICAL]
    if unknown:
        raise CertificateError(f"{name} has a critical extension that is not known: {unknown[0]}")
    constraints = _extension(certificate, x509.BasicConstraints)
    if depth == 0:
        if constraints is not None and constraints.ca:
            raise CertificateError(f"{name} is an authority's, where the leaf is expected")
        return
    if constraints is None or not constraints.ca:
        raise CertificateError(f"{name} is no authority's (basicConstraints)")
    if constraints.path_length is not None and constraints.path_length < depth - 1:
        raise CertificateError(f"{name} allows {constraints.path_length} authorities below it, not {depth - 1}")
    usage = _extension(certificate, x509.KeyUsage)
    if usage is not None and not usage.key_cert_sign:
        raise CertificateError(f"{name} may not sign certificates (keyUsage)")


def _extension(certificate: x509.Certificate, kind: type[E]) -> E | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _check_revocation(
    certificate: x509.Certificate, by: x509.Certificate, crls: Sequence[x509.CertificateRevocationList],
    at: datetime.datetime,
) -> bool:  # fmt: skip
    """Whether there is a list to look it up in.  Raises CertificateError if it is in there, or the list is no good."""
    for crl in crls:
        if crl.issuer != by.subject:
            continue
        key = by.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey) or not crl.is_signature_valid(key):
            raise CertificateError(f"the CRL of {subject(by)!r} is not signed by it")
        until = crl.next_update_utc
        if at < crl.last_update_utc or (until is not None and at > until):
            raise CertificateError(f"the CRL of {subject(by)!r} is not of the time {at:%Y-%m-%d %H:%M}")
        if crl.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None:
            raise CertificateError(f"{subject(certificate)!r}, serial {certificate.serial_number:#x}, is revoked")
        return True
    return False


def _check_signatures(quote: Quote, leaf: x509.Certificate) -> Iterator[Check]:
    good = verify_p256(leaf.public_key(), quote.qe_report_signature, quote.qe_report_raw)
    yield Check("QE report", good, f"{'signed' if good else 'not signed'} with the certified key (PCK)")
    bound = hashlib.sha256(quote.attestation_key + quote.authentication_data).digest() + bytes(32)
    good = hmac.compare_digest(bound, quote.qe_report["REPORTDATA"])
    yield Check("attestation key", good, "the QE's report is " + ("of it" if good else "of another (REPORTDATA)"))
    try:
        point = b"\4" + quote.attestation_key
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
        good = verify_p256(key, quote.signature, quote.signed)
        text = f"{'signed' if good else 'not signed'} with the attestation key"
    except ValueError:
        good, text = False, "the attestation key is no point of P-256"
    yield Check("quote", good, text)


def _check_enclaves(quote: Quote, expected: Expectations) -> Iterator[Check]:
    report = quote.report
    debug = bool(quote.qe_report["ATTRIBUTES"] & Attribute.DEBUG)
    yield Check("QE debug", not debug, "the QE is a debug enclave" if debug else "the QE is no debug enclave")
    debug = bool(report["ATTRIBUTES"] & Attribute.DEBUG)
    text = "a debug enclave: everybody can read its memory" if debug else "no debug enclave"
    yield Check("debug", not debug or expected.allow_debug, text)
    for name, value in (("MRENCLAVE", expected.mrenclave), ("MRSIGNER", expected.mrsigner)):
        if value is not None:
            yield _compare(name, report[name].hex(), value.hex())
    if expected.isvprodid is not None:
        yield _compare("ISVPRODID", report["ISVPRODID"], expected.isvprodid)
    if report["ISVSVN"] < expected.min_isvsvn:
        yield Check("ISVSVN", False, f"{report['ISVSVN']}, lower than {expected.min_isvsvn}")
    if expected.report_data is not None:
        yield _compare("REPORTDATA", report["REPORTDATA"].hex(), expected.report_data.ljust(64, b"\0").hex())


def _compare(name: str, found: object, wanted: object) -> Check:
    good = found == wanted
    return Check(name, good, f"{found}" if good else f"{found}, not {wanted}")


def _check_tcb(quote: Quote, leaf: x509.Certificate, expected: Expectations, at: datetime.datetime) -> Iterator[Check]:
    try:
        platform = platform_of(leaf)
    except CertificateError as error:
        yield Check("TCB", False, str(error))
        return
    if quote.header["PCE_SVN"] < platform.tcb.pcesvn:
        text = f"the quote is of PCE version {quote.header['PCE_SVN']}, certified is {platform.tcb.pcesvn}"
        yield Check("PCE SVN", False, text)
    tcb_info, identity = expected.tcb_info, expected.qe_identity
    if tcb_info is None:
        yield Check("TCB", None, f"no TCB info was given for platforms with FMSPC {platform.fmspc.hex()}")
    else:
        yield from _check_statement("TCB info", tcb_info, expected, at)
        if tcb_info.concerns(platform):
            yield _status("TCB", tcb_info.status(platform.tcb), expected)
        else:
            yield Check(
                "TCB", False, f"the TCB info is of FMSPC {tcb_info.fields['fmspc'].hex()}, not of this platform"
            )
    if identity is None:
        yield Check("QE identity", None, "none was given")
        return
    yield from _check_statement("QE identity", identity, expected, at)
    wrong = identity.mismatch(quote.qe_report)
    if wrong is None:
        yield _status("QE", identity.status(quote.qe_report["ISVSVN"]), expected)
    else:
        yield Check("QE", False, f"{wrong} is not that of the manufacturer's quoting enclave")


def _status(name: str, status: str, expected: Expectations) -> Check:
    return Check(name, status in expected.accepted_tcb, status)


def _check_statement(name: str, statement: Statement, expected: Expectations, at: datetime.datetime) -> Iterator[Check]:
    """Signed by somebody below the root, and of the time."""
    if not expected.signing_chain:
        yield Check(name, False, "the certificate of who signed it was not given")
        return
    yield from _check_chain(f"{name}, certificate chain", expected.signing_chain, expected, at)
    steps: list[tuple[Callable[[], bool], str]] = [
        (lambda: statement.is_signed_by(expected.signing_chain[0].public_key()), "not signed by its certificate's key"),
        (lambda: statement.issued <= at <= statement.next_update, f"of {statement.issued:%Y-%m-%d}, not of this time"),
    ]
    wrong = next((text for good, text in steps if not good()), None)
    yield Check(name, wrong is None, wrong or f"signed, of {statement.issued:%Y-%m-%d}")
