"""Verifying: each thing that can be wrong with a quote makes its own check fail, and no other."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from enclu.host.attestation import der, manufacturer
from enclu.host.attestation import quote as quotes
from enclu.host.attestation.expectations import Expectations
from enclu.host.attestation.manufacturer import pem
from enclu.host.attestation.pck import SGX_EXTENSION, CertificateError
from enclu.host.attestation.verify import VerificationError, verify
from tests.host.attestation.forge import MANUFACTURER, PCE, Parts
from tests.host.attestation.issuing import Certificate, named, usage
from tests.host.attestation.judging import NOW, OTHER, expected, failed, judged, with_collateral


def entry(suffix: str, value: bytes) -> bytes:
    """Of the SGX extension."""
    return der.sequence(der.identifier(f"{SGX_EXTENSION.dotted_string}.{suffix}"), value)


def test_a_genuine_quote_is_believed() -> None:
    assert not failed(judged(**with_collateral()))


def test_no_root_is_trusted_by_default() -> None:
    verdict = verify(quotes.parse(Parts().make()), Expectations(at=NOW))
    assert failed(verdict) == {"root", "certificate chain"}
    with pytest.raises(VerificationError, match=r"no root is trusted unless you name it.*NOT INTEL"):
        verdict.require()


def test_another_machine_s_root_is_not_this_one_s() -> None:
    assert "certificate chain" in failed(judged(root=OTHER.root))


def test_a_root_that_calls_itself_intel_s_but_has_another_key_is_refused() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Intel SGX Root CA")])
    parts = Parts()
    root = authority(name, key, name, key, path_length=1)
    ca = authority(x509.Name([]), MANUFACTURER._processor_key, name, key, path_length=0)
    parts.certification = pem(reissued(ca, MANUFACTURER._processor_key), ca, root)
    assert failed(judged(parts, root=root)) == {"root"}


def authority(
    subject: x509.Name, key: ec.EllipticCurvePrivateKey, issuer: x509.Name, issuer_key: ec.EllipticCurvePrivateKey,
    *, path_length: int | None = None, ca: bool = True, critical: bool = False,
) -> x509.Certificate:  # fmt: skip
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    builder = builder.serial_number(1000).not_valid_before(manufacturer.NOT_BEFORE)
    builder = builder.not_valid_after(manufacturer.NOT_AFTER)
    builder = builder.add_extension(x509.BasicConstraints(ca, path_length if ca else None), critical=True)
    if critical:
        unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\5\0")
        builder = builder.add_extension(unknown, critical=True)
    return builder.sign(issuer_key, hashes.SHA256())


def reissued(issuer: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """The PCK certificate, by another authority."""
    own = MANUFACTURER.pck(PCE)
    builder = x509.CertificateBuilder().subject_name(own.subject).issuer_name(issuer.subject)
    builder = builder.public_key(own.public_key()).serial_number(own.serial_number)
    builder = builder.not_valid_before(manufacturer.NOT_BEFORE).not_valid_after(manufacturer.NOT_AFTER)
    for extension in own.extensions:
        if not isinstance(extension.value, x509.AuthorityKeyIdentifier):
            builder = builder.add_extension(extension.value, extension.critical)
    return builder.sign(key, hashes.SHA256())


@pytest.mark.parametrize(
    ("wrong", "text"),
    [({"ca": False}, "no authority's"), ({"critical": True}, "critical extension"), ({"path_length": 0}, "")],
    ids=["not-an-authority", "unknown-critical-extension", "as-it-should-be"],
)
def test_an_intermediate_certificate_must_be_an_authority_s(wrong: dict[str, Any], text: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mine")])
    ca = authority(name, key, MANUFACTURER.root.subject, MANUFACTURER.root_key, **wrong)
    parts = Parts()
    parts.certification = pem(reissued(ca, key), ca, MANUFACTURER.root)
    verdict = judged(parts)
    assert failed(verdict) == ({"certificate chain"} if text else set())
    assert any(text in check.text for check in verdict.checks)


def test_a_root_allows_as_many_authorities_below_it_as_it_says() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "below")])
    below = authority(name, key, MANUFACTURER.processor_ca.subject, MANUFACTURER._processor_key)
    parts = Parts()
    parts.certification = pem(reissued(below, key), below, MANUFACTURER.processor_ca, MANUFACTURER.root)
    assert failed(judged(parts)) == {"certificate chain"}


def test_a_chain_with_a_certificate_missing_is_not_believed() -> None:
    parts = Parts()
    parts.certification = pem(MANUFACTURER.pck(PCE), MANUFACTURER.root)
    assert failed(judged(parts)) == {"root", "certificate chain"}


def test_a_certificate_of_another_purpose_certifies_no_platform() -> None:
    parts = Parts(pck=MANUFACTURER.tcb_signing_key, certification=pem(MANUFACTURER.tcb_signing, MANUFACTURER.root))
    assert failed(judged(parts)) == {"certificate chain", "TCB"}


@pytest.mark.parametrize("year", [2019, 2051])
def test_certificates_have_their_time(year: int) -> None:
    assert failed(judged(at=NOW.replace(year=year))) == {"certificate chain"}


@pytest.mark.parametrize(
    ("change", "check"),
    [
        (lambda p: p.report.update(ATTRIBUTES=7), "debug"),
        (lambda p: p.qe_report.update(ATTRIBUTES=0x17), "QE debug, QE"),
        (lambda p: p.qe_report.update(REPORTDATA=bytes(64)), "attestation key"),
        (lambda p: p.header.update(PCE_SVN=0), "PCE SVN"),
        (lambda p: setattr(p, "pck", OTHER.pck_key(PCE)), "QE report"),
        (lambda p: p.qe_report.update(MRSIGNER=bytes(32)), "QE"),
        (lambda p: p.qe_report.update(ISVSVN=0), "QE"),
    ],
    ids=["debug", "debug-qe", "other-attestation-key", "old-pce", "other-pck", "other-qe", "old-qe"],
)
def test_each_thing_wrong_is_found_by_its_own_check(change: Callable[[Parts], Any], check: str) -> None:
    parts = Parts()
    change(parts)
    assert failed(judged(parts, **with_collateral())) == set(check.split(", "))


@pytest.mark.parametrize(("at", "check"), [(60, "quote"), (1024, "attestation key"), (948, "QE report")])
def test_each_signature_is_of_what_it_says(at: int, check: str) -> None:
    data = bytearray(Parts().make())
    data[at] ^= 1
    assert check in failed(verify(quotes.parse(bytes(data)), expected()))


def test_a_debug_enclave_is_believed_if_that_is_wanted() -> None:
    parts = Parts()
    parts.report["ATTRIBUTES"] = 7
    assert judged(parts, allow_debug=True).good


@pytest.mark.parametrize(
    ("wanted", "check"),
    [
        (
            {"mrenclave": b"e" * 32, "mrsigner": b"s" * 32, "isvprodid": 4, "min_isvsvn": 5, "report_data": b"said"},
            None,
        ),
        ({"mrenclave": b"x" * 32}, "MRENCLAVE"),
        ({"mrsigner": b"x" * 32}, "MRSIGNER"),
        ({"isvprodid": 5}, "ISVPRODID"),
        ({"min_isvsvn": 6}, "ISVSVN"),
        ({"report_data": b"sai"}, "REPORTDATA"),
    ],
)
def test_what_is_expected_of_the_enclave_is_compared(wanted: dict[str, Any], check: str | None) -> None:
    assert failed(judged(**wanted)) == ({check} if check else set())


def test_an_attestation_key_that_is_no_point_is_not_believed() -> None:
    data = bytearray(Parts().make())
    data[500:564] = b"\1" * 64
    assert {"quote", "attestation key"} <= failed(verify(quotes.parse(bytes(data)), expected()))


@pytest.mark.parametrize(
    ("vendor", "good"),
    [("939a7233-f79c-4ca9-940a-0db3957f0607", True), ("939a7233-f79c-4ca9-940a-0db3957f0608", False)],
)
def test_a_quoting_enclave_of_another_vendor_is_not_believed(vendor: str, good: bool) -> None:
    parts = Parts()
    parts.header["QE_VENDOR_ID"] = uuid.UUID(vendor).bytes
    assert failed(judged(parts)) == (set() if good else {"QE vendor"})


def test_a_root_is_signed_by_itself() -> None:
    parts = Parts(certification=pem(MANUFACTURER.pck(PCE), MANUFACTURER.processor_ca))
    assert failed(judged(parts, root=MANUFACTURER.processor_ca)) == {"root", "certificate chain"}


def directly(leaf: Certificate) -> None:
    leaf.issuer, leaf.by = MANUFACTURER.root.subject, MANUFACTURER.root_key


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda c: setattr(c, "subject", named("platform")), "its name does not say 'SGX PCK Certificate'"),
        (directly, "there must be 1 authorities between"),
        (lambda c: c.put(usage("key_agreement"), True), "may not sign (keyUsage)"),
        (lambda c: c.put(x509.ExtendedKeyUsage([x509.OID_CLIENT_AUTH])), "is for purposes of its own (extKeyUsage)"),
        (lambda c: c.put(x509.SubjectAlternativeName([x509.DNSName("x")]), True), "a critical extension"),
        (lambda c: setattr(c, "hash", hashes.SHA384()), "is not signed by ECDSA with SHA-256"),
        (lambda c: setattr(c, "key", ec.generate_private_key(ec.SECP384R1()).public_key()), "is not of P-256"),
        (lambda c: c.put(x509.SubjectAlternativeName([x509.DNSName("x")])), None),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_pck_certificate_is_as_the_profile_says(change: Callable[[Certificate], Any], text: str | None) -> None:
    leaf = Certificate.like(MANUFACTURER.pck(PCE), MANUFACTURER._processor_key)
    change(leaf)
    verdict = judged(Parts(certification=pem(leaf.issue(), MANUFACTURER.processor_ca, MANUFACTURER.root)))
    assert ("certificate chain" in failed(verdict)) == (text is not None)
    assert any((text or "nothing") in check.text for check in verdict.checks if check.good is False) == bool(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (der.sequence(entry("2.1", der.encode(der.INTEGER, b"\xff"))), "negative"),
        (der.sequence(entry("2.1", der.number(256))), "more than 8 bits"),
        (der.sequence(entry("2.1", der.encode(der.INTEGER, b"\0\1"))), "longer than it need be"),
        (der.sequence(entry("2.1", der.number(1)), entry("2.1", der.number(9))), "is there twice"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_sgx_extension_s_values_are_as_der_has_them(value: bytes, text: str) -> None:
    leaf = Certificate.like(MANUFACTURER.pck(PCE), MANUFACTURER._processor_key)
    leaf.put(x509.UnrecognizedExtension(SGX_EXTENSION, der.sequence(entry("2", value))))
    verdict = judged(Parts(certification=pem(leaf.issue(), MANUFACTURER.processor_ca, MANUFACTURER.root)))
    assert failed(verdict) == {"TCB"}
    assert any(text in check.text for check in verdict.checks if check.name == "TCB")


def test_certification_data_without_certificates_is_an_error() -> None:
    with pytest.raises(quotes.QuoteError, match="certification data type is 3"):
        judged(replace(Parts(), kind=3, certification=bytes(404)))
    with pytest.raises(CertificateError, match="not a readable certificate chain"):
        judged(replace(Parts(), certification=b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
