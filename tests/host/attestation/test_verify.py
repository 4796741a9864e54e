"""Verifying: each thing that can be wrong with a quote makes its own check fail, and no other."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from enclu.host.attestation import collateral, manufacturer
from enclu.host.attestation import quote as quotes
from enclu.host.attestation.manufacturer import Manufacturer, pem
from enclu.host.attestation.pck import CertificateError
from enclu.host.attestation.verify import Expectations, Verdict, VerificationError, verify
from host.attestation.forge import MANUFACTURER, PCE, QE, Parts

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
OTHER = Manufacturer(b"another secret".ljust(32))


def expected(**more: Any) -> Expectations:
    return Expectations(**{"root": MANUFACTURER.root, "at": NOW, **more})


def judged(parts: Parts | None = None, **more: Any) -> Verdict:
    return verify(quotes.parse((parts or Parts()).make()), expected(**more))


def failed(verdict: Verdict) -> set[str]:
    return {check.name for check in verdict.checks if check.good is False}


def with_collateral(**more: Any) -> dict[str, Any]:
    return {
        "tcb_info": collateral.parse_tcb_info(MANUFACTURER.tcb_info(PCE, NOW)),
        "qe_identity": collateral.parse_qe_identity(MANUFACTURER.qe_identity(QE, NOW)),
        "signing_chain": [MANUFACTURER.tcb_signing, MANUFACTURER.root],
        **more,
    }


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
    assert failed(judged(parts)) == {"TCB"}


@pytest.mark.parametrize("year", [2019, 2051])
def test_certificates_have_their_time(year: int) -> None:
    assert failed(judged(at=NOW.replace(year=year))) == {"certificate chain"}


def crl(*serials: int, days: int = 30, key: ec.EllipticCurvePrivateKey | None = None) -> Any:
    builder = x509.CertificateRevocationListBuilder().issuer_name(MANUFACTURER.processor_ca.subject)
    builder = builder.last_update(NOW - datetime.timedelta(30)).next_update(NOW + datetime.timedelta(days))
    for serial in serials:
        revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(NOW).build()
        builder = builder.add_revoked_certificate(revoked)
    return builder.sign(key or MANUFACTURER._processor_key, hashes.SHA256())


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (lambda serial: crl(serial), "is revoked"),
        (lambda serial: crl(days=-1), "not of the time"),
        (lambda serial: crl(key=MANUFACTURER.root_key), "not signed by it"),
        (lambda serial: crl(serial + 1), ""),
    ],
    ids=["revoked", "outdated", "forged", "another-is-revoked"],
)
def test_a_revocation_list_is_heeded(made: Callable[[int], Any], text: str) -> None:
    verdict = judged(crls=[made(MANUFACTURER.pck(PCE).serial_number)])
    assert failed(verdict) == ({"certificate chain"} if text else set())
    assert any(text in check.text for check in verdict.checks)


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
    ("levels", "status"),
    [
        ([(2, 1, "UpToDate"), (1, 1, "OutOfDate")], "OutOfDate"),
        ([(1, 2, "UpToDate"), (0, 0, "Revoked")], "Revoked"),
        ([(2, 2, "UpToDate")], collateral.UNKNOWN),
        ([(1, 1, "UpToDate"), (0, 0, "Revoked")], "UpToDate"),
    ],
)
def test_the_first_level_that_a_platform_reaches_is_its_status(levels: list[Any], status: str) -> None:
    found = statement(
        tcbLevels=[
            {"tcb": {"sgxtcbcomponents": [{"svn": svn}] * 16, "pcesvn": pcesvn}, "tcbStatus": name}
            for svn, pcesvn, name in levels
        ]
    )
    verdict = judged(**with_collateral(tcb_info=found))
    assert [c.text for c in verdict.checks if c.name == "TCB"] == [status]
    assert verdict.good == (status == "UpToDate")


def statement(**changes: Any) -> collateral.TcbInfo:
    """TCB info with some fields changed, and signed."""
    fields = json.loads(MANUFACTURER.tcb_info(PCE, NOW))["tcbInfo"]
    return collateral.parse_tcb_info(collateral.sign("tcbInfo", {**fields, **changes}, MANUFACTURER.tcb_signing_key))


def test_a_status_can_be_accepted() -> None:
    level = {"tcb": {"sgxtcbcomponents": [{"svn": 1}] * 16, "pcesvn": 1}, "tcbStatus": "SWHardeningNeeded"}
    found = with_collateral(tcb_info=statement(tcbLevels=[level]))
    assert failed(judged(**found)) == {"TCB"}
    assert judged(**found, accepted_tcb=frozenset({"SWHardeningNeeded", "UpToDate"})).good


def test_tcb_info_of_the_second_version_is_read_too() -> None:
    tcb = {f"sgxtcbcomp{i:02}svn": 1 for i in range(1, 17)} | {"pcesvn": 1}
    assert judged(**with_collateral(tcb_info=statement(tcbLevels=[{"tcb": tcb, "tcbStatus": "UpToDate"}]))).good


@pytest.mark.parametrize(
    ("changes", "check"),
    [({"fmspc": "000000000000"}, "TCB"), ({"nextUpdate": "2025-12-31T00:00:00Z"}, "TCB info")],
    ids=["other-platform", "outdated"],
)
def test_tcb_info_must_be_of_this_platform_and_time(changes: dict[str, Any], check: str) -> None:
    assert failed(judged(**with_collateral(tcb_info=statement(**changes)))) == {check}


def test_tcb_info_must_be_signed_by_who_the_root_has_certified() -> None:
    forged = collateral.parse_tcb_info(OTHER.tcb_info(PCE, NOW))
    assert failed(judged(**with_collateral(tcb_info=forged))) == {"TCB info"}
    both = [OTHER.tcb_signing, OTHER.root]
    assert "TCB info, certificate chain" in failed(judged(**with_collateral(tcb_info=forged, signing_chain=both)))
    assert "TCB info" in failed(judged(**with_collateral(signing_chain=())))


def test_what_is_believed_of_a_statement_is_what_was_signed() -> None:
    genuine = MANUFACTURER.tcb_info(PCE, NOW)
    other = json.loads(genuine)["tcbInfo"] | {"fmspc": "ffffffffffff"}
    twice = genuine[:-1] + b',"tcbInfo":' + json.dumps(other).encode() + b"}"
    found = collateral.parse_tcb_info(twice)
    assert found.is_signed_by(MANUFACTURER.tcb_signing.public_key())
    assert found.fields["fmspc"] == manufacturer.FMSPC


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "not tcbInfo in JSON"),
        (b"[" * 100_000, "not tcbInfo in JSON"),
        (b'{"tcbInfo":{},"signature":"00"}', "signature is 00: it must be 64 bytes"),
        (b'{"tcbInfo":[],"signature":"%s"}' % (b"00" * 64), "tcbInfo is"),
        (b'{"tcbInfo":{"fmspc":5},"signature":"%s"}' % (b"00" * 64), "fmspc is 5: it must be 6 bytes"),
    ],
)
def test_damaged_collateral_is_an_error_that_names_the_field(data: bytes, text: str) -> None:
    with pytest.raises(collateral.CollateralError, match=text):
        collateral.parse_tcb_info(data)


def test_certification_data_without_certificates_is_an_error() -> None:
    with pytest.raises(quotes.QuoteError, match="certification data type is 3"):
        judged(replace(Parts(), kind=3, certification=bytes(404)))
    with pytest.raises(CertificateError, match="not a readable certificate chain"):
        judged(replace(Parts(), certification=b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
