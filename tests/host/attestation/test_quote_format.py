"""Quotes as bytes: what is in them, and what is said of those that are damaged."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from enclu.host.attestation import quote as quotes
from enclu.host.attestation.expectations import Expectations
from enclu.host.attestation.verify import certificates, verify
from enclu.host.errors import HostError
from tests.host.attestation.forge import MANUFACTURER, Parts

GOOD = Parts().make()
SIZES = (0, 47, 48, 431, 432, 435, 436, 1011, 1012, 1013, 1031, 1034, 1035, 1037, -1)


def test_the_parts_of_a_quote_are_found() -> None:
    parts = Parts()
    quote = quotes.parse(parts.make())
    assert quote.report["MRENCLAVE"] == b"e" * 32
    assert quote.qe_report["ISVPRODID"] == 1
    assert quote.attestation_key == parts.public_key
    assert quote.authentication_data == b"authentication data"
    assert quote.certification_data == parts.certification


@pytest.mark.parametrize("size", SIZES)
def test_a_quote_that_ends_early_is_an_error_that_names_it(size: int) -> None:
    with pytest.raises(quotes.QuoteError, match=r"^mine: .* is \d+: "):
        quotes.parse(GOOD[:size], "mine")


def test_bytes_behind_a_quote_are_an_error() -> None:
    with pytest.raises(quotes.QuoteError, match="signature data length"):
        quotes.parse(GOOD + b"\0")


@pytest.mark.parametrize(
    ("field", "value"), [("VERSION", 4), ("ATT_KEY_TYPE", 3), ("TEE_TYPE", 0x81), ("certification data type", 6)]
)
def test_what_is_not_known_is_named_with_its_value(field: str, value: int) -> None:
    parts = Parts()
    if field == "certification data type":
        parts.kind = value
    else:
        parts.header[field] = value
    with pytest.raises(quotes.QuoteError, match=f"{field} is {value}: "):
        quotes.parse(parts.make())


def test_a_page_about_a_quote_tells_enclave_signer_and_vendor() -> None:
    page = quotes.describe(quotes.parse(GOOD))
    assert (b"e" * 32).hex() in page
    assert (b"s" * 32).hex() in page
    assert "enclu: software, nothing is protected" in page


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(quotes.QuoteError, match="no quote is so large"):
        quotes.open_quote(tmp_path / "large")


def _believed(data: bytes) -> bool:
    """Whether a verifier who trusts the right root believes it; garbage may only raise HostError."""
    try:
        return verify(quotes.parse(data), Expectations(root=MANUFACTURER.root)).good
    except HostError:
        return False


def test_the_quote_that_is_mutated_below_is_believed() -> None:
    assert _believed(GOOD)


@settings(max_examples=300)
@given(st.binary(max_size=2000))
def test_garbage_is_not_believed(data: bytes) -> None:
    assert not _believed(data)


@settings(max_examples=300)
@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_a_quote_with_a_byte_changed_is_not_believed_unless_it_was_white_space(at: int, change: int) -> None:
    changed = GOOD[:at] + bytes([GOOD[at] ^ change]) + GOOD[at + 1 :]
    assert not _believed(changed) or _same_certificates(changed)


@settings(max_examples=200)
@given(st.data())
def test_a_quote_with_a_piece_moved_or_lost_is_not_believed(data: st.DataObject) -> None:
    start, end, to = sorted(data.draw(st.lists(st.integers(0, len(GOOD)), min_size=3, max_size=3)))
    changed = GOOD[:start] + data.draw(st.binary(max_size=40)) + GOOD[end:to] + GOOD[start:end] + GOOD[to:]
    assert changed == GOOD or not _believed(changed) or _same_certificates(changed)


def _same_certificates(changed: bytes) -> bool:
    """The change was to what is around the certificates, or to the root's own copy, which nobody looks at."""
    quote, good = quotes.parse(changed), quotes.parse(GOOD)
    return quote.signed == good.signed and quote.qe_report_raw == good.qe_report_raw


@settings(max_examples=300)
@given(st.integers(0, 1), st.integers(0, 600), st.binary(min_size=1, max_size=3))
def test_a_certificate_with_bytes_changed_is_not_believed(which: int, at: int, change: bytes) -> None:
    """Inside its DER, that is; PEM around it is right."""
    parts = Parts()
    ders = [c.public_bytes(Encoding.DER) for c in certificates(quotes.parse(GOOD))]
    at %= len(ders[which])
    changed = ders[which][:at] + change + ders[which][at + len(change) :]
    if changed == ders[which]:
        return
    ders[which] = changed
    parts.certification = b"".join(map(_pem, ders))
    assert not _believed(parts.make())


def _pem(der: bytes) -> bytes:
    return b"-----BEGIN CERTIFICATE-----\n" + base64.b64encode(der) + b"\n-----END CERTIFICATE-----\n"
