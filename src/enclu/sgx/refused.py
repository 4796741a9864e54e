"""Why a leaf returned an error code, for people: its operands, beside what they are compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from enclu.sgx.access import read_operand, target_page
from enclu.sgx.encls.create import secinfo_flags
from enclu.sgx.epc import PageType
from enclu.sgx.exceptions import Fault
from enclu.sgx.leave import active_secs
from enclu.sgx.structs import KEYREQUEST, SECINFO, EncluLeaf, ErrorCode, KeyName, SecinfoFlag

if TYPE_CHECKING:
    from enclu.sgx.processor import Processor


def why(cpu: Processor, leaf: int) -> str:
    """Of EACCEPT, EACCEPTCOPY or EGETKEY that has just been executed: its registers are as they were, but for RAX."""
    if cpu.regs.rax == ErrorCode.SGX_NOT_TRACKED:
        return "threads that entered before the page was changed are still inside"
    try:
        return _key(cpu) if leaf == EncluLeaf.EGETKEY else _page(cpu)
    except Fault:  # by another thread of the enclave's, meanwhile
        return "what it was given has been changed since"


def _page(cpu: Processor) -> str:
    secinfo = read_operand(cpu, cpu.regs.rbx, SECINFO.size, 64)
    rwx, kind = secinfo_flags(secinfo)
    flags = SECINFO.get(secinfo, "FLAGS")
    states = [f.name or "" for f in (SecinfoFlag.PENDING, SecinfoFlag.MODIFIED, SecinfoFlag.PR) if flags & f]
    name = PageType(kind).name if kind in tuple(PageType) else str(kind)
    rights = "".join(letter if rwx >> bit & 1 else "-" for bit, letter in enumerate("RWX"))
    page = target_page(cpu, cpu.regs.rcx)
    return f"SECINFO says {' '.join([f'PT_{name}', rights, *map(str.lower, states)])}, the EPCM {page.described}"


def _key(cpu: Processor) -> str:
    secs, f = active_secs(cpu), KEYREQUEST.unpack(read_operand(cpu, cpu.regs.rbx, KEYREQUEST.size, 512))
    name = KeyName(f["KEYNAME"]).name if f["KEYNAME"] in tuple(KeyName) else f"KEYNAME {f['KEYNAME']}"
    return (
        f"{name} with ISVSVN {f['ISVSVN']}, CPUSVN {f['CPUSVN'].hex()}, for an enclave with "
        f"ATTRIBUTES {secs.attributes:#x}, ISVSVN {secs.isvsvn}"
    )
