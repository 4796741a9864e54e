"""What follows from an exception, on a processor that is registers and memory in Python."""

from __future__ import annotations

import signal

import pytest

from enclu.base.abi import BUS_ADRERR, FPE_FLTDIV, ILL_ILLOPN, SEGV_ACCERR
from enclu.base.events import Aex, EnclaveException, Fixup
from enclu.linux import trap
from enclu.linux.delivery.base import Delivery
from enclu.linux.trap import Verdict
from enclu.sgx import enclu
from enclu.sgx.exceptions import PFEC, Fault, InvalidOpcode, Vector
from enclu.sgx.processor import Signal
from enclu.sgx.structs import GPRSGX, EncluLeaf
from tests.support.memory_processor import BASE, MemoryTask, World

AEP = 0x40_2000
DATA, CODE, TCS_AT = BASE + 0x6000, BASE + 0x5000, BASE
SSA_GPRSGX = 0x1FFF + 1 - GPRSGX.size
"""Offset in the enclave of the GPRSGX area of the first SSA frame."""


def inside(world: World) -> MemoryTask:
    """A processor that has just entered the enclave."""
    cpu = world.processor()
    cpu.regs.rax, cpu.regs.rbx, cpu.regs.rcx = EncluLeaf.EENTER, TCS_AT, AEP
    for address in (CODE, DATA):
        world.mm.show_around(address)
    enclu.execute(cpu)
    assert cpu.mode.enclave
    return cpu


@pytest.fixture
def world() -> World:
    return World().build()


def page_fault(address: int) -> Fault:
    """One of which the processor has not told the error code yet."""
    fault = Fault(Vector.PF, 0, address)
    fault.exact = False
    return fault


def exinfo(world: World) -> tuple[int, int]:
    """EXINFO.MADDR and ERRCD of the first SSA frame."""
    frame = world.page(0x1000).data
    at = 4096 - GPRSGX.size - 16
    return int.from_bytes(frame[at : at + 8], "little"), int.from_bytes(frame[at + 8 : at + 12], "little")


def test_a_page_that_is_only_not_shown_is_shown_and_no_code_is_asked_for(world: World) -> None:
    cpu = inside(world)
    world.mm.hide(DATA, DATA + 0x1000)
    assert trap.exception(world.kernel, cpu, page_fault(DATA + 8)) is Verdict.GOES_ON
    assert world.mm.shown(DATA) and not cpu.codes_asked
    assert not cpu.mode.enclave and cpu.regs.rip == AEP, "the AEX comes first"


def test_what_the_epcm_refuses_is_a_signal_with_the_sgx_bit_in_exinfo_from_the_start(world: World) -> None:
    cpu = inside(world)
    world.page(0x6000).rwx = 1
    world.mm.show(DATA, DATA + 0x1000)
    cpu.code_of_fault = PFEC.P | PFEC.U | PFEC.W
    what = trap.exception(world.kernel, cpu, page_fault(DATA + 8))
    code = int(PFEC.P | PFEC.U | PFEC.W | PFEC.SGX)
    assert what == Signal(signal.SIGSEGV, SEGV_ACCERR, DATA, (Vector.PF, code, DATA))
    assert exinfo(world) == (DATA + 8, code) and cpu.codes_asked == 1


def test_a_fault_that_another_processors_has_resolved_meanwhile_leaves_the_enclave_where_it_is(world: World) -> None:
    cpu = inside(world)
    cpu.code_of_fault = PFEC.U
    before = cpu.regs.rip
    assert trap.exception(world.kernel, cpu, page_fault(DATA)) is Verdict.GOES_ON
    assert cpu.mode.enclave and cpu.regs.rip == before


def test_a_page_that_is_shown_and_cannot_be_reached_is_a_bus_error(world: World) -> None:
    cpu = inside(world)
    cpu.unreachable.add(DATA)
    cpu.code_of_fault = PFEC.U
    what = trap.exception(world.kernel, cpu, page_fault(DATA))
    assert what == Signal(signal.SIGBUS, BUS_ADRERR, DATA, (Vector.PF, PFEC.U, DATA))


def test_an_exception_in_the_enclave_is_told_once_and_after_the_aex(world: World) -> None:
    told: list[object] = []
    world.events.listen(told.append, Aex, EnclaveException)
    cpu = inside(world)
    what = trap.exception(world.kernel, cpu, Fault(Vector.DE))
    assert isinstance(what, Signal) and what.signo == signal.SIGFPE and what.address == AEP
    assert [type(event) for event in told] == [Aex, EnclaveException]


def test_a_design_may_send_it_elsewhere(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Fixup] = []
    world.events.listen(told.append, Fixup)
    monkeypatch.setattr(Delivery, "target", lambda self, mm, thread, cpu, regs: 0x1234)
    cpu = inside(world)
    assert trap.exception(world.kernel, cpu, Fault(Vector.UD)) is Verdict.GOES_ON
    assert (cpu.regs.rip, cpu.regs.rdi) == (0x1234, Vector.UD) and len(told) == 1


@pytest.mark.parametrize("vector", [Vector.DB, Vector.BP, Vector.NM])
def test_no_design_is_asked_about_debug_exceptions_nor_about_what_xfd_raises(
    world: World, monkeypatch: pytest.MonkeyPatch, vector: Vector
) -> None:
    monkeypatch.setattr(Delivery, "target", lambda self, mm, thread, cpu, regs: 0x1234)
    cpu = inside(world)
    assert isinstance(trap.exception(world.kernel, cpu, Fault(vector)), Signal)


def test_enclu_itself_faulting_leaves_the_registers_as_they_are(world: World) -> None:
    cpu = world.processor()
    cpu.regs.rax, cpu.regs.rbx = EncluLeaf.EENTER, TCS_AT + 1
    with pytest.raises(Fault) as caught:
        enclu.execute(cpu)
    what = trap.exception(world.kernel, cpu, caught.value)
    assert isinstance(what, Signal) and what.signo == signal.SIGSEGV
    assert cpu.regs.rip == 0x40_0000 and cpu.regs.rax == EncluLeaf.EENTER


def test_exceptions_of_ordinary_code_are_not_sgxs_business(world: World) -> None:
    cpu = world.processor()
    for fault in (InvalidOpcode(), Fault(Vector.DE), page_fault(0x5000_0000)):
        assert trap.exception(world.kernel, cpu, fault, ordinary=True) is Verdict.HOSTS


def test_ordinary_code_meets_the_abort_page_while_nobody_is_in_the_enclave(world: World) -> None:
    other, cpu = inside(world), world.processor()
    cpu.code_of_fault = PFEC.U
    assert trap.exception(world.kernel, cpu, page_fault(TCS_AT), ordinary=True) is Verdict.GOES_ON
    assert cpu.aborted == [TCS_AT] and not other.mode.enclave


def test_ordinary_code_at_an_address_without_a_page_gets_a_bus_error(world: World) -> None:
    cpu = world.processor()
    world.encl.initialized = False  # else a page would be added there
    world.map(0xF000, 0x1000, 3)
    what = trap.exception(world.kernel, cpu, page_fault(BASE + 0xF000), ordinary=True)
    assert isinstance(what, Signal) and (what.signo, what.code) == (signal.SIGBUS, BUS_ADRERR)


def test_an_illegal_instruction_is_reported_at_the_aep(world: World) -> None:
    cpu = inside(world)
    what = trap.exception(world.kernel, cpu, InvalidOpcode("CPUID"))
    assert what == Signal(signal.SIGILL, ILL_ILLOPN, AEP, (Vector.UD, 0, 0))


def test_the_code_of_a_floating_point_exception_is_what_mxcsr_says(world: World) -> None:
    cpu = world.processor()
    cpu.image[24:28] = (0x1F80 & ~0x200 | 0x04).to_bytes(4, "little")  # division by zero, unmasked
    fault = Fault(Vector.XM)
    fault.leaf = EncluLeaf.EENTER
    what = trap.exception(world.kernel, cpu, fault)
    assert isinstance(what, Signal) and what.code == FPE_FLTDIV
