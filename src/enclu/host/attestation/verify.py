"""Verifying a quote in full: chain, signatures, what binds them, debug, TCB, and what the verifier expects."""

from __future__ import annotations

import datetime
import hashlib
import hmac
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from enclu.host.attestation import chain as chains
from enclu.host.attestation.chain import PCK, TCB_SIGNING, Purpose, fingerprint, load_certificates
from enclu.host.attestation.collateral import Statement, verify_p256
from enclu.host.attestation.expectations import Expectations
from enclu.host.attestation.pck import CertificateError, issuer, sgx_extension, subject
from enclu.host.attestation.quote import INTEL, VENDORS, CertificationType, Quote
from enclu.host.attestation.revocation import is_looked_up
from enclu.host.errors import HostError
from enclu.sgx.structs import Attribute

INTEL_ROOT = "a0af031289f5d5d4132f9186068a7fc13628633ba235777472e29b6b6c67a49e"
"""SHA-256 of the SubjectPublicKeyInfo of Intel's SGX Root CA."""


class VerificationError(HostError):
    """The quote is not to be believed: the first check that failed."""


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
    verdict.checks.extend(_check_chain("certificate chain", chain, PCK, expected, at))
    verdict.checks.append(_check_vendor(quote, expected.root))
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


def _check_root(chain: list[x509.Certificate], root: x509.Certificate | None) -> Check:
    top = chains.top(chain)
    name = repr(issuer(top))
    if root is None:
        return Check("root", False, f"no root is trusted unless you name it; this chain ends at {name}")
    if root.subject not in (top.issuer, top.subject):
        return Check("root", False, f"the chain ends at {name}, not at the given {subject(root)!r}")
    if not chains.issued(root, root):
        return Check("root", False, f"{subject(root)!r} is no root: it is not signed by itself")
    intel = fingerprint(root) == INTEL_ROOT
    if not intel and subject(root).lower().startswith("intel"):
        return Check("root", False, f"{subject(root)!r} is not Intel's: its key is {fingerprint(root)[:16]}")
    whose = "Intel's" if intel else "not Intel's"
    return Check("root", True, f"{subject(root)!r}, {whose}, key {fingerprint(root)[:16]}")


def _check_chain(
    what: str, chain: Sequence[x509.Certificate], purpose: Purpose, expected: Expectations, at: datetime.datetime
) -> Iterator[Check]:
    if expected.root is None:
        yield Check(what, False, "without a root there is nothing to verify it by")
        return
    try:
        path = chains.path(chain, expected.root, purpose, at)
        issuers = [*path[1:], path[-1]]
        found = [is_looked_up(path[i], issuers[i], expected.crls, at) for i in range(len(path))]
    except CertificateError as error:
        yield Check(what, False, str(error))
        return
    yield Check(what, True, " < ".join(subject(c) for c in path))
    if not all(found):
        yield Check(f"{what}, revocation", None, "no CRL was given for all of it")
    else:
        yield Check(f"{what}, revocation", True, "nothing of it is revoked")


def _check_vendor(quote: Quote, root: x509.Certificate | None) -> Check:
    """Intel certifies its own quoting enclave only."""
    known = [INTEL] if root is not None and fingerprint(root) == INTEL_ROOT else list(VENDORS)
    if quote.vendor in known:
        return Check("QE vendor", True, VENDORS[quote.vendor])
    return Check("QE vendor", False, f"{quote.vendor} is not {' or '.join(map(str, known))}")


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
        platform = sgx_extension(leaf)
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
            text = f"the TCB info is of FMSPC {tcb_info.fields['fmspc'].hex()}, PCE ID {tcb_info.fields['pceId'].hex()}"
            yield Check("TCB", False, f"{text}; this platform's are {platform.fmspc.hex()}, {platform.pceid.hex()}")
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
    """Signed by whom the root has certified for that, and of the time."""
    if not expected.signing_chain:
        yield Check(name, False, "the certificate of who signed it was not given")
        return
    yield from _check_chain(f"{name}, certificate chain", expected.signing_chain, TCB_SIGNING, expected, at)
    if statement.unfit is not None:
        yield Check(name, False, statement.unfit)
    elif not statement.is_signed_by(expected.signing_chain[0].public_key()):
        yield Check(name, False, "not signed by its certificate's key")
    elif not statement.issued <= at <= statement.next_update:
        yield Check(name, False, f"of {statement.issued:%Y-%m-%d}, not of this time")
    else:
        yield Check(name, True, f"signed, of {statement.issued:%Y-%m-%d}")
