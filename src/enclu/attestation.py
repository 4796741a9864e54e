"""Attestation, for users: `enclu.attestation`.  docs/attestation.md tells how it goes.

quote = enclu.attestation.quote(enclave, b"what it says", by=REPORT_FUNCTION)
enclu.attestation.verify(quote, root=enclu.attestation.root(machine)).require()
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from cryptography import x509

from enclu.host.attestation.chain import load_certificates
from enclu.host.attestation.collateral import parse_qe_identity, parse_tcb_info
from enclu.host.attestation.expectations import ExpectationError, Expectations, aware
from enclu.host.attestation.identity import report_is_genuine, target_info
from enclu.host.attestation.manufacturer import Manufacturer
from enclu.host.attestation.pce import AttestationError
from enclu.host.attestation.platform import (
    QE_IDENTITY_FILE,
    SIGNING_CHAIN_FILE,
    TCB_INFO_FILE,
    Platform,
    collateral_files,
)
from enclu.host.attestation.quote import Quote, QuoteError, open_quote, parse
from enclu.host.attestation.verify import Verdict, VerificationError
from enclu.host.attestation.verify import verify as verify_quote
from enclu.host.errors import HostError
from enclu.sgx.layout import Structure
from enclu.sgx.structs import REPORT, TARGETINFO

if TYPE_CHECKING:
    from enclu.host.enclave import Enclave
    from enclu.host.keys import MachineKeys

__all__ = [
    "AttestationError", "ExpectationError", "Expectations", "HostError", "Platform", "Quote", "QuoteError", "Verdict",
    "VerificationError", "collateral", "expectations_of", "load_certificates", "open_quote", "parse", "quote", "report",
    "report_is_genuine", "root", "target_info", "verify",
]  # fmt: skip

REPORT_DATA = REPORT.width("REPORTDATA")
REPORT_REQUEST = Structure(
    "report_request", 1008,
    (0, "target", f"{TARGETINFO.size}s"), (512, "data", f"{REPORT_DATA}s"), (576, "report", f"{REPORT.size}s"),
)  # fmt: skip
"""struct report_request of enclave/attestation.h."""


def report(enclave: Enclave, target: bytes | Enclave, data: bytes = b"", *, by: Any) -> bytes:
    """A REPORT by an enclave in C: `by` is its ECALL that answers a struct report_request.

    `target` is whom it is for, an enclave or a TARGETINFO; `data` is what the enclave is asked to put into REPORTDATA.
    Raises AttestationError.
    """
    where = target if isinstance(target, bytes) else target_info(target)
    if len(where) != TARGETINFO.size:
        raise AttestationError(f"the target's TARGETINFO has {len(where)} bytes, not {TARGETINFO.size}")
    if len(data) > REPORT_DATA:
        raise AttestationError(f"{len(data)} bytes of report data; a REPORT has {REPORT_DATA}: give it a hash of them")
    request = bytearray(REPORT_REQUEST.pack(target=where, data=data))
    enclave.ecall(by, request)
    made = bytes(REPORT_REQUEST.get(request, "report"))
    if made == bytes(REPORT.size):
        raise AttestationError(f"{enclave.image.path}: its function {by} makes no report")
    return made


def quote(
    enclave: Enclave, data: bytes = b"", *, by: int | Callable[[bytes, bytes], bytes], platform: Platform | None = None
) -> bytes:
    """A quote of the enclave.  Raises AttestationError.

    `by` says how to get its REPORT: the number of its ECALL that answers a struct report_request, or a function that is
    called with the quoting enclave's TARGETINFO and 64 bytes of data and returns a REPORT.  `platform` is for another
    QE or PCE than enclu's own.
    """
    quoting = platform or Platform.of(enclave.process)
    target = quoting.target_info()
    if callable(by):
        return quoting.quote(by(target, data.ljust(REPORT_DATA, b"\0")))
    return quoting.quote(report(enclave, target, data, by=by))


def root(machine: MachineKeys | str) -> x509.Certificate:
    """The certificate of the machine's root authority, which its quotes can be verified by.

    A name stands for a named machine.  Raises HostError.
    """
    return _manufacturer(machine).root


def collateral(machine: MachineKeys | str, at: datetime.datetime | None = None) -> dict[str, Any]:
    """TCB info and QE identity of the machine, and who signs them: more for `verify` to judge its quotes by.

    Raises HostError.
    """
    at = datetime.datetime.now(datetime.UTC) if at is None else aware(at, "at")
    files = collateral_files(_manufacturer(machine), at)
    return expectations_of(files)


def expectations_of(files: Mapping[str, bytes]) -> dict[str, Any]:
    """Fields of `Expectations` from files of collateral, by name; any may be missing.  Raises HostError."""
    found: dict[str, Any] = {}
    if TCB_INFO_FILE in files:
        found["tcb_info"] = parse_tcb_info(files[TCB_INFO_FILE], TCB_INFO_FILE)
    if QE_IDENTITY_FILE in files:
        found["qe_identity"] = parse_qe_identity(files[QE_IDENTITY_FILE], QE_IDENTITY_FILE)
    if SIGNING_CHAIN_FILE in files:
        name = SIGNING_CHAIN_FILE
        found["signing_chain"] = load_certificates(files[name], name)
    return found


def verify(quote: bytes | Quote, **expected: Any) -> Verdict:
    """All checks of a quote; `Verdict.require` raises VerificationError unless all are good.

    What is expected are the fields of `Expectations`, `root` above all.  Raises HostError for what cannot be read.
    """
    known = {f.name for f in dataclasses.fields(Expectations)}
    for name in expected:
        if name not in known:
            raise TypeError(f"verify() has no {name!r}; it has {', '.join(sorted(known))}")
    return verify_quote(quote if isinstance(quote, Quote) else parse(quote), Expectations(**expected))


def _manufacturer(machine: MachineKeys | str) -> Manufacturer:
    from enclu.host.keys import MachineKeys

    return Manufacturer((MachineKeys(machine) if isinstance(machine, str) else machine).secret)
