"""TCB info and QE identity: signed statements of the manufacturer about what is up to date.

Intel SGX Provisioning Certification Service API, version 4.

A file has {"tcbInfo": {...}, "signature": "..."}, or "enclaveIdentity"; the signature is of the statement's very bytes.
"""

from __future__ import annotations

import datetime
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
from enclu.host.attestation.pck import COMPONENTS, Platform, Tcb
from enclu.host.errors import HostError

MAX_SIZE = 1 << 20
UP_TO_DATE = "UpToDate"
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

    def is_signed_by(self, key: object) -> bool:
        """The signature is that of this public key."""
        return verify_p256(key, self.signature, self.signed)


class TcbInfo(Statement):
    """For one kind of platform."""

    KIND = "tcbInfo"

    def concerns(self, platform: Platform) -> bool:
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
        """The first field in which the report is not such an enclave's."""
        f = self.fields
        attributes = report["ATTRIBUTES"].to_bytes(8, "little") + report["XFRM"].to_bytes(8, "little")
        masked = bytes(a & m for a, m in zip(attributes, f["attributesMask"], strict=True))
        wanted = bytes(a & m for a, m in zip(f["attributes"], f["attributesMask"], strict=True))
        if report["MRSIGNER"] != f["mrsigner"]:
            return "MRSIGNER"
        if report["ISVPRODID"] != f["isvprodid"]:
            return "ISVPRODID"
        if report["MISCSELECT"] & f["miscselectMask"] != f["miscselect"] & f["miscselectMask"]:
            return "MISCSELECT"
        return None if masked == wanted else "ATTRIBUTES"

    def status(self, isvsvn: int) -> str:
        """Of a quoting enclave's version."""
        return next((level.status for level in self.levels if isvsvn >= level.isvsvn), UNKNOWN)


def parse_tcb_info(data: bytes, name: str = "TCB info") -> TcbInfo:
    """Raises CollateralError; the signature is not verified."""
    take = _Fields(name, data, TcbInfo.KIND)
    fields = {"fmspc": take.octets("fmspc", 6), "pceId": take.octets("pceId", 2)}
    levels = tuple(_tcb_level(level) for level in take.levels())
    return TcbInfo(name, take.signed, take.signature, take.time("issueDate"), take.time("nextUpdate"), levels, fields)


def parse_qe_identity(data: bytes, name: str = "QE identity") -> QeIdentity:
    """Raises CollateralError; the signature is not verified."""
    take = _Fields(name, data, QeIdentity.KIND)
    fields = {
        "mrsigner": take.octets("mrsigner", 32), "isvprodid": take.number("isvprodid"),
        "miscselect": int.from_bytes(take.octets("miscselect", 4), "big"),
        "miscselectMask": int.from_bytes(take.octets("miscselectMask", 4), "big"),
        "attributes": take.octets("attributes", 16), "attributesMask": take.octets("attributesMask", 16),
    }  # fmt: skip
    levels = tuple(Level(level.text("tcbStatus"), level.part("tcb").number("isvsvn")) for level in take.levels())
    return QeIdentity(
        name, take.signed, take.signature, take.time("issueDate"), take.time("nextUpdate"), levels, fields
    )


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


def _tcb_level(level: _Part) -> Level:
    tcb = level.part("tcb")
    if "sgxtcbcomponents" in tcb.values:  # version 3
        components = tuple(part.number("svn") for part in tcb.parts("sgxtcbcomponents"))
    else:
        components = tuple(tcb.number(f"sgxtcbcomp{i:02}svn") for i in range(1, COMPONENTS + 1))
    if len(components) != COMPONENTS:
        raise level.error("sgxtcbcomponents", f"{len(components)} of them", f"there are {COMPONENTS}")
    return Level(level.text("tcbStatus"), components=components, pcesvn=tcb.number("pcesvn"))


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

    def number(self, field: str) -> int:
        return int(self.take(field, lambda v: type(v) is int and 0 <= v < 1 << 32, "it must be a number of 32 bits"))

    def octets(self, field: str, size: int) -> bytes:
        digits = re.compile(f"[0-9a-fA-F]{{{2 * size}}}")
        wrong = f"it must be {size} bytes as hexadecimal digits"
        return bytes.fromhex(self.take(field, lambda v: isinstance(v, str) and bool(digits.fullmatch(v)), wrong))

    def time(self, field: str) -> datetime.datetime:
        try:
            return datetime.datetime.strptime(self.text(field), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=datetime.UTC)
        except ValueError:
            raise self.error(field, self.values.get(field), "it must be a time like 2020-05-18T17:49:24Z") from None

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
            whole = json.loads(text)
            if not isinstance(whole, dict):
                raise ValueError("not an object")
            start = re.search(rf'"{kind}"\s*:\s*', text)
            if start is None:
                raise ValueError(f"no {kind}")
            statement, end = json.JSONDecoder().raw_decode(text, start.end())
        except (ValueError, RecursionError) as error:
            raise CollateralError(f"{name}: not {kind} in JSON: {error}") from None
        super().__init__(name, whole)
        self.signature = self.octets("signature", 64)
        self.signed = text[start.end() : end].encode()
        # Of the very bytes that are signed: an object could have the same key twice.
        super().__init__(name, _Part(name, {kind: statement}).part(kind).values)

    def levels(self) -> list[_Part]:
        return self.parts("tcbLevels")
