"""TCB info and QE identity: signed statements of the manufacturer about what is up to date.

Intel SGX Provisioning Certification Service API, version 4; where that leaves something open, as Intel's
SGX-TDX-DCAP-QuoteVerificationLibrary has it (TcbInfo.cpp, EnclaveIdentityV2.cpp, EnclaveReportVerifier.cpp).

A file has {"tcbInfo": {...}, "signature": "..."}, or "enclaveIdentity"; the signature is of the statement's very bytes.
"""

from __future__ import annotations

import datetime
import itertools
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from enclu.base import files
from enclu.host.attestation.pck import COMPONENTS, SgxExtension, Tcb
from enclu.host.errors import HostError

MAX_SIZE = 1 << 20
TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
UP_TO_DATE = "UpToDate"
STATUSES = frozenset({
    UP_TO_DATE, "SWHardeningNeeded", "ConfigurationNeeded", "ConfigurationAndSWHardeningNeeded", "OutOfDate",
    "OutOfDateConfigurationNeeded", "Revoked",
})  # fmt: skip
QE_STATUSES = STATUSES - {"SWHardeningNeeded", "ConfigurationAndSWHardeningNeeded"}
"""What is said of platforms, and of quoting enclaves."""
UNKNOWN = "not among the TCB levels"


class CollateralError(HostError):
    """A statement is damaged: its name, the field, the value."""


@dataclass(frozen=True)
class Level:
    """A TCB level: everything that is at least this has this status, unless a higher level says otherwise."""

    status: str
    isvsvn: int = 0
    components: tuple[int, ...] = ()
    pcesvn: int = 0


@dataclass(frozen=True)
class Statement:
    """What they have in common."""

    name: str
    signed: bytes
    signature: bytes
    issued: datetime.datetime
    next_update: datetime.datetime
    levels: tuple[Level, ...]
    fields: dict[str, Any]
    unfit: str | None
    """Why no quote can be judged by it, whoever has signed it: it is not about SGX, or contradicts itself."""

    def is_signed_by(self, key: object) -> bool:
        """The signature is that of this public key."""
        return verify_p256(key, self.signature, self.signed)


class TcbInfo(Statement):
    """For one kind of platform."""

    KIND = "tcbInfo"

    def concerns(self, platform: SgxExtension) -> bool:
        """It is about this kind of platform."""
        return (self.fields["fmspc"], self.fields["pceId"]) == (platform.fmspc, platform.pceid)

    def status(self, tcb: Tcb) -> str:
        """Of a platform's TCB."""
        for level in self.levels:
            if tcb.pcesvn >= level.pcesvn and all(
                have >= need for have, need in zip(tcb.components, level.components, strict=True)
            ):
                return level.status
        return UNKNOWN


class QeIdentity(Statement):
    """Which enclaves are the manufacturer's quoting enclaves."""

    KIND = "enclaveIdentity"

    def mismatch(self, report: dict[str, Any]) -> str | None:
        """The first field in which the report is not such an enclave's.

        Values are what is left of a report's under the mask: one with other bits fits no enclave.
        """
        f = self.fields
        attributes = report["ATTRIBUTES"].to_bytes(8, "little") + report["XFRM"].to_bytes(8, "little")
        if report["MRSIGNER"] != f["mrsigner"]:
            return "MRSIGNER"
        if report["ISVPRODID"] != f["isvprodid"]:
            return "ISVPRODID"
        if report["MISCSELECT"] & f["miscselectMask"] != f["miscselect"]:
            return "MISCSELECT"
        masked = bytes(a & m for a, m in zip(attributes, f["attributesMask"], strict=True))
        return None if masked == f["attributes"] else "ATTRIBUTES"

    def status(self, isvsvn: int) -> str:
        """Of a quoting enclave's version."""
        return next((level.status for level in self.levels if isvsvn >= level.isvsvn), UNKNOWN)


def parse_tcb_info(data: bytes, name: str = "TCB info") -> TcbInfo:
    """Raises CollateralError; the signature is not verified."""
    take = _Fields(name, data, TcbInfo.KIND)
    fields = {"fmspc": take.octets("fmspc", 6), "pceId": take.octets("pceId", 2)}
    version = take.number("version")
    # The order in the file says nothing: of the levels that a platform reaches, the highest tells its status.
    levels = sorted((_tcb_level(level, version) for level in take.levels()), key=_rank, reverse=True)
    twice = next((one for one, other in itertools.pairwise(levels) if _rank(one) == _rank(other)), None)
    take.number("tcbEvaluationDataNumber")
    return TcbInfo(
        name, take.signed, take.signature, take.time("issueDate"), take.time("nextUpdate"), tuple(levels), fields,
        take.other_than("version", 2, 3)
        or (take.other_than("id", "SGX") if version > 2 or "id" in take.values else None)
        or take.other_than("tcbType", 0)
        or next((f"{f} is there: it is of TDX" for f in ("tdxModule", "tdxModuleIdentities") if f in take.values), None)
        or (f"tcbLevels has {twice.components}, {twice.pcesvn} twice" if twice else None),
    )  # fmt: skip


def _rank(level: Level) -> tuple[tuple[int, ...], int]:
    return level.components, level.pcesvn


def parse_qe_identity(data: bytes, name: str = "QE identity") -> QeIdentity:
    """Raises CollateralError; the signature is not verified."""
    take = _Fields(name, data, QeIdentity.KIND)
    fields = {
        "mrsigner": take.octets("mrsigner", 32), "isvprodid": take.number("isvprodid", 16),
        "miscselect": int.from_bytes(take.octets("miscselect", 4), "little"),
        "miscselectMask": int.from_bytes(take.octets("miscselectMask", 4), "little"),
        "attributes": take.octets("attributes", 16), "attributesMask": take.octets("attributesMask", 16),
    }  # fmt: skip
    levels = tuple(Level(level.status(QE_STATUSES), level.part("tcb").number("isvsvn", 16)) for level in take.levels())
    order = [level.isvsvn for level in levels]
    take.number("tcbEvaluationDataNumber")
    return QeIdentity(
        name, take.signed, take.signature, take.time("issueDate"), take.time("nextUpdate"), levels, fields,
        take.other_than("version", 2)
        or take.other_than("id", "QE")
        or ("tcbLevels is not in order, highest first" if order != sorted(set(order), reverse=True) else None),
    )  # fmt: skip


def read(path: str | os.PathLike[str]) -> bytes:
    """A file's content.  Raises CollateralError."""
    path = Path(path)
    try:
        return files.read_named(path, MAX_SIZE)
    except files.TooLarge:
        raise CollateralError(f"{path}: size is more than {MAX_SIZE}: no collateral is so large") from None
    except OSError as error:
        raise CollateralError(f"{path}: {error.strerror}") from None


def sign(kind: str, fields: dict[str, Any], key: ec.EllipticCurvePrivateKey) -> bytes:
    """A file with a statement."""
    body = json.dumps(fields, separators=(",", ":")).encode()
    r, s = decode_dss_signature(key.sign(body, ec.ECDSA(hashes.SHA256())))
    signature = (r.to_bytes(32, "big") + s.to_bytes(32, "big")).hex()
    return b'{"%s":%s,"signature":"%s"}' % (kind.encode(), body, signature.encode())


def verify_p256(key: object, signature: bytes, message: bytes) -> bool:
    """An ECDSA signature with P-256 and SHA-256: R, then S, big-endian."""
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        return False
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    try:
        key.verify(encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def _tcb_level(level: _Part, version: int) -> Level:
    tcb = level.part("tcb")
    if version == 2:
        components = tuple(tcb.number(f"sgxtcbcomp{i:02}svn", 8) for i in range(1, COMPONENTS + 1))
    else:
        components = tuple(part.number("svn", 8) for part in tcb.parts("sgxtcbcomponents"))
    if len(components) != COMPONENTS:
        raise level.error("sgxtcbcomponents", f"{len(components)} of them", f"there are {COMPONENTS}")
    return Level(level.status(STATUSES), components=components, pcesvn=tcb.number("pcesvn", 16))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Whoever reads an object with the same key twice chooses which it believes.  Raises ValueError."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"{key!r} is there twice")
        found[key] = value
    return found


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)


class _Part:
    """A JSON object, with errors that name its fields."""

    def __init__(self, name: str, values: dict[str, Any]) -> None:
        self.name, self.values = name, values

    def error(self, field: str, value: object, wrong: str) -> CollateralError:
        return CollateralError(f"{self.name}: {field} is {str(value)[:80]}: {wrong}")

    def take(self, field: str, good: Callable[[Any], bool], wrong: str) -> Any:
        value = self.values.get(field)
        if not good(value):
            raise self.error(field, value, wrong)
        return value

    def text(self, field: str) -> str:
        return str(self.take(field, lambda v: isinstance(v, str), "it must be a string"))

    def number(self, field: str, bits: int = 32) -> int:
        wrong = f"it must be a number of {bits} bits"
        return int(self.take(field, lambda v: type(v) is int and 0 <= v < 1 << bits, wrong))

    def other_than(self, field: str, *known: object) -> str | None:
        """What is wrong, if the field's value is none of these."""
        value = self.values.get(field)
        if any(type(value) is type(one) and value == one for one in known):
            return None
        return f"{field} is {str(value)[:80]}, not {' or '.join(map(str, known))}"

    def octets(self, field: str, size: int) -> bytes:
        digits = re.compile(f"[0-9a-fA-F]{{{2 * size}}}")
        wrong = f"it must be {size} bytes as hexadecimal digits"
        return bytes.fromhex(self.take(field, lambda v: isinstance(v, str) and bool(digits.fullmatch(v)), wrong))

    def time(self, field: str) -> datetime.datetime:
        text = self.text(field)
        try:
            if not TIME.fullmatch(text):
                raise ValueError
            return datetime.datetime.fromisoformat(text)
        except ValueError:
            raise self.error(field, text, "it must be a time like 2020-05-18T17:49:24Z") from None

    def status(self, known: frozenset[str]) -> str:
        """Of a level, which must have the rest that levels have, too."""
        self.time("tcbDate")
        if "advisoryIDs" in self.values:
            good = lambda v: isinstance(v, list) and all(isinstance(e, str) for e in v)  # noqa: E731
            self.take("advisoryIDs", good, "it must be a list of strings")
        good = lambda v: isinstance(v, str) and v in known  # noqa: E731
        return str(self.take("tcbStatus", good, f"only {', '.join(sorted(known))} are known"))

    def part(self, field: str) -> _Part:
        return _Part(self.name, self.take(field, lambda v: isinstance(v, dict), "it must be an object"))

    def parts(self, field: str) -> list[_Part]:
        good = lambda v: isinstance(v, list) and all(isinstance(e, dict) for e in v)  # noqa: E731
        return [_Part(self.name, e) for e in self.take(field, good, "it must be a list of objects")]


class _Fields(_Part):
    """A whole file."""

    def __init__(self, name: str, data: bytes, kind: str) -> None:
        try:
            text = data.decode()
            whole = DECODER.decode(text)
            if not isinstance(whole, dict):
                raise ValueError("not an object")
            start = re.search(rf'"{kind}"\s*:\s*', text)
            if start is None:
                raise ValueError(f"no {kind}")
            statement, end = DECODER.raw_decode(text, start.end())
            if whole.get(kind) != statement:
                raise ValueError(f"{kind} is within something else")
        except (ValueError, RecursionError) as error:
            raise CollateralError(f"{name}: not {kind} in JSON: {error}") from None
        super().__init__(name, whole)
        self.signature = self.octets("signature", 64)
        self.signed = text[start.end() : end].encode()
        super().__init__(name, _Part(name, {kind: statement}).part(kind).values)

    def levels(self) -> list[_Part]:
        found = self.parts("tcbLevels")
        if not found:
            raise self.error("tcbLevels", [], "there must be some")
        return found
