"""What people are told of a leaf that returned an error code."""

from __future__ import annotations

import pytest

from enclu.base.events import LeafRefused
from enclu.base.listeners import Events
from enclu.sgx import refused, telling
from enclu.sgx.enclu import execute
from enclu.sgx.structs import KEYREQUEST, SECINFO, EncluLeaf, ErrorCode, KeyName
from tests.support.memory_processor import BASE, MemoryProcessor, World


@pytest.fixture
def world() -> World:
    return World().build()


@pytest.fixture
def cpu(world: World) -> MemoryProcessor:
    entered = world.processor()
    entered.regs.rax, entered.regs.rbx, entered.regs.rcx = EncluLeaf.EENTER, BASE, 0x41_0000
    execute(entered)
    return entered


def told(world: World, cpu: MemoryProcessor, leaf: EncluLeaf, operand: bytes, target: int) -> str:
    """The reason, of a leaf with this operand at RBX."""
    world.page(0x7000).data[: len(operand)] = operand
    cpu.regs.rax, cpu.regs.rbx, cpu.regs.rcx, cpu.regs.rdx = leaf, BASE + 0x7000, BASE + target, BASE + 0x6000
    execute(cpu)
    events, reasons = Events(), list[str]()
    events.listen(lambda event: reasons.append(event.reason), LeafRefused)
    telling.refused(events, cpu, leaf)
    (reason,) = reasons
    return reason


def test_eaccept_and_the_page_beside_each_other(world: World, cpu: MemoryProcessor) -> None:
    reason = told(world, cpu, EncluLeaf.EACCEPT, SECINFO.pack(FLAGS=0x201 | 8), 0x6000)
    assert reason == (
        "SGX_PAGE_ATTRIBUTES_MISMATCH: SECINFO says PT_REG R-- pending, the EPCM PT_REG RW- "
        f"at {BASE + 0x6000:#x}"
    )  # fmt: skip


def test_eacceptcopy_of_a_page_that_nobody_augmented(world: World, cpu: MemoryProcessor) -> None:
    reason = told(world, cpu, EncluLeaf.EACCEPTCOPY, SECINFO.pack(FLAGS=0x203), 0x6000)
    assert reason.startswith("SGX_PAGE_ATTRIBUTES_MISMATCH: SECINFO says PT_REG RW-, the EPCM PT_REG RW- at ")


def test_a_key_that_the_enclave_may_not_have(world: World, cpu: MemoryProcessor) -> None:
    reason = told(world, cpu, EncluLeaf.EGETKEY, KEYREQUEST.pack(KEYNAME=KeyName.PROVISION_KEY), 0x7200)
    assert reason.startswith("SGX_INVALID_ATTRIBUTE: PROVISION_KEY with ISVSVN 0, ")


def test_a_key_that_does_not_exist(world: World, cpu: MemoryProcessor) -> None:
    assert told(world, cpu, EncluLeaf.EGETKEY, KEYREQUEST.pack(KEYNAME=99), 0x7200).startswith(
        "SGX_INVALID_KEYNAME: KEYNAME 99 with ISVSVN 0, "
    )


def test_a_change_that_threads_may_not_have_seen(world: World, cpu: MemoryProcessor) -> None:
    page = world.page(0x6000)
    assert page.secs is not None
    page.pr, page.epoch = True, page.secs.epoch
    reason = told(world, cpu, EncluLeaf.EACCEPT, SECINFO.pack(FLAGS=0x203 | 0x20), 0x6000)
    assert reason.startswith(f"{ErrorCode.SGX_NOT_TRACKED.name}: threads that entered before")


def test_nothing_is_told_of_success(cpu: MemoryProcessor) -> None:
    events, heard = Events(), list[LeafRefused]()
    events.listen(heard.append, LeafRefused)
    cpu.regs.rax = ErrorCode.SUCCESS
    telling.refused(events, cpu, EncluLeaf.EACCEPT)
    assert heard == []


def test_operands_that_another_thread_has_changed_meanwhile(world: World, cpu: MemoryProcessor) -> None:
    cpu.regs.rax, cpu.regs.rbx, cpu.regs.rcx = ErrorCode.SGX_PAGE_ATTRIBUTES_MISMATCH, BASE + 0x7100, BASE + 0x6000
    world.page(0x7000).data[0x100:0x140] = b"\xff" * 64
    assert refused.why(cpu, EncluLeaf.EACCEPT) == "what it was given has been changed since"
