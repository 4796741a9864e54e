"""Where enclu and dcap-qvl come to different verdicts, and how to tell such a case.

Each has its row in docs/attestation.md, by its first column.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cryptography import x509

from enclu.host.attestation.chain import fingerprint
from enclu.host.attestation.pck import sgx_extension
from enclu.host.attestation.quote import parse
from enclu.host.attestation.verify import certificates
from tests.host.attestation.mutations import Case


@dataclass(frozen=True)
class Refusal:
    """enclu refuses, dcap-qvl does not: everything that enclu finds wrong is this."""

    row: str
    pattern: str

    def fits(self, findings: Sequence[str]) -> bool:
        return all(re.search(self.pattern, finding) for finding in findings)


@dataclass(frozen=True)
class Belief:
    """dcap-qvl refuses, or says another status, where enclu believes."""

    row: str
    fits: Callable[[Case], bool]


LABELS = "PEM blocks of something else"
COPIES = "damaged copies of certificates"
REFUSALS = [
    Refusal("bytes behind the quote", r"signature data length is \d+: \d+ bytes follow"),
    Refusal("a certificate that cannot be read, or is not as DER has it", r"CertificateError: .* not a readable"),
    Refusal("REPORTDATA of the QE after the hash", r"^attestation key: the QE's report is of another"),
    Refusal("PCE SVN below the certified", r"^PCE SVN: "),
    Refusal("number of authorities", r"^(.*, )?certificate chain: there must be \d authorities"),
    Refusal("purpose of the first certificate", r"^(.*, )?certificate chain: .* is no certificate for this purpose"),
    Refusal("keyUsage", r"^(.*, )?certificate chain: .* may not sign"),
    Refusal("extKeyUsage", r"^(.*, )?certificate chain: .* is for purposes of its own"),
    Refusal("critical extensions", r"^(.*, )?certificate chain: .* has a critical extension that is not known"),
    Refusal("the SGX extension's values", r"^TCB: .* SGX extension: "),
    Refusal("PCE ID", r"^TCB: the TCB info is of FMSPC .*, PCE ID "),
    Refusal("PCE ID", r"CollateralError: .* pceId is "),
    Refusal("TCB info's version", r"^TCB info: version is \d+, not 2 or 3"),
    Refusal("TCB info's tcbType", r"^TCB info: tcbType is "),
    Refusal("what is of TDX", r"^TCB info: tdxModule"),
    Refusal("times", r"CollateralError: .* (tcbDate|issueDate|nextUpdate) is "),
    Refusal("levels that were not reached", r"CollateralError: (TCB info: sgxtcbcomp|QE identity: tcbStatus)"),
    Refusal("the same level twice", r"^TCB info: tcbLevels has .* twice"),
    Refusal("order of the QE's levels", r"^QE identity: tcbLevels is not in order"),
    Refusal("bits outside the mask", r"^QE: (ATTRIBUTES|MISCSELECT) is not"),
    Refusal("a list of the future", r"^(.*, )?certificate chain: the CRL of .* is not of the time"),
    Refusal("cRLNumber and authorityKeyIdentifier", r"^(.*, )?certificate chain: the CRL of .* has no (cRL|auth)"),
]


def labels(case: Case) -> bool:
    """There is a PEM block of something else."""
    return re.search(rb"-----BEGIN (?!CERTIFICATE-----)", case.quote) is not None


def copies(case: Case) -> bool:
    """Two of its certificates are of the same key: which leads further is not tried."""
    keys = [fingerprint(certificate) for certificate in certificates(parse(case.quote))]
    return len(set(keys)) < len(keys)


def many(case: Case) -> bool:
    """Certificates, more than dcap-qvl takes."""
    return case.quote.count(b"-----BEGIN CERTIFICATE-----") > 5


def authentication(case: Case) -> bool:
    return case.quote[1012:1014] != (32).to_bytes(2, "little")


def second_version(case: Case) -> bool:
    fields = json.loads(case.tcb_info)
    return isinstance(fields, dict) and fields.get("version") == 2


def last_second(case: Case) -> bool:
    lists = map(x509.load_der_x509_crl, (case.root_crl, case.pck_crl))
    return any(crl.next_update_utc == case.at for crl in lists)


BELIEFS = [
    Belief(LABELS, labels),
    Belief("more than five certificates", many),
    Belief("QE authentication data of other than 32 bytes", authentication),
    Belief("TCB info of version 2", second_version),
    Belief("a list's last second", last_second),
]


def cpusvn(case: Case) -> bool:
    """The PCK certificate's CPUSVN is not made of its components."""
    tcb = sgx_extension(certificates(parse(case.quote))[0]).tcb
    return bytes(tcb.components) != tcb.cpusvn


def configuration(case: Case) -> bool:
    levels = json.loads(case.qe_identity)["tcbLevels"]
    return any("Configuration" in level["tcbStatus"] for level in levels)


STATUSES = [
    Belief("SVNs of the platform", cpusvn),
    Belief("TCB info of version 2", second_version),
    Belief("the QE's ConfigurationNeeded", configuration),
]


def refusal(case: Case, findings: Sequence[str]) -> str | None:
    """Why enclu alone refuses."""
    if labels(case):
        return LABELS
    if any("was not issued by the root nor by another" in finding for finding in findings) and copies(case):
        return COPIES
    return next((known.row for known in REFUSALS if known.fits(findings)), None)


def belief(case: Case, known: Sequence[Belief]) -> str | None:
    """Why enclu alone believes, or says another status."""
    return next((one.row for one in known if one.fits(case)), None)


def rows() -> set[str]:
    return {one.row for one in REFUSALS} | {one.row for one in (*BELIEFS, *STATUSES)} | {LABELS, COPIES}
