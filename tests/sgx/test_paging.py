"""EPA, EBLOCK, ETRACK, EWB and ELDU: what comes back is what was evicted, or nothing does."""

from typing import Any, SupportsIndex, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enclu.sgx import encls
from enclu.sgx.enclave_mode import WORD
from enclu.sgx.epc import EPCPage, PageType
from enclu.sgx.exceptions import Fault, Vector
from enclu.sgx.secs import Secs
from enclu.sgx.structs import PCMD, SECINFO, ErrorCode
from tests.support.bare_enclave import (
    BASE,
    RW,
    TCS_FLAGS,
    added,
    created,
    entered,
    evict,
    fresh,
    pretend_initialised,
    tcs,
    version_array,
)

SUCCESS, MAC_FAIL = ErrorCode.SUCCESS, ErrorCode.SGX_MAC_COMPARE_FAIL


def entry(page: EPCPage) -> tuple[object, ...]:
    return page.valid, page.pt, page.rwx, page.pending, page.modified, page.pr, page.blocked, page.enclaveaddress


@settings(max_examples=20)
@given(st.binary(min_size=1, max_size=64), st.integers(0, 511), st.sampled_from([0x201, 0x203, 0x205, 0x207]))
def test_a_page_comes_back_as_it_was(seed: bytes, slot: int, flags: int) -> None:
    machine, secs = created()
    content = (seed * 4096)[:4096]
    page = added(secs, 0x3000, SECINFO.pack(FLAGS=flags), content)
    before, va = entry(page), version_array()
    ciphertext, pcmd = evict(machine, page, va, slot)
    assert not page.valid and secs.children == 0 and ciphertext != content
    back = fresh()
    assert encls.eldu(machine, back, va, slot, ciphertext, pcmd, BASE + 0x3000, secs) == SUCCESS
    assert entry(back) == before and bytes(back.data) == content
    assert secs.children == 1 and back.secs is secs and not any(va.data)


@pytest.mark.parametrize("state", ["pending", "modified", "pr"])
def test_the_states_of_edmm_survive_eviction(state: str) -> None:
    machine, secs = created()
    pretend_initialised(secs)
    page = fresh()
    encls.eaug(secs, page, BASE)
    page.pending = False
    if state == "pending":
        page.pending = True
    elif state == "modified":
        assert encls.emodt(page, PageType.TRIM) == SUCCESS
    else:
        assert encls.emodpr(page, 1) == SUCCESS
    before, va, back = entry(page), version_array(), fresh()
    ciphertext, pcmd = evict(machine, page, va, 0)
    assert encls.eldu(machine, back, va, 0, ciphertext, pcmd, BASE, secs) == SUCCESS
    assert entry(back) == before


@settings(max_examples=30)
@given(st.data())
def test_one_changed_bit_is_refused(data: st.DataObject) -> None:
    machine, secs = created()
    va, back = version_array(), fresh()
    ciphertext, pcmd = evict(machine, added(secs, 0), va, 3)
    parts = {"ciphertext": bytearray(ciphertext), "pcmd": bytearray(pcmd)}
    which = data.draw(st.sampled_from(["ciphertext", "secinfo", "enclaveid", "mac"]))
    start, size = {"ciphertext": (0, 4096), "secinfo": (0, 64), "enclaveid": (64, 8), "mac": (112, 16)}[which]
    bit = data.draw(st.integers(0, size * 8 - 1))
    parts["ciphertext" if which == "ciphertext" else "pcmd"][start + bit // 8] ^= 1 << bit % 8
    changed = bytes(parts["ciphertext"]), bytes(parts["pcmd"])
    try:
        code = encls.eldu(machine, back, va, 3, *changed, BASE, secs)
    except Fault as fault:
        assert fault.vector == Vector.GP  # the type became PT_VA
    else:
        assert code == MAC_FAIL
    assert not back.valid and secs.children == 0
    assert encls.eldu(machine, back, va, 3, ciphertext, pcmd, BASE, secs) == SUCCESS


def test_another_address_enclave_slot_or_machine_is_refused() -> None:
    machine, secs = created()
    _, stranger = created(machine)
    elsewhere, _ = created()
    va = version_array()
    ciphertext, pcmd = evict(machine, added(secs, 0), va, 0)
    evict(machine, added(secs, 0x1000), va, 1)
    as_stranger = bytearray(pcmd)
    PCMD.put(as_stranger, "ENCLAVEID", stranger.eid)
    for owner, slot, metadata, address, enclave in (
        (machine, 0, pcmd, BASE + 0x1000, secs),
        (machine, 0, pcmd, BASE, stranger),
        (machine, 0, bytes(as_stranger), BASE, stranger),
        (machine, 1, pcmd, BASE, secs),
        (machine, 2, pcmd, BASE, secs),
        (elsewhere, 0, pcmd, BASE, secs),
    ):
        assert encls.eldu(owner, fresh(), va, slot, ciphertext, metadata, address, enclave) == MAC_FAIL


def test_an_old_copy_is_refused() -> None:
    machine, secs = created()
    va, page = version_array(), added(secs, 0, content=b"old" + bytes(4093))
    old = evict(machine, page, va, 0)
    assert encls.eldu(machine, page, va, 0, *old, BASE, secs) == SUCCESS
    assert encls.eldu(machine, fresh(), va, 0, *old, BASE, secs) == MAC_FAIL, "the slot is empty"
    page.data[:3] = b"new"
    new = evict(machine, page, va, 0)
    back = fresh()
    assert encls.eldu(machine, back, va, 0, *old, BASE, secs) == MAC_FAIL
    assert encls.eldu(machine, back, va, 0, *new, BASE, secs) == SUCCESS and bytes(back.data[:3]) == b"new"


def test_a_version_array_is_evicted_into_another() -> None:
    machine, secs = created()
    inner, outer, back = version_array(), version_array(), fresh()
    page = evict(machine, added(secs, 0), inner, 7)
    code, ciphertext, pcmd = encls.ewb(machine, inner, outer, 0)
    assert code == SUCCESS and PCMD.get(pcmd, "ENCLAVEID") == 0 and secs.children == 0
    with pytest.raises(Fault):
        encls.eldu(machine, fresh(), inner, 7, *page, BASE, secs)
    assert encls.eldu(machine, back, outer, 0, ciphertext, pcmd, 0, None) == SUCCESS
    assert encls.eldu(machine, fresh(), back, 7, *page, BASE, secs) == SUCCESS


def test_the_secs_goes_last_and_comes_back_first() -> None:
    machine, secs = created()
    va = version_array()
    page = added(secs, 0)
    assert encls.ewb(machine, secs.page, va, 0)[0] == ErrorCode.SGX_CHILD_PRESENT
    assert encls.eremove(secs.page) == ErrorCode.SGX_CHILD_PRESENT
    child = evict(machine, page, va, 1)
    code, ciphertext, pcmd = encls.ewb(machine, secs.page, va, 0)
    assert code == SUCCESS and PCMD.get(pcmd, "ENCLAVEID") == secs.eid
    with pytest.raises(Fault) as caught:
        encls.eldu(machine, fresh(), va, 1, *child, BASE, secs)
    assert caught.value.vector == Vector.PF
    back = fresh()
    assert encls.eldu(machine, back, va, 0, ciphertext, pcmd, 0, secs) == SUCCESS and secs.page is back
    assert encls.eldu(machine, fresh(), va, 1, *child, BASE, secs) == SUCCESS and secs.children == 1


def test_ewb_wants_the_page_blocked_tracked_and_the_slot_empty() -> None:
    machine, secs = created()
    va = version_array()
    first, second = added(secs, 0), added(secs, 0x1000)
    assert encls.ewb(machine, first, va, 0)[0] == ErrorCode.SGX_PAGE_NOT_BLOCKED
    assert encls.eblock(first) == SUCCESS
    assert encls.ewb(machine, first, va, 0)[0] == ErrorCode.SGX_NOT_TRACKED
    assert encls.etrack(secs) == SUCCESS
    assert encls.eblock(second) == SUCCESS
    assert encls.ewb(machine, second, va, 0)[0] == ErrorCode.SGX_NOT_TRACKED, "blocked after ETRACK"
    assert encls.ewb(machine, first, va, 0)[0] == SUCCESS
    assert encls.etrack(secs) == SUCCESS
    assert encls.ewb(machine, second, va, 0)[0] == ErrorCode.SGX_VA_SLOT_OCCUPIED and second.valid


@pytest.mark.parametrize("slot", [-1, 512])
def test_there_are_512_slots(slot: int) -> None:
    machine, secs = created()
    page, va = added(secs, 0), version_array()
    for leaf in (
        lambda: encls.ewb(machine, page, va, slot),
        lambda: encls.eldu(machine, fresh(), va, slot, bytes(4096), PCMD.pack(), BASE, secs),
    ):
        with pytest.raises(Fault) as caught:
            leaf()
        assert caught.value.vector == Vector.GP


def test_versions_are_kept_in_version_arrays_only_and_epa_wants_a_free_page() -> None:
    machine, secs = created()
    page = added(secs, 0)
    for leaf in (lambda: encls.ewb(machine, page, secs.page, 0), lambda: encls.epa(page)):
        with pytest.raises(Fault) as caught:
            leaf()
        assert caught.value.vector == Vector.PF and page.pt is PageType.REG


def test_what_eblock_answers() -> None:
    _, secs = created()
    page = added(secs, 0, TCS_FLAGS, tcs())
    answers = [encls.eblock(p) for p in (page, page, secs.page, version_array(), fresh())]
    assert answers == [
        SUCCESS, ErrorCode.SGX_BLKSTATE, ErrorCode.SGX_PG_IS_SECS, ErrorCode.SGX_NOTBLOCKABLE, ErrorCode.SGX_PG_INVLD
    ]  # fmt: skip


def test_a_processor_inside_since_before_etrack_holds_eviction_back() -> None:
    machine, secs = created()
    page, va = added(secs, 0, RW), version_array()
    early = entered(machine, secs)
    assert encls.eblock(page) == encls.etrack(secs) == SUCCESS
    late = entered(machine, secs)
    assert encls.etrack(secs) == ErrorCode.SGX_PREV_TRK_INCMPL
    late.leave()
    assert not secs.tracked and encls.ewb(machine, page, va, 0)[0] == ErrorCode.SGX_NOT_TRACKED
    early.leave()
    assert secs.tracked and encls.ewb(machine, page, va, 0)[0] == SUCCESS


class ElsewhereMeanwhile(list[int]):
    """A slot of which somebody reads the EPOCH when the processor has gone on to an enclave of a lower epoch."""

    def __getitem__(self, index: SupportsIndex | slice) -> Any:
        if index == WORD["EPOCH"]:
            self[WORD["EID"]] += 1
            self[WORD["EEXITS"]] += 1
            self[WORD["EENTERS"]] += 1
            return 0
        return super().__getitem__(index)


def test_a_processor_that_leaves_for_another_enclave_meanwhile_is_not_taken_for_an_early_one() -> None:
    machine, secs = created()
    assert encls.etrack(secs) == SUCCESS
    mode = entered(machine, secs)
    mode.words = cast(memoryview, ElsewhereMeanwhile(mode.words))
    assert secs.tracked


def test_a_processor_about_to_enter_holds_nothing_back_but_may_be_late() -> None:
    """It may have read the epoch before ETRACK; whoever began that has it give up."""
    machine, secs = created()
    page, va = added(secs, 0, RW), version_array()
    mode = entered(machine, secs)
    mode.words[WORD["MODE"]] = 0
    assert encls.eblock(page) == encls.etrack(secs) == SUCCESS
    assert secs.tracked and secs.late
    assert encls.etrack(secs) == encls.ewb(machine, page, va, 0)[0] == SUCCESS
    mode.leave()
    assert not secs.late


def blocked_and_tracked(secs: Secs, count: int) -> list[EPCPage]:
    pages = [added(secs, i * 0x1000, content=bytes([i + 1]) * 4096) for i in range(count)]
    assert [encls.eblock(page) for page in pages] == [SUCCESS] * count and encls.etrack(secs) == SUCCESS
    return pages


def test_a_run_goes_and_comes_back_as_its_pages_would_one_by_one() -> None:
    machine, secs = created()
    pages, va, slots = blocked_and_tracked(secs, 3), version_array(), [5, 4, 511]
    pcmds = encls.ewb_run(machine, pages, va, slots)
    assert len(pcmds) == 3 and secs.children == 0 and not any(page.valid for page in pages)
    copies = [(va, slot, bytes(page.data), pcmd) for page, slot, pcmd in zip(pages, slots, pcmds, strict=True)]
    alone = fresh()
    assert encls.eldu(machine, alone, *copies[1], BASE + 0x1000, secs) == SUCCESS and alone.data[0] == 2
    copies[1] = (va, 4, *evict(machine, alone, va, 4))
    back = [fresh() for _ in copies]
    assert encls.eldu_run(machine, back, copies, BASE, secs) == 3 and secs.children == 3 and not any(va.data)
    assert [entry(page) for page in back] == [
        (True, PageType.REG, 3, *[False] * 4, BASE + i * 0x1000) for i in range(3)
    ]
    assert [bytes(page.data) for page in back] == [bytes([i + 1]) * 4096 for i in range(3)]


@pytest.mark.parametrize("obstacle", ["not blocked", "not valid", "not tracked", "slot occupied", "no slot"])
def test_a_run_ends_before_the_first_page_that_cannot_be_evicted(obstacle: str) -> None:
    machine, secs = created()
    pages, va, slots = blocked_and_tracked(secs, 3), version_array(), [0, 1, 2]
    match obstacle:
        case "not blocked":
            pages[1].blocked = False
        case "not valid":
            pages[1].invalidate()
        case "not tracked":
            pages[1].epoch = secs.epoch
        case "slot occupied":
            va.data[8] = 1
        case "no slot":
            slots[1] = 512
    contents = bytes(pages[1].data)
    assert len(encls.ewb_run(machine, pages, va, slots)) == 1 and secs.children == 2
    assert not pages[0].valid and pages[2].valid and bytes(pages[1].data) == contents


@pytest.mark.parametrize("obstacle", ["changed", "elsewhere", "in use", "no slot", "no version array", "a SECS"])
def test_a_run_ends_before_the_first_page_that_cannot_come_back(obstacle: str) -> None:
    machine, secs = created()
    pages, va, slots = blocked_and_tracked(secs, 3), version_array(), [0, 1, 2]
    pcmds = encls.ewb_run(machine, pages, va, slots)
    copies = [(va, slot, bytes(page.data), pcmd) for page, slot, pcmd in zip(pages, slots, pcmds, strict=True)]
    back = [fresh() for _ in copies]
    match obstacle:
        case "changed":
            copies[1] = (va, 1, bytes(4096), pcmds[1])
        case "elsewhere":
            copies[1] = copies[2]
        case "in use":
            back[1] = added(secs, 0x8000)
            secs.children -= 1
        case "no slot":
            copies[1] = (va, 512, *copies[1][2:])
        case "no version array":
            copies[1] = (fresh(), *copies[1][1:])
        case "a SECS":
            copies[1] = (*copies[1][:3], PCMD.pack(SECINFO=SECINFO.pack(), ENCLAVEID=secs.eid))
    assert encls.eldu_run(machine, back, copies, BASE, secs) == 1 and secs.children == 1
    assert back[0].valid and not back[2].valid


def test_no_run_goes_while_a_processor_has_not_been_tracked_or_comes_back_without_the_secs() -> None:
    machine, secs = created()
    early, va = entered(machine, secs), version_array()
    pages = blocked_and_tracked(secs, 2)
    assert not encls.ewb_run(machine, pages, va, [0, 1])
    early.leave()
    pcmds = encls.ewb_run(machine, pages, va, [0, 1])
    copies = [(va, i, bytes(page.data), pcmd) for i, (page, pcmd) in enumerate(zip(pages, pcmds, strict=True))]
    secs.page.invalidate()
    assert encls.eldu_run(machine, [fresh(), fresh()], copies, BASE, secs) == 0 and any(va.data)
