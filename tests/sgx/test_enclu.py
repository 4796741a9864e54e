"""ENCLU leaves and AEX on a processor that is memory only."""

import struct

import pytest

from enclu.sgx import crypto, keys
from enclu.sgx.aex import aex
from enclu.sgx.enclu import execute
from enclu.sgx.exceptions import Fault, GeneralProtection, PageFault, Vector
from enclu.sgx.structs import GPRSGX, KEYREQUEST, REPORT, SECINFO, TARGETINFO, TCS, EncluLeaf, KeyName
from tests.support.memory_processor import BASE, MemoryProcessor, World

AEP = 0x41_0000
ZF = 1 << 6


@pytest.fixture
def world() -> World:
    return World().build()


@pytest.fixture
def cpu(world: World) -> MemoryProcessor:
    return world.processor()


def enter(cpu: MemoryProcessor, leaf: int = EncluLeaf.EENTER, tcs: int = BASE) -> None:
    cpu.regs.rax, cpu.regs.rbx, cpu.regs.rcx = leaf, tcs, AEP
    execute(cpu)


def ssa(world: World, frame: int) -> dict[str, int]:
    return GPRSGX.unpack(world.page(0x1000 + frame * 4096).data[4096 - 184 :])


def test_eenter_goes_to_oentry_with_cssa_and_return_address(world: World, cpu: MemoryProcessor) -> None:
    enter(cpu)
    regs = cpu.regs
    assert (regs.rip, regs.rax, regs.rcx) == (BASE + 0x5000, 0, 0x40_0003)
    assert (regs.fs_base, regs.gs_base) == (BASE + 0x6000, BASE + 0x7000)
    assert cpu.mode.enclave and ssa(world, 0)["URSP"] == regs.rsp


def test_eexit_goes_to_rbx_and_gives_segments_back(world: World, cpu: MemoryProcessor) -> None:
    enter(cpu)
    cpu.regs.rax, cpu.regs.rbx = EncluLeaf.EEXIT, 0x1234
    execute(cpu)
    assert (cpu.regs.rip, cpu.regs.rcx) == (0x1234, AEP)
    assert (cpu.regs.fs_base, cpu.regs.gs_base) == (0xF5_0000, 0x65_0000)
    assert not cpu.mode.enclave and TCS.get(world.page(0).data, "STATE") == 0


def test_entering_a_busy_tcs_is_gp(world: World, cpu: MemoryProcessor) -> None:
    enter(cpu)
    other = world.processor()
    with pytest.raises(GeneralProtection, match="busy"):
        enter(other)


@pytest.mark.parametrize(
    ("address", "vector", "code"),
    [(BASE + 8, Vector.GP, 0), (BASE + 0x5000, Vector.PF, 0x8005), (0x5000_0000, Vector.PF, 0x8005),
     (BASE + 0x9000, Vector.PF, 0x4)],
)  # fmt: skip
def test_eenter_of_something_that_is_no_tcs_faults(cpu: MemoryProcessor, address: int, vector: int, code: int) -> None:
    before = cpu.regs.rip
    with pytest.raises(Fault) as caught:
        enter(cpu, tcs=address)
    assert (caught.value.vector, caught.value.error_code) == (vector, code)
    assert cpu.regs.rip == before and not cpu.mode.enclave


def test_eenter_before_einit_is_gp() -> None:
    world = World()
    world.create()
    from tests.support.memory_processor import TCS_PAGE, tcs_image

    world.add(0, tcs_image(), TCS_PAGE)
    world.map(0, 0x1000, 3)
    with pytest.raises(GeneralProtection, match="not initialised"):
        enter(world.processor())


def test_cssa_exhausted_is_gp(cpu: MemoryProcessor) -> None:
    for _ in range(3):
        enter(cpu)
        aex(cpu, None)
    with pytest.raises(GeneralProtection, match="CSSA"):
        enter(cpu)


def test_eresume_without_an_interrupted_frame_is_gp(cpu: MemoryProcessor) -> None:
    with pytest.raises(GeneralProtection, match="CSSA = 0"):
        enter(cpu, EncluLeaf.ERESUME)


@pytest.mark.parametrize("leaf", [EncluLeaf.EEXIT, EncluLeaf.EREPORT, EncluLeaf.EACCEPT, 8, 10, 0xFFFF_FFFF])
def test_leaves_of_the_inside_are_gp_outside(cpu: MemoryProcessor, leaf: int) -> None:
    cpu.regs.rax = leaf
    with pytest.raises(GeneralProtection):
        execute(cpu)


@pytest.mark.parametrize("leaf", [EncluLeaf.EENTER, EncluLeaf.ERESUME])
def test_entering_from_inside_is_gp(cpu: MemoryProcessor, leaf: int) -> None:
    enter(cpu)
    with pytest.raises(GeneralProtection):
        enter(cpu, leaf)


def test_aex_saves_the_inside_and_shows_the_synthetic_state(world: World, cpu: MemoryProcessor) -> None:
    enter(cpu)
    for i, name in enumerate(("rdx", "rsi", "rdi", "r8", "r15")):
        setattr(cpu.regs, name, 0xEC0 + i)
    cpu.regs.rsp, cpu.regs.rip, cpu.regs.rflags = 0x999, BASE + 0x5123, 0x8D7
    aex(cpu, Fault(Vector.UD))
    regs = cpu.regs
    assert (regs.rax, regs.rbx, regs.rcx, regs.rip) == (3, BASE, AEP, AEP)
    assert (regs.rsp, regs.rbp) == (0x7000_0000, 0x7001_0000)
    assert [regs.rdx, regs.rsi, regs.rdi, regs.r8, regs.r15] == [0] * 5
    assert regs.rflags & 0x8D5 == 0
    saved = ssa(world, 0)
    assert (saved["RIP"], saved["RSP"], saved["R15"]) == (BASE + 0x5123, 0x999, 0xEC4)
    assert TCS.get(world.page(0).data, "CSSA") == 1


def test_eresume_brings_everything_back(cpu: MemoryProcessor) -> None:
    enter(cpu)
    cpu.regs.r12, cpu.regs.rip, cpu.regs.rsp = 0x1212, BASE + 0x5077, 0x8888
    cpu.image[160:176] = b"enclave's xmm0.."
    cpu.image[512] = 2
    aex(cpu, None)
    assert b"xmm0" not in bytes(cpu.image)
    cpu.image[160:176] = b"outside's xmm0.."
    enter(cpu, EncluLeaf.ERESUME)
    assert (cpu.regs.r12, cpu.regs.rip, cpu.regs.rsp) == (0x1212, BASE + 0x5077, 0x8888)
    assert bytes(cpu.image[160:176]) == b"enclave's xmm0.."


@pytest.mark.parametrize(
    ("vector", "valid"),
    [(Vector.DE, True), (Vector.UD, True), (Vector.BP, True), (Vector.MF, True), (Vector.AC, True),
     (Vector.XM, True), (Vector.PF, True), (Vector.GP, True), (Vector.SS, False), (Vector.NM, False)],
)  # fmt: skip
def test_exitinfo_is_valid_for_the_vectors_of_the_sdm(
    world: World, cpu: MemoryProcessor, vector: Vector, valid: bool
) -> None:
    enter(cpu)
    aex(cpu, Fault(vector))
    info = ssa(world, 0)["EXITINFO"]
    assert bool(info >> 31) == valid
    assert not valid or info & 0xFF == vector


@pytest.mark.parametrize("vector", [Vector.PF, Vector.GP])
def test_exitinfo_of_pf_and_gp_needs_exinfo(vector: Vector) -> None:
    world = World(miscselect=0).build()
    cpu = world.processor()
    enter(cpu)
    aex(cpu, Fault(vector, 7, 0x1234))
    assert ssa(world, 0)["EXITINFO"] == 0


def test_exinfo_has_address_and_code_and_cr2_loses_its_low_bits(world: World, cpu: MemoryProcessor) -> None:
    enter(cpu)
    fault = PageFault(BASE + 0x6123, 0x8007)
    aex(cpu, fault)
    at = 4096 - 184 - 16
    assert struct.unpack("<QI", world.page(0x1000).data[at : at + 12]) == (BASE + 0x6123, 0x8007)
    assert fault.address == BASE + 0x6000


def test_a_handler_nests_in_the_next_frame(world: World, cpu: MemoryProcessor) -> None:
    enter(cpu)
    cpu.regs.rip = BASE + 0x5010
    aex(cpu, Fault(Vector.UD))
    enter(cpu)
    assert cpu.regs.rax == 1
    GPRSGX.put(world.page(0x1000).data, "RIP", BASE + 0x5012, 4096 - 184)
    cpu.regs.rax, cpu.regs.rbx = EncluLeaf.EEXIT, 0x1234
    execute(cpu)
    enter(cpu, EncluLeaf.ERESUME)
    assert cpu.regs.rip == BASE + 0x5012


def put(world: World, offset: int, data: bytes) -> int:
    page = world.page(offset & ~0xFFF).data
    page[offset & 0xFFF : (offset & 0xFFF) + len(data)] = data
    return BASE + offset


def test_report_mac_verifies_with_the_report_key_of_egetkey(world: World, cpu: MemoryProcessor) -> None:
    enter(cpu)
    secs = world.encl.secs
    assert secs is not None
    target = TARGETINFO.pack(
        MEASUREMENT=secs.mrenclave, ATTRIBUTES=secs.attributes, XFRM=secs.xfrm, MISCSELECT=secs.miscselect
    )
    regs = cpu.regs
    regs.rbx, regs.rcx = put(world, 0x6000, target), put(world, 0x6200, b"D" * 64)
    regs.rax, regs.rdx = EncluLeaf.EREPORT, BASE + 0x6400
    execute(cpu)
    report = bytes(world.page(0x6000).data[0x400 : 0x400 + 432])
    assert REPORT.get(report, "REPORTDATA") == b"D" * 64 and REPORT.get(report, "MRENCLAVE") == secs.mrenclave
    request = KEYREQUEST.pack(KEYNAME=KeyName.REPORT_KEY, KEYID=REPORT.get(report, "KEYID"))
    regs.rax, regs.rbx, regs.rcx = EncluLeaf.EGETKEY, put(world, 0x7000, request), BASE + 0x7200
    execute(cpu)
    key = bytes(world.page(0x7000).data[0x200:0x210])
    assert regs.rax == 0 and crypto.cmac(key, report[:384]) == REPORT.get(report, "MAC")


def test_seal_key_depends_on_machine_and_signer_only_by_policy(world: World) -> None:
    secs = world.encl.secs
    assert secs is not None
    by_signer = KEYREQUEST.pack(KEYNAME=KeyName.SEAL_KEY, KEYPOLICY=2)
    first = keys.derive(world.machine, secs, by_signer)
    secs.mrenclave = b"\1" * 32
    assert keys.derive(world.machine, secs, by_signer) == first
    world.machine.secret = b"t" * 32
    assert keys.derive(world.machine, secs, by_signer) != first


def test_egetkey_refuses_the_provision_key_without_the_attribute(world: World, cpu: MemoryProcessor) -> None:
    enter(cpu)
    request = put(world, 0x7000, KEYREQUEST.pack(KEYNAME=KeyName.PROVISION_KEY))
    cpu.regs.rax, cpu.regs.rbx, cpu.regs.rcx = EncluLeaf.EGETKEY, request, BASE + 0x7200
    execute(cpu)
    assert cpu.regs.rax == 2 and cpu.regs.rflags & ZF


def test_eaccept_of_what_nobody_changed_mismatches(world: World, cpu: MemoryProcessor) -> None:
    enter(cpu)
    cpu.regs.rbx = put(world, 0x7000, SECINFO.pack(FLAGS=0x203 | 8))
    cpu.regs.rax, cpu.regs.rcx = EncluLeaf.EACCEPT, BASE + 0x6000
    execute(cpu)
    assert cpu.regs.rax == 19 and cpu.regs.rflags & ZF


def test_emodpe_extends_permissions(world: World, cpu: MemoryProcessor) -> None:
    enter(cpu)
    cpu.regs.rbx = put(world, 0x7000, SECINFO.pack(FLAGS=0x207))
    cpu.regs.rax, cpu.regs.rcx = EncluLeaf.EMODPE, BASE + 0x6000
    execute(cpu)
    assert world.page(0x6000).rwx == 7 and cpu.invalidated == [world.page(0x6000)]


def test_an_operand_outside_elrange_is_gp(cpu: MemoryProcessor) -> None:
    enter(cpu)
    cpu.regs.rax, cpu.regs.rbx, cpu.regs.rcx = EncluLeaf.EACCEPT, 0x1000, BASE + 0x6000
    with pytest.raises(GeneralProtection, match="ELRANGE"):
        execute(cpu)


def test_edeccssa_gives_up_a_frame(world: World, cpu: MemoryProcessor) -> None:
    enter(cpu)
    aex(cpu, None)
    enter(cpu)
    cpu.regs.rax = EncluLeaf.EDECCSSA
    execute(cpu)
    assert TCS.get(world.page(0).data, "CSSA") == 0
    with pytest.raises(GeneralProtection):
        execute(cpu)


def test_tf_is_masked_inside_and_comes_back(cpu: MemoryProcessor) -> None:
    cpu.regs.rflags |= 0x100
    enter(cpu)
    assert not cpu.regs.rflags & 0x100
    aex(cpu, None)
    assert cpu.regs.rflags & 0x100
