"""EGETKEY: a key of this enclave on this machine.  SDM 3D EGETKEY."""

from __future__ import annotations

from typing import TYPE_CHECKING

from enclu.sgx import keys
from enclu.sgx.access import operand, read_operand
from enclu.sgx.exceptions import GeneralProtection
from enclu.sgx.leave import active_secs
from enclu.sgx.processor import Access
from enclu.sgx.structs import KEYREQUEST, Attribute, ErrorCode, KeyName, KeyPolicy

if TYPE_CHECKING:
    from enclu.sgx.processor import Processor
    from enclu.sgx.secs import Secs

_ARITHMETIC, _ZF = 0x8D5, 1 << 6
_NEEDS_ATTRIBUTE = {
    KeyName.PROVISION_KEY: Attribute.PROVISIONKEY,
    KeyName.PROVISION_SEAL_KEY: Attribute.PROVISIONKEY,
    KeyName.EINITTOKEN_KEY: Attribute.EINITTOKEN_KEY,
}
_KSS_POLICIES = KeyPolicy.NOISVPRODID | KeyPolicy.CONFIGID | KeyPolicy.ISVFAMILYID | KeyPolicy.ISVEXTPRODID


def _refusal(secs: Secs, request: bytes, cpusvn: bytes) -> int:
    f = KEYREQUEST.unpack(request)
    name = f["KEYNAME"]
    if name not in tuple(KeyName):
        return ErrorCode.SGX_INVALID_KEYNAME
    if name == KeyName.REPORT_KEY:
        return ErrorCode.SUCCESS
    if name in _NEEDS_ATTRIBUTE and not secs.attributes & _NEEDS_ATTRIBUTE[name]:
        return ErrorCode.SGX_INVALID_ATTRIBUTE
    if any(a > b for a, b in zip(f["CPUSVN"], cpusvn, strict=True)):
        return ErrorCode.SGX_INVALID_CPUSVN
    if f["ISVSVN"] > secs.isvsvn:
        return ErrorCode.SGX_INVALID_ISVSVN
    if name == KeyName.SEAL_KEY and f["CONFIGSVN"] > secs.configsvn:
        return ErrorCode.SGX_INVALID_ISVSVN
    return ErrorCode.SUCCESS


def egetkey(cpu: Processor) -> None:
    """RBX: KEYREQUEST (512-aligned), RCX: where the key goes (16-aligned); RAX: error code."""
    regs = cpu.regs
    request = read_operand(cpu, regs.rbx, KEYREQUEST.size, 512)
    page, offset = operand(cpu, regs.rcx, 16, 16, Access.WRITE)
    secs = active_secs(cpu)
    policy = KEYREQUEST.get(request, "KEYPOLICY")
    if not KEYREQUEST.reserved_ok(request) or policy & ~0x3F:
        raise GeneralProtection(f"reserved bits in KEYREQUEST, KEYPOLICY {policy:#x}")
    if not secs.attributes & Attribute.KSS and (policy & _KSS_POLICIES or KEYREQUEST.get(request, "CONFIGSVN")):
        raise GeneralProtection(f"KEYPOLICY {policy:#x} or CONFIGSVN needs ATTRIBUTES.KSS")
    code = _refusal(secs, request, cpu.machine.cpusvn)
    if not code:
        page.data[offset : offset + 16] = keys.derive(cpu.machine, secs, request)
    regs.rax = code
    regs.rflags = regs.rflags & ~_ARITHMETIC | (_ZF if code else 0)
    regs.rip += 3
