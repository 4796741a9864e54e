"""What the verifier of a quote trusts and wants."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography import x509

from enclu.host.attestation.collateral import STATUSES, UP_TO_DATE, QeIdentity, TcbInfo
from enclu.host.errors import HostError

HASH_SIZE = 32
REPORT_DATA_SIZE = 64


class ExpectationError(HostError, ValueError):
    """Something that is expected is not of the kind that it must be: nothing was verified."""


@dataclass(frozen=True)
class Expectations:
    """What the verifier trusts and wants.  Raises ExpectationError."""

    root: x509.Certificate | None = None
    """The root of trust.  There is none by default: whoever verifies says whom to trust."""
    at: datetime.datetime | None = None
    """When, with its time zone; now by default."""
    crls: Sequence[x509.CertificateRevocationList] = ()
    tcb_info: TcbInfo | None = None
    qe_identity: QeIdentity | None = None
    signing_chain: Sequence[x509.Certificate] = ()
    """Of who signs the collateral, up to below the root."""
    accepted_tcb: frozenset[str] = frozenset({UP_TO_DATE})
    mrenclave: bytes | None = None
    mrsigner: bytes | None = None
    isvprodid: int | None = None
    min_isvsvn: int = 0
    report_data: bytes | None = None
    """REPORTDATA, 64 bytes, or its first bytes followed by zeros."""
    allow_debug: bool = False

    def __post_init__(self) -> None:
        for name, kind in (("root", x509.Certificate), ("tcb_info", TcbInfo), ("qe_identity", QeIdentity)):
            value = getattr(self, name)
            if value is not None and not isinstance(value, kind):
                raise _error(name, value, f"it must be a {kind.__name__}")
        if self.at is not None:
            aware(self.at, "at")
        # Each is looked at more than once: an iterator would be empty the second time, and a string is one of letters.
        self._keep("crls", _each("crls", self.crls, x509.CertificateRevocationList))
        self._keep("signing_chain", _each("signing_chain", self.signing_chain, x509.Certificate))
        self._keep("accepted_tcb", frozenset(_each("accepted_tcb", self.accepted_tcb, str)))
        for status in sorted(self.accepted_tcb - STATUSES):
            raise _error("accepted_tcb", status, f"it must be one of {', '.join(sorted(STATUSES))}")
        for name in ("mrenclave", "mrsigner"):
            _check_bytes(name, getattr(self, name), HASH_SIZE, HASH_SIZE)
        _check_bytes("report_data", self.report_data, 0, REPORT_DATA_SIZE)

    def _keep(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)


def aware(at: datetime.datetime, name: str) -> datetime.datetime:
    """A time that says where, or else it would be one's own clock's here and UTC there.  Raises ExpectationError."""
    if not isinstance(at, datetime.datetime):
        raise _error(name, at, "it must be a datetime")
    if at.utcoffset() is None:
        raise _error(name, at, "it has no time zone; write for example datetime.now(datetime.UTC)")
    return at


def _each(name: str, values: Iterable[Any], kind: type) -> tuple[Any, ...]:
    wrong = f"it must be several of {kind.__name__}: write [...]"
    if isinstance(values, (str, bytes, kind)) or not isinstance(values, Iterable):
        raise _error(name, values, wrong)
    found = tuple(values)
    for value in found:
        if not isinstance(value, kind):
            raise _error(name, value, wrong)
    return found


def _check_bytes(name: str, value: object, least: int, most: int) -> None:
    if value is None:
        return
    if not isinstance(value, (bytes, bytearray)):
        raise _error(name, value, "it must be bytes")
    if not least <= len(value) <= most:
        raise _error(name, bytes(value).hex(), f"it has {len(value)} bytes; {most} are needed")


def _error(name: str, value: object, wrong: str) -> ExpectationError:
    plain = isinstance(value, (str, datetime.date))
    return ExpectationError(f"{name} is {str(value)[:80] if plain else f'a {type(value).__name__}'}: {wrong}")
