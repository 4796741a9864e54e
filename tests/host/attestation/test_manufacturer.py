"""Certificates and keys of the machine's manufacturer."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from enclu.host.attestation import der
from enclu.host.attestation.chain import fingerprint
from enclu.host.attestation.manufacturer import P256_ORDER, ROOT, Manufacturer, pem, scalar
from enclu.host.attestation.pck import CertificateError, SgxExtension, Tcb, sgx_extension, subject
from tests.host.attestation.forge import MANUFACTURER, PCE

octets = st.integers(0, 255)
platforms = st.builds(
    SgxExtension,
    st.binary(min_size=16, max_size=16),
    st.builds(
        Tcb, st.tuples(*[octets] * 16), st.integers(0, 0xFFFF), st.binary(min_size=16, max_size=16)
    ),
    st.binary(min_size=2, max_size=2),
    st.binary(min_size=6, max_size=6),
    st.integers(0, 3),
)  # fmt: skip


def test_no_name_of_a_certificate_can_be_taken_for_intel_s() -> None:
    made = [MANUFACTURER.root, MANUFACTURER.processor_ca, MANUFACTURER.tcb_signing, MANUFACTURER.pck(PCE)]
    for certificate in made:
        assert "NOT INTEL" in subject(certificate)
        assert "nothing is protected" in certificate.subject.rfc4514_string()
    assert subject(MANUFACTURER.root) == ROOT


def test_openssl_believes_the_chain(tmp_path: Path) -> None:
    (tmp_path / "root.pem").write_bytes(pem(MANUFACTURER.root))
    (tmp_path / "above.pem").write_bytes(pem(MANUFACTURER.processor_ca))
    (tmp_path / "pck.pem").write_bytes(pem(MANUFACTURER.pck(PCE)))
    command = ["openssl", "verify", "-x509_strict", "-CAfile", "root.pem", "-untrusted", "above.pem", "pck.pem"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "pck.pem: OK\n"), done.stderr


def test_a_machine_has_the_same_keys_each_time_and_another_machine_others() -> None:
    again, other = Manufacturer(b"secret of the tests".ljust(32)), Manufacturer(bytes(32))
    assert fingerprint(again.root) == fingerprint(MANUFACTURER.root) != fingerprint(other.root)
    assert fingerprint(again.pck(PCE)) == fingerprint(MANUFACTURER.pck(PCE)) != fingerprint(other.pck(PCE))
    assert again.ppid(PCE) == MANUFACTURER.ppid(PCE) != other.ppid(PCE)


@pytest.mark.parametrize(
    "change", [{"isvsvn": 2}, {"mrsigner": bytes(32)}, {"isvprodid": 3}, {"attributes": 0x17}, {"miscselect": 0}]
)
def test_a_pce_that_differs_has_another_key(change: dict[str, Any]) -> None:
    other = replace(PCE, **change)
    assert fingerprint(MANUFACTURER.pck(other)) != fingerprint(MANUFACTURER.pck(PCE))


def test_the_ppid_is_the_same_for_every_version_of_a_pce() -> None:
    assert MANUFACTURER.ppid(replace(PCE, isvsvn=9)) == MANUFACTURER.ppid(PCE)


def test_a_private_key_is_never_zero_nor_too_large() -> None:
    assert scalar(bytes(40)) == 1
    assert scalar((P256_ORDER - 2).to_bytes(40, "big")) == P256_ORDER - 1
    assert scalar((P256_ORDER - 1).to_bytes(40, "big")) == 1
    ec.derive_private_key(scalar(b"\xff" * 40), ec.SECP256R1())


@given(platforms)
def test_what_a_certificate_says_of_its_platform_is_read_back(platform: SgxExtension) -> None:
    assert sgx_extension(_with_extension(platform.encode())) == platform


@given(st.binary(max_size=60))
def test_a_damaged_extension_is_an_error(data: bytes) -> None:
    with pytest.raises(CertificateError, match="SGX extension: "):
        sgx_extension(_with_extension(data))


def _with_extension(value: bytes) -> x509.Certificate:
    return cast(x509.Certificate, _Certificate(value))


class _Certificate:
    """As much of one as sgx_extension() looks at: signing one takes longer."""

    def __init__(self, value: bytes) -> None:
        extension = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.840.113741.1.13.1"), value)
        self.extensions = x509.Extensions([x509.Extension(extension.oid, False, extension)])
        self.subject = MANUFACTURER.root.subject


def test_a_certificate_without_the_extension_is_named() -> None:
    with pytest.raises(CertificateError, match=r"Root CA.*no SGX extension \(1.2.840.113741.1.13.1\)"):
        sgx_extension(MANUFACTURER.root)


@given(st.integers(0, 1 << 70))
def test_der_numbers(value: int) -> None:
    [(tag, content)] = der.elements(der.number(value))
    assert tag == der.INTEGER
    assert int.from_bytes(content, "big", signed=True) == value


@given(st.binary(max_size=70_000))
def test_der_elements_of_any_size(content: bytes) -> None:
    assert der.only(der.encode(der.OCTET_STRING, content), der.OCTET_STRING) == content


@pytest.mark.parametrize("dotted", ["1.2.840.113741.1.13.1.2.18", "0.9.2342", "2.999.3", "2.5.29.19"])
def test_der_identifiers(dotted: str) -> None:
    assert der.dotted(der.only(der.identifier(dotted), der.OBJECT)) == dotted
