"""Keys of the machine: EGETKEY's derivation, report MACs.  SDM 3D EGETKEY and EREPORT, section 38.1.4.

A processor derives keys from fuses with AES-CMAC; here a machine secret stands for the fuses and HMAC-SHA-256
for the first step.  No key equals any that Intel's processors make.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from enclu.sgx import crypto
from enclu.sgx.structs import KEYREQUEST, REPORT_MACED, KeyName, KeyPolicy

if TYPE_CHECKING:
    from enclu.sgx.machine import Machine
    from enclu.sgx.secs import Secs

UNPROTECTED = b"enclu: software SGX machine, nothing is protected"


def _derive(machine: Machine, *parts: Any) -> bytes:
    encoded = b"".join(
        struct.pack("<I", len(p)) + p
        for p in (part if isinstance(part, bytes) else int(part).to_bytes(16, "little") for part in parts)
    )
    return crypto.hmac_sha256(machine.secret, UNPROTECTED + encoded)[:16]


def report_key(machine: Machine, mrenclave: bytes, attributes: int, xfrm: int, miscselect: int, configid: bytes,
               configsvn: int, keyid: bytes) -> bytes:  # fmt: skip
    """The key with which reports to this target are authenticated."""
    return _derive(machine, KeyName.REPORT_KEY, mrenclave, attributes, xfrm, miscselect, configid, configsvn, keyid,
                   machine.cpusvn)  # fmt: skip


def report_mac(key: bytes, report: bytes) -> bytes:
    """The MAC field of a REPORT."""
    return crypto.cmac(key, report[:REPORT_MACED])


def derive(machine: Machine, secs: Secs, request: bytes) -> bytes:
    """The key that EGETKEY gives this enclave; the request has been checked."""
    f = KEYREQUEST.unpack(request)
    name, policy = f["KEYNAME"], f["KEYPOLICY"]
    if name == KeyName.REPORT_KEY:
        return report_key(machine, secs.mrenclave, secs.attributes, secs.xfrm, secs.miscselect, secs.configid,
                          secs.configsvn, f["KEYID"])  # fmt: skip
    attributes = secs.attributes & (f["ATTRIBUTEMASK"] | 0x3)
    if name in (KeyName.EINITTOKEN_KEY, KeyName.PROVISION_KEY):
        policy = 0  # neither depends on KEYPOLICY: every request for it gives one key
    common = (
        name, attributes, secs.xfrm & f["XFRMMASK"], secs.miscselect & f["MISCMASK"], f["ISVSVN"], f["CPUSVN"],
        f["ATTRIBUTEMASK"], f["XFRMMASK"], f["MISCMASK"], policy,
    )  # fmt: skip
    product = (
        0 if policy & KeyPolicy.NOISVPRODID else secs.isvprodid,
        (secs.configid + f["CONFIGSVN"].to_bytes(2, "little")) if policy & KeyPolicy.CONFIGID else b"",
        secs.isvfamilyid if policy & KeyPolicy.ISVFAMILYID else b"",
        secs.isvextprodid if policy & KeyPolicy.ISVEXTPRODID else b"",
    )
    if name == KeyName.SEAL_KEY:
        return _derive(
            machine, *common, f["KEYID"],
            secs.mrenclave if policy & KeyPolicy.MRENCLAVE else b"",
            secs.mrsigner if policy & KeyPolicy.MRSIGNER else b"",
            *product,
        )  # fmt: skip
    keyid = f["KEYID"] if name == KeyName.EINITTOKEN_KEY else b""
    return _derive(machine, *common, keyid, secs.mrsigner, *product)
