"""Who an enclave is, as the processor tells it: TARGETINFO, and whether a REPORT is genuine."""

from __future__ import annotations

import hmac
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from enclu.host.errors import HostError
from enclu.sgx import keys
from enclu.sgx.machine import CPUSVN
from enclu.sgx.structs import REPORT, TARGETINFO, Attribute

if TYPE_CHECKING:
    from enclu.host.enclave import Enclave
    from enclu.host.keys import MachineKeys


def target_info(enclave: Enclave) -> bytes:
    """The enclave's TARGETINFO, with which others report to it."""
    return TARGETINFO.pack(
        MEASUREMENT=enclave.image.mrenclave(), ATTRIBUTES=enclave.attributes | Attribute.INIT, XFRM=enclave.xfrm,
        MISCSELECT=enclave.image.misc_select,
    )  # fmt: skip


def report_is_genuine(machine: MachineKeys, report: bytes, target: bytes) -> bool:
    """The REPORT was made on this machine for this target (TARGETINFO): its MAC is by the target's report key."""
    if len(report) != REPORT.size or len(target) != TARGETINFO.size:
        raise HostError(
            f"a REPORT has {REPORT.size} bytes, a TARGETINFO {TARGETINFO.size}; not {len(report)}, {len(target)}"
        )
    t = TARGETINFO.unpack(target)
    processor = SimpleNamespace(secret=machine.secret, cpusvn=CPUSVN)
    key = keys.report_key(
        cast(Any, processor), t["MEASUREMENT"], t["ATTRIBUTES"], t["XFRM"], t["MISCSELECT"], t["CONFIGID"],
        t["CONFIGSVN"], REPORT.get(report, "KEYID"),
    )  # fmt: skip
    return hmac.compare_digest(keys.report_mac(key, report), REPORT.get(report, "MAC"))
