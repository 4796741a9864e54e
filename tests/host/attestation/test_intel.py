"""What is Intel's: real quotes, and the certification enclave.  Not ours to give away: ENCLU_CORPUS has them."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

import enclu
from enclu.host.attestation.chain import fingerprint
from enclu.host.attestation.expectations import Expectations
from enclu.host.attestation.pce import IntelPce
from enclu.host.attestation.quote import CertificationType, Quote, QuoteError, open_quote
from enclu.host.attestation.verify import INTEL_ROOT, Verdict, certificates, verify
from tests.host.attestation.test_local import MAKE_REPORT

VENDOR = "939a7233-f79c-4ca9-940a-0db3957f0607"


@pytest.fixture(scope="session")
def quotes(corpus: Path) -> list[Quote]:
    """All in the corpus that have their certificates."""
    found = []
    for path in sorted(corpus.rglob("*quote*.bin")):
        try:
            quote = open_quote(path)
        except QuoteError:
            continue
        if quote.certification_type is CertificationType.PCK_CHAIN:
            found.append(quote)
    if not found:
        pytest.skip("ENCLU_CORPUS has no quote with certificates")
    return found


def judged(quote: Quote) -> Verdict:
    """By the root in its own chain, which must be Intel's, when its certificate was new."""
    chain = certificates(quote)
    [root] = [c for c in chain if fingerprint(c) == INTEL_ROOT]
    at = chain[0].not_valid_before_utc + datetime.timedelta(1)
    return verify(quote, Expectations(root=root, at=at, allow_debug=True))


def test_real_quotes_verify_by_intel_s_root(quotes: list[Quote]) -> None:
    genuine = [quote for quote in quotes if "corrupted" not in quote.name]
    assert genuine
    for quote in genuine:
        assert str(quote.vendor) == VENDOR
        judged(quote).require()


def test_real_quotes_are_not_believed_without_a_root(quotes: list[Quote]) -> None:
    for quote in quotes:
        assert not verify(quote, Expectations(allow_debug=True)).good


def test_a_real_quote_with_a_byte_changed_is_not_believed(quotes: list[Quote]) -> None:
    quote = next(quote for quote in quotes if "corrupted" not in quote.name)
    for at in (20, 100, 400, 440, 520, 600, 960):
        changed = bytearray(quote.raw)
        changed[at] ^= 1
        assert not judged(enclu.attestation.parse(bytes(changed))).good, at


def test_intel_s_pce_certifies_our_quoting_enclave_with_the_key_that_the_manufacturer_derives(
    machine: enclu.Machine, corpus: Path, app: Path
) -> None:
    image = next(corpus.rglob("libsgx_pce.signed.so*"), None)
    if image is None:
        pytest.skip("ENCLU_CORPUS has no libsgx_pce.signed.so")
    process = machine.process()
    platform = enclu.attestation.Platform(process, pce=enclu.open_image(image))
    made = enclu.attestation.quote(process.load(app), b"certified", by=MAKE_REPORT, platform=platform)
    enclu.attestation.verify(made, root=enclu.attestation.root(machine), report_data=b"certified").require()


def test_intel_s_pce_certifies_no_enclave_without_the_provisioning_key(
    machine: enclu.Machine, corpus: Path, app: Path
) -> None:
    image = next(corpus.rglob("libsgx_pce.signed.so*"), None)
    if image is None:
        pytest.skip("ENCLU_CORPUS has no libsgx_pce.signed.so")
    process = machine.process()
    pce = IntelPce(process.load(enclu.open_image(image)))
    report = enclu.attestation.report(process.load(app), pce.info().target, by=MAKE_REPORT)
    with pytest.raises(enclu.attestation.AttestationError, match="PCE_INVALID_PRIVILEGE"):
        pce.certify(report, report[:16], pce.info().svn)
