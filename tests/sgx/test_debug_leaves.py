"""EDBGRD and EDBGWR: each check of SDM 3D's operation sections."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from enclu.sgx import encls
from enclu.sgx.aex import aex
from enclu.sgx.enclu import execute
from enclu.sgx.epc import EPCPage, PageType
from enclu.sgx.exceptions import GeneralProtection, PageFault
from enclu.sgx.structs import GPRSGX, TCS, Attribute, EncluLeaf, ErrorCode
from tests.support.bare_enclave import RX, TCS_FLAGS, added, created, fresh, tcs, version_array
from tests.support.memory_processor import BASE, MemoryProcessor, World

DEBUG = int(Attribute.MODE64BIT | Attribute.DEBUG)
WORD = b"\x01\x02\x03\x04\x05\x06\x07\x08"
LEAVES: list[Callable[[EPCPage, int], object]] = [encls.edbgrd, lambda page, offset: encls.edbgwr(page, offset, WORD)]
TF = 1 << 8


def enclave_page(attributes: int = DEBUG) -> EPCPage:
    _, secs = created(ATTRIBUTES=attributes)
    return added(secs, 0x3000)


def tcs_page() -> EPCPage:
    _, secs = created(ATTRIBUTES=DEBUG)
    return added(secs, 0, TCS_FLAGS, tcs())


def test_a_word_written_is_read_back() -> None:
    page = enclave_page()
    assert encls.edbgwr(page, 0x10, WORD) == ErrorCode.SUCCESS
    assert encls.edbgrd(page, 0x10) == (ErrorCode.SUCCESS, WORD)
    assert bytes(page.data[:0x20]) == bytes(16) + WORD + bytes(8)


def test_epcm_permissions_do_not_matter() -> None:
    _, secs = created(ATTRIBUTES=DEBUG)
    page = added(secs, 0x3000, RX)
    assert encls.edbgwr(page, 0, WORD) == ErrorCode.SUCCESS
    page.rwx = 0
    assert encls.edbgrd(page, 0) == (ErrorCode.SUCCESS, WORD)


def test_a_blocked_page_can_be_read() -> None:
    page = enclave_page()
    encls.eblock(page)
    assert encls.edbgrd(page, 0) == (ErrorCode.SUCCESS, bytes(8))


@pytest.mark.parametrize("leaf", LEAVES)
def test_an_operand_that_is_not_aligned_is_gp(leaf: Callable[[EPCPage, int], object]) -> None:
    with pytest.raises(GeneralProtection):
        leaf(enclave_page(), 4)


@pytest.mark.parametrize("leaf", LEAVES)
def test_a_page_of_a_production_enclave_is_gp(leaf: Callable[[EPCPage, int], object]) -> None:
    with pytest.raises(GeneralProtection):
        leaf(enclave_page(int(Attribute.MODE64BIT)), 0)


@pytest.mark.parametrize("leaf", LEAVES)
def test_an_invalid_page_is_pf(leaf: Callable[[EPCPage, int], object]) -> None:
    with pytest.raises(PageFault):
        leaf(fresh(), 0)


@pytest.mark.parametrize("leaf", LEAVES)
@pytest.mark.parametrize("pt", [PageType.SECS, PageType.TRIM])
def test_a_page_of_another_type_is_pf(leaf: Callable[[EPCPage, int], object], pt: PageType) -> None:
    page = enclave_page()
    page.pt = pt
    with pytest.raises(PageFault):
        leaf(page, 0)


@pytest.mark.parametrize("state", ["pending", "modified"])
def test_a_page_that_waits_for_eaccept_is_not_debuggable(state: str) -> None:
    page = enclave_page()
    setattr(page, state, True)
    assert encls.edbgrd(page, 0) == (ErrorCode.SGX_PAGE_NOT_DEBUGGABLE, b"")
    assert encls.edbgwr(page, 0, WORD) == ErrorCode.SGX_PAGE_NOT_DEBUGGABLE
    assert bytes(page.data) == bytes(4096)


def test_a_tcs_is_read_to_its_architectural_end() -> None:
    page = tcs_page()
    assert encls.edbgrd(page, 0, 72) == (ErrorCode.SUCCESS, tcs()[:72])
    for offset in (72, 4088):
        with pytest.raises(GeneralProtection):
            encls.edbgrd(page, offset)


def test_of_a_tcs_only_flags_are_written() -> None:
    page = tcs_page()
    assert encls.edbgwr(page, TCS.offset("FLAGS"), (1).to_bytes(8, "little")) == ErrorCode.SUCCESS
    assert TCS.get(page.data, "FLAGS") == 1
    for offset in set(range(0, 4096, 8)) - {TCS.offset("FLAGS")}:
        with pytest.raises(GeneralProtection):
            encls.edbgwr(page, offset, WORD)


def test_a_version_array_tells_which_slots_are_in_use() -> None:
    va = version_array()
    va.data[8:16] = (8).to_bytes(8, "little")
    assert encls.edbgrd(va, 0, 24) == (ErrorCode.SUCCESS, bytes(8) + b"\xff" * 8 + bytes(8))
    with pytest.raises(PageFault):
        encls.edbgwr(va, 0, WORD)


def opted_in(world: World, value: int) -> None:
    TCS.put(world.page(0).data, "FLAGS", value)


def enter(world: World) -> MemoryProcessor:
    cpu = world.processor()
    cpu.regs.rax, cpu.regs.rbx, cpu.regs.rcx = EncluLeaf.EENTER, BASE, 0x40_0000
    cpu.regs.rflags |= TF
    execute(cpu)
    return cpu


@pytest.mark.parametrize("before", [0, 1])
@pytest.mark.parametrize("leave_by_aex", [False, True])
def test_whether_a_thread_has_opted_in_is_decided_at_entry(before: int, leave_by_aex: bool) -> None:
    """CR_DBGOPTIN.  RFLAGS.TF after leaving: the program's if it had not, else the enclave's."""
    world = World().build()
    opted_in(world, before)
    cpu = enter(world)
    assert cpu.mode.dbgoptin == bool(before)
    opted_in(world, 1 - before)
    cpu.regs.rflags &= ~TF
    if leave_by_aex:
        aex(cpu, None)
        assert not GPRSGX.get(world.page(0x1000).data, "RFLAGS", 4096 - 184) & TF
    else:
        cpu.regs.rax, cpu.regs.rbx = EncluLeaf.EEXIT, 0x40_0000
        execute(cpu)
    assert bool(cpu.regs.rflags & TF) == (not before)
