"""A quote, version 3 with ECDSA P-256.  Intel SGX DCAP ECDSA Quoting Library API, appendix A.

header, report body, size of the rest, signature data:
quote signature, attestation key, report body of the QE, its signature, QE authentication data, certification data
"""

from __future__ import annotations

import enum
import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from enclu.base import files
from enclu.host.errors import HostError
from enclu.sgx.layout import Structure
from enclu.sgx.structs import REPORT, REPORT_MACED, Attribute

VERSION = 3
ECDSA_P256 = 2
HEADER = Structure(
    "quote header", 48,
    (0, "VERSION", "H"), (2, "ATT_KEY_TYPE", "H"), (4, "TEE_TYPE", "I"), (8, "QE_SVN", "H"), (10, "PCE_SVN", "H"),
    (12, "QE_VENDOR_ID", "16s"), (28, "USER_DATA", "20s"),
)  # fmt: skip
REPORT_BODY = Structure("report body", REPORT_MACED, *(f for f in REPORT.fields if f[0] < REPORT_MACED))
SIGNATURES = Structure(
    "signature data", 576,
    (0, "SIGNATURE", "64s"), (64, "ATTESTATION_KEY", "64s"), (128, "QE_REPORT", "384s"),
    (512, "QE_REPORT_SIGNATURE", "64s"),
)  # fmt: skip
SIGNED = HEADER.size + REPORT_BODY.size
"""Bytes that the quote's signature covers."""
MAX_SIZE = 1 << 20
INTEL = uuid.UUID("939a7233-f79c-4ca9-940a-0db3957f0607")
ENCLU = uuid.UUID("718f3ad7-27c5-45e2-b41e-02056a805682")
VENDORS = {INTEL: "Intel", ENCLU: "enclu: software, nothing is protected"}
"""Whose quoting enclave it was, by its own words."""


class QuoteError(HostError):
    """The quote is damaged or of a kind that is not known: its name, the field, the value."""


class CertificationType(enum.IntEnum):
    """How the certification data says which PCK has signed the QE's report."""

    PPID = 1
    PPID_RSA2048 = 2
    PPID_RSA3072 = 3
    PCK_CERTIFICATE = 4
    PCK_CHAIN = 5


@dataclass(frozen=True)
class Quote:
    """A quote's parts.  `header`, `report` and `qe_report` are fields by their SDM names."""

    name: str
    raw: bytes
    header: dict[str, Any]
    report: dict[str, Any]
    qe_report: dict[str, Any]
    signature: bytes
    attestation_key: bytes
    qe_report_raw: bytes
    qe_report_signature: bytes
    authentication_data: bytes
    certification_type: CertificationType
    certification_data: bytes

    @property
    def signed(self) -> bytes:
        """What `signature` is of."""
        return self.raw[:SIGNED]

    @property
    def vendor(self) -> uuid.UUID:
        return uuid.UUID(bytes=self.header["QE_VENDOR_ID"])

    def error(self, field: str, value: object, wrong: str) -> QuoteError:
        return _error(self.name, field, value, wrong)


def open_quote(path: str | os.PathLike[str]) -> Quote:
    """The quote in a file.  Raises QuoteError."""
    path = Path(path)
    try:
        data = files.read_named(path, MAX_SIZE)
    except files.TooLarge:
        raise _error(str(path), "size", f"more than {MAX_SIZE}", "no quote is so large") from None
    except OSError as error:
        raise QuoteError(f"{path}: {error.strerror}") from None
    return parse(data, str(path))


def parse(data: bytes, name: str = "quote") -> Quote:
    """The quote's parts; nothing is verified.  Raises QuoteError, which calls the quote `name`."""
    if len(data) > MAX_SIZE:
        raise _error(name, "size", f"more than {MAX_SIZE}", "no quote is so large")
    cursor = _Cursor(name, bytes(data))
    header = HEADER.unpack(cursor.take(HEADER.size, "header"))
    if header["VERSION"] != VERSION:
        raise _error(name, "VERSION", header["VERSION"], f"only version {VERSION} is known")
    if header["ATT_KEY_TYPE"] != ECDSA_P256:
        raise _error(name, "ATT_KEY_TYPE", header["ATT_KEY_TYPE"], f"only {ECDSA_P256}, ECDSA with P-256, is known")
    if header["TEE_TYPE"]:
        raise _error(name, "TEE_TYPE", header["TEE_TYPE"], "0 stands for SGX; others are not known")
    report = REPORT_BODY.unpack(cursor.take(REPORT_BODY.size, "report body"))
    size = cursor.number(4, "signature data length")
    if size != len(data) - cursor.at:
        raise _error(name, "signature data length", size, f"{len(data) - cursor.at} bytes follow")
    signatures = SIGNATURES.unpack(cursor.take(SIGNATURES.size, "signature data"))
    authentication = cursor.take(cursor.number(2, "QE authentication data size"), "QE authentication data")
    kind = cursor.number(2, "certification data type")
    certification = cursor.take(cursor.number(4, "certification data size"), "certification data")
    if cursor.at != len(data):
        raise _error(name, "certification data size", len(certification), f"{len(data) - cursor.at} bytes too few")
    if kind not in tuple(CertificationType):
        raise _error(name, "certification data type", kind, "not one of 1 to 5")
    return Quote(
        name, bytes(data), header, report, REPORT_BODY.unpack(signatures["QE_REPORT"]), signatures["SIGNATURE"],
        signatures["ATTESTATION_KEY"], signatures["QE_REPORT"], signatures["QE_REPORT_SIGNATURE"], authentication,
        CertificationType(kind), certification,
    )  # fmt: skip


def describe(quote: Quote) -> str:
    """A page for people; nothing in it is verified."""
    header, lines = quote.header, []
    vendor = VENDORS.get(quote.vendor, "unknown")
    lines.append(f"quote version {header['VERSION']}, ECDSA P-256, {len(quote.raw)} bytes")
    lines.append(f"  {'QE vendor':16} {quote.vendor} ({vendor})")
    lines.append(f"  {'QE, PCE SVN':16} {header['QE_SVN']}, {header['PCE_SVN']}")
    lines.append(f"  {'user data':16} {header['USER_DATA'].hex()}")
    for title, report in (("the enclave", quote.report), ("the quoting enclave", quote.qe_report)):
        lines.append(f"{title}:")
        lines.extend(f"  {field:16} {shown}" for field, shown in describe_report(report))
    lines.append("certification:")
    lines.append(f"  {'authentication':16} {quote.authentication_data.hex()}")
    kind = quote.certification_type
    lines.append(f"  {'data':16} type {kind.value} ({kind.name}), {len(quote.certification_data)} bytes")
    return "\n".join(lines)


def describe_report(report: dict[str, Any]) -> list[tuple[str, str]]:
    """Field and value of all that is not zero, and of what always matters."""
    always = ("MRENCLAVE", "MRSIGNER", "ISVPRODID", "ISVSVN", "REPORTDATA")
    shown = []
    for field, value in report.items():
        if field == "ATTRIBUTES":
            names = [flag.name for flag in Attribute if flag.name and value & flag]
            shown.append((field, f"{value:#x} {' '.join(names)}"))
        elif field in always or (any(value) if isinstance(value, bytes) else value):
            shown.append((field, value.hex() if isinstance(value, bytes) else hex(value)))
    return shown


def as_json(quote: Quote) -> dict[str, Any]:
    """The same for programs; bytes as hexadecimal digits."""

    def plain(fields: dict[str, Any]) -> dict[str, Any]:
        return {k.lower(): v.hex() if isinstance(v, bytes) else v for k, v in fields.items()}

    return {
        "header": plain(quote.header), "report": plain(quote.report), "qe_report": plain(quote.qe_report),
        "attestation_key": quote.attestation_key.hex(), "authentication_data": quote.authentication_data.hex(),
        "certification_type": quote.certification_type.value,
        "certification_data": quote.certification_data.decode("latin-1")
        if quote.certification_type is CertificationType.PCK_CHAIN else quote.certification_data.hex(),
    }  # fmt: skip


def _error(name: str, field: str, value: object, wrong: str) -> QuoteError:
    return QuoteError(f"{name}: {field} is {value}: {wrong}")


class _Cursor:
    """Takes parts in order."""

    def __init__(self, name: str, data: bytes) -> None:
        self.name, self.data, self.at = name, data, 0

    def take(self, size: int, field: str) -> bytes:
        part = self.data[self.at : self.at + size]
        if len(part) < size:
            raise _error(self.name, f"size of the {field}", size, f"the quote ends {size - len(part)} bytes earlier")
        self.at += size
        return part

    def number(self, size: int, field: str) -> int:
        return int.from_bytes(self.take(size, field), "little")
