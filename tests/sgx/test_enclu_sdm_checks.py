"""The faults, their order and the small print of the ENCLU leaves, as the SDM's pseudo-code has them."""

from typing import Any, cast

import pytest

from enclu.sgx import encls
from enclu.sgx.aex import aex
from enclu.sgx.enclu import execute
from enclu.sgx.epc import PageType
from enclu.sgx.exceptions import Fault, GeneralProtection, Vector
from enclu.sgx.leave import shut_down
from enclu.sgx.structs import GPRSGX, KEYREQUEST, SECINFO, TCS, EncluLeaf, KeyName
from tests.support.memory_processor import BASE, MemoryProcessor, World

AEP = 0x41_0000
TF, DF, RF = 1 << 8, 1 << 10, 1 << 16
GPR_AT = 4096 - GPRSGX.size
NOT_CANONICAL = 1 << 47
PENDING, MODIFIED, PR = 8, 16, 32


@pytest.fixture
def world() -> World:
    return World().build()


@pytest.fixture
def cpu(world: World) -> MemoryProcessor:
    return world.processor()


def leaf(cpu: MemoryProcessor, number: int, rbx: int = BASE, rcx: int = AEP) -> int:
    cpu.regs.rax, cpu.regs.rbx, cpu.regs.rcx = number, rbx, rcx
    execute(cpu)
    return cpu.regs.rax


def secinfo(world: World, flags: int) -> int:
    world.page(0x7000).data[:64] = SECINFO.pack(FLAGS=flags)
    return BASE + 0x7000


def saved(world: World, frame: int = 0) -> dict[str, int]:
    return GPRSGX.unpack(world.page(0x1000 + frame * 4096).data[GPR_AT:])


@pytest.mark.parametrize("aep", [NOT_CANONICAL, (1 << 64) - NOT_CANONICAL - 1])
def test_an_aep_that_is_not_canonical_is_gp_even_before_the_tcs_is_looked_at(world: World, aep: int) -> None:
    with pytest.raises(GeneralProtection, match="AEP"):
        leaf(world.processor(), EncluLeaf.EENTER, rbx=BASE + 0x5000, rcx=aep)


def test_an_aep_in_the_upper_half_is_canonical(cpu: MemoryProcessor) -> None:
    leaf(cpu, EncluLeaf.EENTER, rcx=(1 << 64) - NOT_CANONICAL)
    assert cpu.mode.enclave


@pytest.mark.parametrize(
    ("field", "value"),
    [("OSSA", 0x1001), ("OFSBASE", 8), ("OGSBASE", 8), ("FLAGS", 4), ("OENTRY", NOT_CANONICAL),
     ("OFSBASE", NOT_CANONICAL), ("OGSBASE", NOT_CANONICAL)],
)  # fmt: skip
def test_eenter_checks_the_fields_of_the_tcs(world: World, cpu: MemoryProcessor, field: str, value: int) -> None:
    TCS.put(world.page(0).data, field, value)
    with pytest.raises(GeneralProtection):
        leaf(cpu, EncluLeaf.EENTER)
    assert not cpu.mode.enclave


def test_an_offset_in_the_tcs_wraps_around_the_address_space(world: World, cpu: MemoryProcessor) -> None:
    TCS.put(world.page(0).data, "OFSBASE", (1 << 64) - 0x1000)
    leaf(cpu, EncluLeaf.EENTER)
    assert cpu.regs.fs_base == BASE - 0x1000


def test_an_ssa_far_outside_is_a_page_fault_at_an_address_of_64_bits(world: World, cpu: MemoryProcessor) -> None:
    TCS.put(world.page(0).data, "OSSA", (1 << 64) - 0x1000)
    with pytest.raises(Fault) as caught:
        leaf(cpu, EncluLeaf.EENTER)
    assert (caught.value.vector, caught.value.address) == (Vector.PF, BASE - 0x1000)


@pytest.mark.parametrize("number", [EncluLeaf.EENTER, EncluLeaf.ERESUME])
def test_an_ssa_that_is_not_canonical_is_gp(world: World, cpu: MemoryProcessor, number: int) -> None:
    TCS.put(world.page(0).data, "OSSA", NOT_CANONICAL)
    TCS.put(world.page(0).data, "CSSA", int(number == EncluLeaf.ERESUME))
    with pytest.raises(GeneralProtection, match="SSA"):
        leaf(cpu, number)


def test_xfrm_beyond_xcr0_is_gp(world: World, cpu: MemoryProcessor) -> None:
    cpu.xcr0 = 1
    with pytest.raises(GeneralProtection, match="XCR0"):
        leaf(cpu, EncluLeaf.EENTER)


def test_a_fault_in_the_ssa_comes_before_a_busy_tcs(world: World, cpu: MemoryProcessor) -> None:
    leaf(cpu, EncluLeaf.EENTER)
    world.page(0x1000).pending = True
    with pytest.raises(Fault) as caught:
        leaf(world.processor(), EncluLeaf.EENTER)
    assert (caught.value.vector, caught.value.error_code, caught.value.address) == (Vector.PF, 0x8007, BASE + 0x1000)


def test_only_the_pages_of_a_frame_that_are_used_must_be_there() -> None:
    world = World()
    world.create(SSAFRAMESIZE=3)
    from tests.support.memory_processor import REG_RW, REG_RX, TCS_PAGE, tcs_image

    world.add(0, tcs_image(nssa=1), TCS_PAGE)
    world.add(0x1000, bytes(4096), REG_RW)
    world.add(0x3000, bytes(4096), REG_RW)
    world.add(0x5000, b"\x90" * 4096, REG_RX)
    world.init()
    for start in (0, 0x1000, 0x3000):
        world.map(start, 0x1000, 3)
    cpu = world.processor()
    leaf(cpu, EncluLeaf.EENTER)
    aex(cpu, None)
    world.page(0x3000).modified = True
    with pytest.raises(Fault) as caught:
        leaf(cpu, EncluLeaf.ERESUME)
    assert caught.value.address == BASE + 0x3000 + GPR_AT


@pytest.mark.parametrize("field", ["RIP", "FSBASE", "GSBASE"])
def test_eresume_wants_canonical_addresses(world: World, cpu: MemoryProcessor, field: str) -> None:
    leaf(cpu, EncluLeaf.EENTER)
    aex(cpu, None)
    GPRSGX.put(world.page(0x1000).data, field, NOT_CANONICAL, GPR_AT)
    with pytest.raises(GeneralProtection, match="canonical"):
        leaf(cpu, EncluLeaf.ERESUME)
    assert TCS.get(world.page(0).data, "CSSA") == 1


@pytest.mark.parametrize(("at", "value"), [(512, 4), (520, 1), (535, 1), (26, 1)])
def test_eresume_refuses_what_xrstor_refuses(world: World, cpu: MemoryProcessor, at: int, value: int) -> None:
    leaf(cpu, EncluLeaf.EENTER)
    aex(cpu, None)
    world.page(0x1000).data[at] = value
    with pytest.raises(GeneralProtection):
        leaf(cpu, EncluLeaf.ERESUME)
    assert not cpu.mode.enclave and TCS.get(world.page(0).data, "STATE") == 0


def test_eresume_leaves_the_outer_stack_of_the_eenter(cpu: MemoryProcessor) -> None:
    leaf(cpu, EncluLeaf.EENTER)
    aex(cpu, None)
    cpu.regs.rsp, cpu.regs.rbp = 0x1111, 0x2222
    leaf(cpu, EncluLeaf.ERESUME)
    aex(cpu, None)
    assert (cpu.regs.rsp, cpu.regs.rbp) == (0x7000_0000, 0x7001_0000)


def test_edeccssa_leaves_the_outer_stack_of_the_lower_frame(cpu: MemoryProcessor) -> None:
    leaf(cpu, EncluLeaf.EENTER)
    aex(cpu, None)
    cpu.regs.rsp = 0x1111
    leaf(cpu, EncluLeaf.EENTER)
    leaf(cpu, EncluLeaf.EDECCSSA)
    aex(cpu, None)
    assert cpu.regs.rsp == 0x7000_0000


def test_aex_leaves_df_and_saves_tf_as_zero(world: World, cpu: MemoryProcessor) -> None:
    leaf(cpu, EncluLeaf.EENTER)
    cpu.regs.rflags |= DF | TF
    aex(cpu, None)
    assert cpu.regs.rflags & (DF | TF) == DF
    assert saved(world)["RFLAGS"] & (DF | TF) == DF


@pytest.mark.parametrize(
    ("vector", "rf"), [(Vector.UD, RF), (Vector.PF, RF), (Vector.DB, 0), (Vector.BP, RF), (None, 0)]
)
def test_aex_saves_rf_as_the_exception_would_push_it(
    world: World, cpu: MemoryProcessor, vector: Vector | None, rf: int
) -> None:
    leaf(cpu, EncluLeaf.EENTER)
    aex(cpu, Fault(vector) if vector is not None else None)
    assert saved(world)["RFLAGS"] & RF == rf and not cpu.regs.rflags & RF


def test_tf_of_an_opted_in_tcs_is_nobodys_but_the_programs(world: World, cpu: MemoryProcessor) -> None:
    TCS.put(world.page(0).data, "FLAGS", 1)
    cpu.regs.rflags |= TF
    leaf(cpu, EncluLeaf.EENTER)
    assert cpu.regs.rflags & TF
    cpu.regs.rflags &= ~TF
    leaf(cpu, EncluLeaf.EEXIT, rbx=0x1234)
    assert not cpu.regs.rflags & TF


@pytest.mark.parametrize("flags", [0x203, 0x203 | MODIFIED, 0x203 | PENDING | MODIFIED, 0x100, 0x400 | PENDING, 0x8])
def test_eaccept_of_a_change_that_cannot_be_is_gp(world: World, cpu: MemoryProcessor, flags: int) -> None:
    leaf(cpu, EncluLeaf.EENTER)
    with pytest.raises(GeneralProtection):
        leaf(cpu, EncluLeaf.EACCEPT, secinfo(world, flags), BASE + 0x6000)


def test_eaccept_does_not_compare_pr(world: World, cpu: MemoryProcessor) -> None:
    leaf(cpu, EncluLeaf.EENTER)
    assert leaf(cpu, EncluLeaf.EACCEPT, secinfo(world, 0x203 | PR), BASE + 0x6000) == 0


def test_eaccept_compares_before_it_looks_at_tracking(world: World, cpu: MemoryProcessor) -> None:
    leaf(cpu, EncluLeaf.EENTER)
    page = world.page(0x6000)
    page.pr, page.rwx = True, 1
    assert leaf(cpu, EncluLeaf.EACCEPT, secinfo(world, 0x203 | PR), BASE + 0x6000) == 19
    assert leaf(cpu, EncluLeaf.EACCEPT, secinfo(world, 0x201 | PR), BASE + 0x6000) == 11


@pytest.mark.parametrize(
    ("fields", "accepted"),
    [({"NSSA": 1}, True), ({"NSSA": 1, "FSLIMIT": 5}, True), ({}, False), ({"NSSA": 1, "STATE": 1}, False),
     ({"NSSA": 1, "AEP": 1}, False), ({"NSSA": 1, "FLAGS": 1}, False)],
)  # fmt: skip
def test_eaccept_of_a_tcs_looks_into_it(
    world: World, cpu: MemoryProcessor, fields: dict[str, int], accepted: bool
) -> None:
    leaf(cpu, EncluLeaf.EENTER)
    page = world.page(0x6000)
    page.data[:] = TCS.pack(**fields)
    page.pt, page.rwx, page.modified, page.epoch = PageType.TCS, 0, True, -1
    if accepted:
        assert leaf(cpu, EncluLeaf.EACCEPT, secinfo(world, 0x100 | MODIFIED), BASE + 0x6000) == 0
        assert not page.modified
    else:
        with pytest.raises(GeneralProtection):
            leaf(cpu, EncluLeaf.EACCEPT, secinfo(world, 0x100 | MODIFIED), BASE + 0x6000)
        assert page.modified


def test_eacceptcopy_gives_exactly_the_permissions_of_secinfo(world: World, cpu: MemoryProcessor) -> None:
    leaf(cpu, EncluLeaf.EENTER)
    page = world.page(0x6000)
    page.pending = True
    cpu.regs.rdx = BASE + 0x5000
    assert leaf(cpu, EncluLeaf.EACCEPTCOPY, secinfo(world, 0x205), BASE + 0x6000) == 0
    assert page.rwx == 5 and not page.pending and bytes(page.data) == b"\x90" * 4096


@pytest.mark.parametrize("kss", [False, True])
def test_configsvn_needs_kss_and_must_not_exceed_the_enclaves(kss: bool) -> None:
    world = World(attributes=0x84 if kss else 4).build()
    cpu = world.processor()
    leaf(cpu, EncluLeaf.EENTER)
    world.page(0x7000).data[:512] = KEYREQUEST.pack(KEYNAME=KeyName.SEAL_KEY, KEYPOLICY=2, CONFIGSVN=1)
    if kss:
        assert leaf(cpu, EncluLeaf.EGETKEY, BASE + 0x7000, BASE + 0x6000) == 64
    else:
        with pytest.raises(GeneralProtection, match="KSS"):
            leaf(cpu, EncluLeaf.EGETKEY, BASE + 0x7000, BASE + 0x6000)


def test_eaccept_waits_for_processors_inside_since_before_etrack(world: World, cpu: MemoryProcessor) -> None:
    leaf(cpu, EncluLeaf.EENTER)
    page = world.page(0x6000)
    secs = page.secs
    assert secs is not None
    page.pr, page.rwx, page.epoch = True, 1, secs.epoch
    assert encls.etrack(secs) == 0
    assert leaf(cpu, EncluLeaf.EACCEPT, secinfo(world, 0x201 | PR), BASE + 0x6000) == 11
    aex(cpu, None)
    leaf(cpu, EncluLeaf.ERESUME)
    assert leaf(cpu, EncluLeaf.EACCEPT, secinfo(world, 0x201 | PR), BASE + 0x6000) == 0


class FreedAt(bytearray):
    """A TCS that notes CSSA as it is for whoever finds it free."""

    found = -1

    def __setitem__(self, index: Any, value: Any) -> None:
        if index == slice(0, 8):
            self.found = TCS.get(self, "CSSA")
        super().__setitem__(index, value)


def test_a_tcs_is_free_when_its_next_frame_is_current(world: World, cpu: MemoryProcessor) -> None:
    leaf(cpu, EncluLeaf.EENTER)
    page = world.page(0)
    noted = FreedAt(page.data)
    page.data = cast(memoryview, noted)
    aex(cpu, None)
    assert noted.found == 1 and TCS.get(noted, "STATE") == 0


def test_a_processor_that_is_gone_holds_neither_its_tcs_nor_tracking(world: World, cpu: MemoryProcessor) -> None:
    leaf(cpu, EncluLeaf.EENTER)
    secs = world.page(0).secs
    assert secs is not None
    encls.etrack(secs)
    shut_down(cpu)
    assert secs.tracked and TCS.get(world.page(0).data, "STATE") == 0
    leaf(world.processor(), EncluLeaf.EENTER)
