"""AEX-Notify: ERESUME that enters anew.  SDM 3D ERESUME, EENTER, EADD, EACCEPT."""

from __future__ import annotations

import pytest

from enclu.sgx.aex import aex
from enclu.sgx.enclu import execute
from enclu.sgx.exceptions import Fault, GeneralProtection, PageFault, Vector
from enclu.sgx.structs import GPRSGX, TCS, TCS_AEXNOTIFY, TCS_DBGOPTIN, Attribute, EncluLeaf
from tests.support.memory_processor import BASE, SSA_FRAMES, MemoryProcessor, World

AEP = 0x41_0000
TF = 1 << 8
AT = 4096 - GPRSGX.size


@pytest.fixture
def world() -> World:
    """An enclave that asks for it, as does its TCS."""
    world = World().build()
    world.page(0).secs.attributes |= Attribute.AEXNOTIFY  # type: ignore[union-attr]
    TCS.put(world.page(0).data, "FLAGS", TCS_AEXNOTIFY)
    return world


@pytest.fixture
def cpu(world: World) -> MemoryProcessor:
    return world.processor()


def frame(world: World, number: int) -> memoryview:
    return world.page(0x1000 + number * 4096).data


def notify(world: World, number: int, byte: int = 1) -> None:
    GPRSGX.put(frame(world, number), "AEXNOTIFY", byte, AT)


def enclu(cpu: MemoryProcessor, leaf: EncluLeaf) -> bool:
    cpu.regs.rax, cpu.regs.rbx, cpu.regs.rcx = leaf, BASE, AEP
    return execute(cpu)


def interrupted(cpu: MemoryProcessor) -> None:
    enclu(cpu, EncluLeaf.EENTER)
    cpu.regs.r15 = 0x1515
    aex(cpu, None)


def cssa(world: World) -> int:
    return int(TCS.get(world.page(0).data, "CSSA"))


def test_eresume_enters_with_the_next_frame(world: World, cpu: MemoryProcessor) -> None:
    interrupted(cpu)
    notify(world, 0)
    cpu.regs.rsp, cpu.regs.rip = 0x7777_0000, 0x40_0000
    assert enclu(cpu, EncluLeaf.ERESUME)
    regs = cpu.regs
    assert (regs.rip, regs.rax, regs.rcx, regs.r15) == (BASE + 0x5000, 1, 0x40_0003, 0)
    assert (regs.fs_base, regs.gs_base) == (BASE + 0x6000, BASE + 0x7000)
    assert cssa(world) == 1 and GPRSGX.get(frame(world, 1), "URSP", AT) == 0x7777_0000
    assert GPRSGX.get(frame(world, 0), "R15", AT) == 0x1515


def test_what_was_interrupted_goes_on_once_its_frame_is_current_again(world: World, cpu: MemoryProcessor) -> None:
    interrupted(cpu)
    notify(world, 0)
    enclu(cpu, EncluLeaf.ERESUME)
    notify(world, 0, 0)
    aex(cpu, None)
    assert cssa(world) == 2
    assert not enclu(cpu, EncluLeaf.ERESUME)
    assert cssa(world) == 1
    cpu.regs.rax = EncluLeaf.EDECCSSA
    execute(cpu)
    assert cssa(world) == 0


@pytest.mark.parametrize("byte", [0, 2, 0xFE])
def test_without_the_first_bit_of_the_byte_it_resumes(world: World, cpu: MemoryProcessor, byte: int) -> None:
    interrupted(cpu)
    notify(world, 0, byte)
    assert not enclu(cpu, EncluLeaf.ERESUME)
    assert cpu.regs.r15 == 0x1515 and cssa(world) == 0


def test_an_aex_leaves_the_byte_alone(world: World, cpu: MemoryProcessor) -> None:
    notify(world, 0, 0xA5)
    interrupted(cpu)
    assert GPRSGX.get(frame(world, 0), "AEXNOTIFY", AT) == 0xA5


def test_the_frame_means_nothing_where_the_tcs_does_not_ask(cpu: MemoryProcessor) -> None:
    world = World().build()
    cpu = world.processor()
    interrupted(cpu)
    notify(world, 0)
    assert not enclu(cpu, EncluLeaf.ERESUME)


@pytest.mark.parametrize("leaf", [EncluLeaf.EENTER, EncluLeaf.ERESUME])
@pytest.mark.parametrize("flags", [0, TCS_AEXNOTIFY])
def test_tcs_and_enclave_must_agree(flags: int, leaf: EncluLeaf) -> None:
    world = World().build()
    cpu = world.processor()
    interrupted(cpu)
    secs = world.page(0).secs
    assert secs is not None
    secs.attributes = secs.attributes & ~Attribute.AEXNOTIFY | (0 if flags else Attribute.AEXNOTIFY)
    TCS.put(world.page(0).data, "FLAGS", flags)
    with pytest.raises(GeneralProtection, match="differ in AEXNOTIFY"):
        enclu(cpu, leaf)


def test_a_debugger_may_make_them_differ(cpu: MemoryProcessor) -> None:
    world = World().build()
    TCS.put(world.page(0).data, "FLAGS", TCS_AEXNOTIFY | TCS_DBGOPTIN)
    enclu(world.processor(), EncluLeaf.EENTER)


@pytest.mark.parametrize("flags", [4, 1 << 63])
def test_other_flags_of_a_tcs_are_reserved(world: World, cpu: MemoryProcessor, flags: int) -> None:
    TCS.put(world.page(0).data, "FLAGS", TCS_AEXNOTIFY | flags)
    with pytest.raises(GeneralProtection, match="reserved"):
        enclu(cpu, EncluLeaf.EENTER)


def test_without_another_frame_it_is_gp(world: World, cpu: MemoryProcessor) -> None:
    for number in range(SSA_FRAMES):
        interrupted(cpu)
        notify(world, number)
    with pytest.raises(GeneralProtection, match="no SSA frame left"):
        enclu(cpu, EncluLeaf.ERESUME)
    assert not cpu.mode.enclave and cssa(world) == SSA_FRAMES


def test_the_next_frame_must_be_there(world: World, cpu: MemoryProcessor) -> None:
    interrupted(cpu)
    notify(world, 0)
    world.page(0x2000).rwx = 1
    with pytest.raises(PageFault) as caught:
        enclu(cpu, EncluLeaf.ERESUME)
    assert caught.value.address & ~0xFFF == BASE + 0x2000


def test_what_xrstor_would_refuse_does_not_matter(world: World, cpu: MemoryProcessor) -> None:
    """Nothing is loaded from the frame below."""
    interrupted(cpu)
    notify(world, 0)
    frame(world, 0)[520] = 1
    assert enclu(cpu, EncluLeaf.ERESUME)


def test_a_busy_tcs_is_gp(world: World, cpu: MemoryProcessor) -> None:
    interrupted(cpu)
    notify(world, 0)
    other = world.processor()
    enclu(other, EncluLeaf.EENTER)
    with pytest.raises(GeneralProtection, match="busy"):
        enclu(cpu, EncluLeaf.ERESUME)


def test_tf_is_put_aside_as_by_eenter(world: World, cpu: MemoryProcessor) -> None:
    interrupted(cpu)
    notify(world, 0)
    cpu.regs.rflags |= TF
    enclu(cpu, EncluLeaf.ERESUME)
    assert not cpu.regs.rflags & TF and cpu.mode.save_tf == 1
    aex(cpu, Fault(Vector.UD))
    assert cpu.regs.rflags & TF
