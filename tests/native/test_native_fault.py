"""Which signals stand for ENCLU: host processors make different exceptions of it."""

from __future__ import annotations

import signal

import pytest

from enclu.base.abi import SI_KERNEL
from enclu.native.native_fault import raised_by_enclu
from enclu.native.ptrace import SigInfo, UserRegs

RIP, TCS = 0x40_1000, 0x7000_0000_2000
ILL_ILLOPN, SEGV_MAPERR, SEGV_ACCERR, SI_TKILL = 2, 1, 2, -6


def regs() -> UserRegs:
    return UserRegs(rip=RIP, rbx=TCS, rax=2)


@pytest.mark.parametrize(
    ("signo", "code", "address"),
    [
        (signal.SIGILL, ILL_ILLOPN, RIP), (signal.SIGSEGV, SI_KERNEL, 0), (signal.SIGSEGV, SEGV_ACCERR, TCS),
        (signal.SIGSEGV, SEGV_ACCERR, TCS + 0xFFF), (signal.SIGSEGV, SEGV_MAPERR, TCS + 0xFFF),
    ],
)  # fmt: skip
def test_a_fault_of_the_instruction_or_of_its_operand_is_enclus(signo: int, code: int, address: int) -> None:
    assert raised_by_enclu(regs(), SigInfo.fault(signo, code, address))


@pytest.mark.parametrize(
    ("signo", "code", "address"),
    [
        (signal.SIGSEGV, SEGV_ACCERR, RIP), (signal.SIGSEGV, SEGV_ACCERR, RIP + 2),
        (signal.SIGSEGV, SEGV_MAPERR, TCS + 0x1000), (signal.SIGSEGV, SEGV_MAPERR, TCS - 1),
        (signal.SIGSEGV, SI_TKILL, 0), (signal.SIGILL, SI_TKILL, 0), (signal.SIGILL, 0, 0),
    ],
)  # fmt: skip
def test_a_fetch_another_address_or_a_signal_that_somebody_sent_is_not(signo: int, code: int, address: int) -> None:
    assert not raised_by_enclu(regs(), SigInfo.fault(signo, code, address))


def test_fetching_from_the_page_that_rbx_names_is_told_from_the_operand() -> None:
    here = UserRegs(rip=RIP, rbx=RIP & ~0xFFF, rax=2)
    assert not raised_by_enclu(here, SigInfo.fault(signal.SIGSEGV, SEGV_ACCERR, RIP))
    assert raised_by_enclu(here, SigInfo.fault(signal.SIGSEGV, SEGV_ACCERR, RIP | 0xFFF))
