"""EACCEPT, EACCEPTCOPY and EMODPE: the enclave's say in changes of its pages.  SDM 3D."""

from __future__ import annotations

from typing import TYPE_CHECKING

from enclu.sgx.access import epcm_fault, operand, read_operand, target_page
from enclu.sgx.encls.create import secinfo_flags
from enclu.sgx.epc import PageType
from enclu.sgx.exceptions import GeneralProtection
from enclu.sgx.processor import Access
from enclu.sgx.structs import SECINFO, TCS, TCS_AEXNOTIFY, ErrorCode, SecinfoFlag

if TYPE_CHECKING:
    from enclu.sgx.processor import Processor

_ARITHMETIC = 0x8D5
_ZF = 1 << 6
_STATE_BITS = SecinfoFlag.PENDING | SecinfoFlag.MODIFIED | SecinfoFlag.PR


def _finish(cpu: Processor, code: int) -> None:
    regs = cpu.regs
    regs.rax = code
    regs.rflags = regs.rflags & ~_ARITHMETIC | (_ZF if code else 0)
    regs.rip += 3


def _secinfo(cpu: Processor) -> tuple[int, int, int]:
    secinfo = read_operand(cpu, cpu.regs.rbx, 64, 64)
    rwx, pt = secinfo_flags(secinfo)
    return rwx, pt, SECINFO.get(secinfo, "FLAGS") & _STATE_BITS


def eaccept(cpu: Processor) -> None:
    """Accept the change of the page at RCX if it is the one that the SECINFO at RBX describes."""
    rwx, pt, state = _secinfo(cpu)
    if pt == PageType.REG:
        legal = bool(state & (SecinfoFlag.PENDING | SecinfoFlag.PR)) and not state & SecinfoFlag.MODIFIED
    else:
        legal = pt in (PageType.TCS, PageType.TRIM) and state == SecinfoFlag.MODIFIED
    if not legal:
        raise GeneralProtection(f"SECINFO describes no change to accept: page type {pt}, state {int(state):#x}")
    page = target_page(cpu, cpu.regs.rcx)
    secs = page.secs
    assert secs is not None
    have = page.pending << 3 | page.modified << 4
    if page.pt != pt or page.rwx != rwx or have != state & ~SecinfoFlag.PR:  # PR is not compared
        _finish(cpu, ErrorCode.SGX_PAGE_ATTRIBUTES_MISMATCH)
        return
    if (page.modified or page.pr) and not (page.epoch < secs.epoch and secs.tracked):
        _finish(cpu, ErrorCode.SGX_NOT_TRACKED)
        return
    if pt == PageType.TCS:
        f = TCS.unpack(page.data)
        not_zero = f["FLAGS"] & ~TCS_AEXNOTIFY or f["AEP"] or f["STATE"]
        if not TCS.reserved_ok(page.data) or not_zero or f["CSSA"] >= f["NSSA"]:
            raise GeneralProtection(
                "the page accepted as a TCS does not hold one: FLAGS (but AEXNOTIFY), AEP and STATE are 0, CSSA < NSSA"
            )
    page.pending = page.modified = page.pr = False
    cpu.invalidate(page)
    _finish(cpu, ErrorCode.SUCCESS)


def eacceptcopy(cpu: Processor) -> None:
    """Fill the pending page at RCX with a copy of the page at RDX and accept it with SECINFO's permissions."""
    rwx, pt, _ = _secinfo(cpu)
    if pt != PageType.REG or rwx & 3 == SecinfoFlag.W:
        raise GeneralProtection(
            f"SECINFO is not of a PT_REG page that can be read if written: page type {pt}, R|W|X {rwx:#x}"
        )
    source, _ = operand(cpu, cpu.regs.rdx, 4096, 4096, Access.READ)
    page = target_page(cpu, cpu.regs.rcx, Access.WRITE)
    if page.pt != PageType.REG or not page.pending or page.modified or page.rwx != 3:
        _finish(cpu, ErrorCode.SGX_PAGE_ATTRIBUTES_MISMATCH)
        return
    page.data[:] = source.data
    page.rwx = rwx
    page.pending = False
    cpu.invalidate(page)
    _finish(cpu, ErrorCode.SUCCESS)


def emodpe(cpu: Processor) -> None:
    """Extend the permissions of the page at RCX by those of the SECINFO at RBX."""
    rwx, _pt, _state = _secinfo(cpu)
    page = target_page(cpu, cpu.regs.rcx)
    if page.pt != PageType.REG:
        raise epcm_fault(cpu.regs.rcx, Access.READ, f"not a PT_REG page: {page.described}")
    if page.pending or page.modified:
        raise epcm_fault(cpu.regs.rcx, Access.READ, f"a pending or modified page: {page.described}")
    if (page.rwx | rwx) & 3 == SecinfoFlag.W:
        raise GeneralProtection(f"R|W|X would be {page.rwx | rwx:#x}: writable but not readable")
    page.rwx |= rwx
    cpu.invalidate(page)
    cpu.regs.rip += 3
