"""enclu's verdicts and those of dcap-qvl, another's library, on quotes and statements with something changed.

Both are to say the same, but for differences that docs/attestation.md explains (explained.py).
"""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Callable

import dcap_qvl
import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from enclu.host.attestation import collateral
from enclu.host.attestation.chain import load_certificates
from enclu.host.attestation.expectations import Expectations
from enclu.host.attestation.manufacturer import pem
from enclu.host.attestation.quote import parse
from enclu.host.attestation.revocation import load_crl
from enclu.host.attestation.verify import verify
from enclu.host.errors import HostError
from tests.host.attestation import explained
from tests.host.attestation.mutations import CA, KINDS, ROOT, Case, genuine
from tests.support import runs

SEVERITY = [
    "UpToDate", "SWHardeningNeeded", "ConfigurationNeeded", "ConfigurationAndSWHardeningNeeded", "OutOfDate",
    "OutOfDateConfigurationNeeded", "Revoked",
]  # fmt: skip
ROOT_DER = ROOT.public_bytes(Encoding.DER)
ISSUERS = pem(CA, ROOT).decode()
AT_A_TIME = 300


def ours(case: Case) -> tuple[list[str], str]:
    """What is wrong or could not be looked at, and the worse of both statuses."""
    try:
        expected = Expectations(
            root=ROOT,
            at=case.at,
            crls=[load_crl(case.root_crl, "root CRL"), load_crl(case.pck_crl, "PCK CRL")],
            tcb_info=collateral.parse_tcb_info(_file("tcbInfo", case.tcb_info, case.tcb_info_signature)),
            qe_identity=collateral.parse_qe_identity(
                _file("enclaveIdentity", case.qe_identity, case.qe_identity_signature)
            ),
            signing_chain=load_certificates(case.signing_chain, "signing chain"),
            accepted_tcb=collateral.STATUSES - {"Revoked"},
        )
        checks = verify(parse(case.quote), expected).checks
    except HostError as error:
        return [f"{type(error).__name__}: {error}"], ""
    findings = [f"{check.name}: {check.text}" for check in checks if check.good is not True]
    return findings, "" if findings else max(
        (check.text for check in checks if check.name in ("TCB", "QE")), key=SEVERITY.index
    )


def _file(kind: str, statement: bytes, signature: bytes) -> bytes:
    return b'{"%s":%s,"signature":"%s"}' % (kind.encode(), statement, signature.hex().encode())


def theirs(case: Case) -> tuple[str, str]:
    """What is wrong, and the status."""
    try:
        chain = case.signing_chain.decode(errors="replace")  # outside the certificates it does not matter
        found = dcap_qvl.QuoteCollateralV3(
            pck_crl_issuer_chain=ISSUERS, root_ca_crl=case.root_crl, pck_crl=case.pck_crl, tcb_info_issuer_chain=chain,
            tcb_info=case.tcb_info.decode(), tcb_info_signature=case.tcb_info_signature, qe_identity_issuer_chain=chain,
            qe_identity=case.qe_identity.decode(), qe_identity_signature=case.qe_identity_signature,
        )  # fmt: skip
        return "", dcap_qvl.verify_with_root_ca(case.quote, found, ROOT_DER, int(case.at.timestamp())).status
    except ValueError as error:  # of UTF-8, too, which its strings must be of
        return f"refused: {error}", ""


def explanation(case: Case) -> tuple[str | None, str]:
    """Why they differ, "" if they do not, or None; and what each has said."""
    findings, status = ours(case)
    wrong, their_status = theirs(case)
    said = f"enclu: {findings or status}; dcap-qvl: {wrong or their_status}"
    if findings and not wrong:
        return explained.refusal(case, findings), said
    if wrong and not findings:
        return explained.belief(case, explained.BELIEFS), said
    return ("" if status == their_status else explained.belief(case, explained.STATUSES)), said


@functools.cache
def batches() -> list[tuple[Callable[[random.Random], Case], range]]:
    """Some for each of the processors that the tests may run on."""
    return [
        (kind, range(first, min(first + AT_A_TIME, count)))
        for kind, count in KINDS.items()
        for first in range(0, count, AT_A_TIME)
    ]


@pytest.mark.parametrize(("kind", "seeds"), batches(), ids=[f"{k.__name__}-{seeds.start}" for k, seeds in batches()])
def test_every_difference_between_verdicts_is_explained(kind: Callable[[random.Random], Case], seeds: range) -> None:
    unexplained = []
    for seed in seeds:
        why, said = explanation(kind(random.Random(f"{kind.__name__} {seed}")))
        if why is None:
            unexplained.append(f"{seed}: {said}")
    assert not unexplained


def test_there_are_ten_thousand_mutations_at_least() -> None:
    assert sum(len(seeds) for _, seeds in batches()) >= 10_000


def test_both_believe_what_was_not_changed() -> None:
    assert ours(genuine()) == ([], "UpToDate")
    assert theirs(genuine()) == ("", "UpToDate")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_each_kind_of_mutation_makes_what_is_believed_and_what_is_not(kind: Callable[[random.Random], Case]) -> None:
    verdicts = {not ours(kind(random.Random(f"{kind.__name__} {seed}")))[0] for seed in range(400)}
    assert verdicts == {True, False}


def test_the_page_explains_the_differences_and_no_others() -> None:
    page = (runs.ROOT / "docs" / "attestation.md").read_text()
    table = page.partition("| what differs |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| ([^|]+?) \|", table, re.MULTILINE)) - {"---"} == explained.rows()
