"""EINIT: checking the signature, the measurement and the right to launch.  SDM 3D EINIT."""

from __future__ import annotations

from typing import TYPE_CHECKING

from enclu.sgx import crypto
from enclu.sgx.encls.create import check_secs
from enclu.sgx.exceptions import GeneralProtection
from enclu.sgx.structs import (
    SIGSTRUCT,
    SIGSTRUCT_HEADER,
    SIGSTRUCT_HEADER2,
    SIGSTRUCT_SIGNED,
    Attribute,
    ErrorCode,
)

if TYPE_CHECKING:
    from enclu.sgx.machine import Machine
    from enclu.sgx.secs import Secs

SHA256_DIGESTINFO = bytes.fromhex("3031300d060960864801650304020105000420")
INTEL_ONLY = int(Attribute.EINITTOKEN_KEY)


def signature_valid(sigstruct: bytes) -> bool:
    """The RSA-3072 signature with exponent 3 is right, and Q1 and Q2 are the quotients that hardware wants."""
    f = SIGSTRUCT.unpack(sigstruct)
    n, s, q1, q2 = (int.from_bytes(f[k], "little") for k in ("MODULUS", "SIGNATURE", "Q1", "Q2"))
    if f["EXPONENT"] != 3 or not 0 < s < n or n >> 3071 == 0:
        return False
    if q1 != s * s // n or q2 != (s * s - q1 * n) * s // n:
        return False
    digest = crypto.sha256(b"".join(sigstruct[a:b] for a, b in SIGSTRUCT_SIGNED)).digest()
    message = b"\0\1" + b"\xff" * (384 - 3 - len(SHA256_DIGESTINFO) - 32) + b"\0" + SHA256_DIGESTINFO + digest
    return pow(s, 3, n) == int.from_bytes(message, "big")


def einit_refusal(machine: Machine, secs: Secs, sigstruct: bytes) -> tuple[ErrorCode, str]:
    """What EINIT would answer, and why; SUCCESS if nothing is wrong.  Raises #GP or #PF as EINIT does."""
    f = SIGSTRUCT.unpack(sigstruct)
    for name, wanted in (("HEADER", SIGSTRUCT_HEADER), ("HEADER2", SIGSTRUCT_HEADER2)):
        if f[name] != wanted:
            return ErrorCode.SGX_INVALID_SIG_STRUCT, f"SIGSTRUCT.{name} is {f[name].hex()}, not {wanted.hex()}"
    if f["VENDOR"] not in (0, 0x8086):
        return ErrorCode.SGX_INVALID_SIG_STRUCT, f"SIGSTRUCT.VENDOR is {f['VENDOR']:#x}, neither 0 nor 0x8086"
    if f["EXPONENT"] != 3:
        return ErrorCode.SGX_INVALID_SIG_STRUCT, f"SIGSTRUCT.EXPONENT is {f['EXPONENT']}, not 3"
    if f["CET_ATTRIBUTES"] or f["CET_ATTRIBUTES_MASK"]:
        return ErrorCode.SGX_INVALID_SIG_STRUCT, "SIGSTRUCT has CET attributes, reserved on a machine without CET"
    if not SIGSTRUCT.reserved_ok(sigstruct):
        return ErrorCode.SGX_INVALID_SIG_STRUCT, "reserved bytes in SIGSTRUCT are not 0"
    if not signature_valid(sigstruct):
        return ErrorCode.SGX_INVALID_SIGNATURE, "SIGSTRUCT.SIGNATURE, Q1 and Q2 do not fit what is signed and MODULUS"
    check_secs(secs)
    if not secs.attributes & Attribute.KSS and (any(f["ISVFAMILYID"]) or any(f["ISVEXTPRODID"])):
        return ErrorCode.SGX_INVALID_SIG_STRUCT, "SIGSTRUCT.ISVFAMILYID and ISVEXTPRODID need ATTRIBUTES.KSS"
    if secs.initialised:
        raise GeneralProtection("EINIT of an initialised enclave")
    have = secs.measurement.digest()
    if f["ENCLAVEHASH"] != have:
        return ErrorCode.SGX_INVALID_MEASUREMENT, (
            f"SIGSTRUCT.ENCLAVEHASH is {f['ENCLAVEHASH'].hex()}, but what was loaded measures {have.hex()}"
        )
    mrsigner = crypto.sha256(f["MODULUS"]).digest()
    if secs.attributes & INTEL_ONLY and mrsigner != machine.lepubkeyhash:
        return ErrorCode.SGX_INVALID_ATTRIBUTE, "ATTRIBUTES.EINITTOKEN_KEY is for the signer in IA32_SGXLEPUBKEYHASH"
    for name, mask, value in (
        ("ATTRIBUTES", "ATTRIBUTEMASK", secs.attributes), ("XFRM", "XFRMMASK", secs.xfrm),
        ("MISCSELECT", "MISCMASK", secs.miscselect),
    ):  # fmt: skip
        if f[name] & f[mask] != value & f[mask]:
            return ErrorCode.SGX_INVALID_ATTRIBUTE, (
                f"SIGSTRUCT.{name} is {f[name]:#x} under {mask} {f[mask]:#x}, but the SECS has {value:#x}"
            )
    if mrsigner != machine.lepubkeyhash:
        return (
            ErrorCode.SGX_INVALID_EINITTOKEN,
            "the signer is not the one in IA32_SGXLEPUBKEYHASH",
        )
    return ErrorCode.SUCCESS, ""


def einit(machine: Machine, secs: Secs, sigstruct: bytes) -> int:
    """Finish the enclave; an `ErrorCode`.  The token is all zero, as the kernel passes it.

    Launch control is flexible: the signer must be the one in IA32_SGXLEPUBKEYHASH.
    """
    code, _ = einit_refusal(machine, secs, sigstruct)
    if code:
        return code
    f = SIGSTRUCT.unpack(sigstruct)
    secs.mrenclave = f["ENCLAVEHASH"]
    secs.mrsigner = crypto.sha256(f["MODULUS"]).digest()
    secs.isvprodid, secs.isvsvn = f["ISVPRODID"], f["ISVSVN"]
    secs.isvfamilyid, secs.isvextprodid = f["ISVFAMILYID"], f["ISVEXTPRODID"]
    secs.attributes |= Attribute.INIT
    secs.initialised = True
    return ErrorCode.SUCCESS
