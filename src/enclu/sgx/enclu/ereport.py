"""EREPORT: a report on this enclave that another enclave of the machine can verify.  SDM 3D EREPORT."""

from __future__ import annotations

from typing import TYPE_CHECKING

from enclu.sgx import keys
from enclu.sgx.access import operand, read_operand
from enclu.sgx.exceptions import GeneralProtection
from enclu.sgx.leave import active_secs
from enclu.sgx.processor import Access
from enclu.sgx.structs import REPORT, TARGETINFO

if TYPE_CHECKING:
    from enclu.sgx.processor import Processor


def ereport(cpu: Processor) -> None:
    """RBX: TARGETINFO (512-aligned), RCX: REPORTDATA (128-aligned), RDX: where the REPORT goes (512-aligned)."""
    regs, machine = cpu.regs, cpu.machine
    target_image = read_operand(cpu, regs.rbx, TARGETINFO.size, 512)
    data = read_operand(cpu, regs.rcx, 64, 128)
    page, offset = operand(cpu, regs.rdx, REPORT.size, 512, Access.WRITE)
    if not TARGETINFO.reserved_ok(target_image):
        raise GeneralProtection("reserved bytes in TARGETINFO are not 0")
    target = TARGETINFO.unpack(target_image)
    secs = active_secs(cpu)
    report = bytearray(REPORT.pack(
        CPUSVN=machine.cpusvn, MISCSELECT=secs.miscselect, ISVEXTPRODID=secs.isvextprodid,
        ATTRIBUTES=secs.attributes, XFRM=secs.xfrm, MRENCLAVE=secs.mrenclave, MRSIGNER=secs.mrsigner,
        CONFIGID=secs.configid, ISVPRODID=secs.isvprodid, ISVSVN=secs.isvsvn, CONFIGSVN=secs.configsvn,
        ISVFAMILYID=secs.isvfamilyid, REPORTDATA=data, KEYID=machine.report_keyid,
    ))  # fmt: skip
    key = keys.report_key(
        machine, target["MEASUREMENT"], target["ATTRIBUTES"], target["XFRM"], target["MISCSELECT"],
        target["CONFIGID"], target["CONFIGSVN"], machine.report_keyid,
    )  # fmt: skip
    REPORT.put(report, "MAC", keys.report_mac(key, bytes(report)))
    page.data[offset : offset + REPORT.size] = report
    regs.rip += 3
