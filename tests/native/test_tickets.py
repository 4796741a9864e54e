"""Tickets: what their bytes say, and how they become invalid."""

from __future__ import annotations

import struct
from dataclasses import replace

from enclu.native.shared_area import TICKETS_SIZE
from enclu.native.tickets import FIELDS, FRAMES, SIZE, STUBS, Entry, Tickets, place_of

TCS, OTHER = 0x7F00_0000_0000, 0x7F00_0000_1000


def entry(tcs_la: int = TCS, eid: int = 1, frames: int = 3) -> Entry:
    return Entry(
        tcs_la,
        0x7E20_0000_0000,
        0x7F00_0000_2F48,
        4096,
        frames,
        1,
        2,
        eid,
        TCS,
        1 << 20,
        5,
        0xE4,
        3,
        0x7F00_0000_5000,
    )


def never() -> None:
    raise AssertionError("nobody executes it")


def word(memory: memoryview, tcs_la: int, name: str) -> int:
    return int(struct.unpack_from("<Q", memory, place_of(tcs_la) + 8 * FIELDS.index(name))[0])


def test_a_ticket_says_what_eenter_does() -> None:
    memory = memoryview(bytearray(TICKETS_SIZE))
    Tickets(memory).issue(entry(), never)
    values = {name: word(memory, TCS, name) for name in FIELDS}
    assert values == {
        "KEY": TCS, "TCS": 0x7E20_0000_0000, "GPRSGX": 0x7F00_0000_2F48, "FRAME_SIZE": 4096, "FRAMES": 3, "TF": 0,
        "FS": 1, "GS": 2, "EID": 1, "BASE": TCS, "SIZE": 1 << 20, "EPOCH": 5, "NARROW": 0xE4, "XFRM": 3,
        "ENTRY": 0x7F00_0000_5000,
    }  # fmt: skip


def test_it_has_code_for_each_cssa_that_loads_it_and_jumps_by_its_entry() -> None:
    image = entry().ticket()
    for cssa in range(FRAMES):
        at = STUBS + 16 * cssa
        opcode, value, jump, distance = struct.unpack_from("<BIHi", image, at)
        assert (opcode, value, jump) == (0xB8, cssa, 0x25FF)
        assert at + 11 + distance == 8 * FIELDS.index("ENTRY")
    assert len(image) == SIZE


def test_a_valid_ticket_says_more_frames_without_anybody_taken_out() -> None:
    memory = memoryview(bytearray(TICKETS_SIZE))
    tickets = Tickets(memory)
    assert tickets.frames(TCS) == 0
    for frames in 1, 3, 100:
        tickets.issue(entry(frames=frames), never)
        assert word(memory, TCS, "FRAMES") == tickets.frames(TCS) == min(frames, FRAMES)


def test_revoked_tickets_are_not_valid() -> None:
    memory = memoryview(bytearray(TICKETS_SIZE))
    tickets = Tickets(memory)
    tickets.issue(entry(), never)
    tickets.issue(entry(OTHER, eid=2), never)
    tickets.revoke(1)
    assert (word(memory, TCS, "KEY"), word(memory, OTHER, "KEY")) == (0, OTHER)
    assert tickets.valid(OTHER) and not tickets.valid(TCS)
    tickets.revoke()
    assert word(memory, OTHER, "KEY") == 0


def test_a_suspended_ticket_is_used_again_unless_it_is_revoked() -> None:
    memory = memoryview(bytearray(TICKETS_SIZE))
    tickets = Tickets(memory)
    tickets.issue(entry(), never)
    tickets.suspend(TCS)
    assert word(memory, TCS, "KEY") == 0 and tickets.valid(TCS)
    same = next(la for la in range(OTHER, OTHER + (1 << 32), 4096) if place_of(la) == place_of(TCS))
    assert not tickets.free(same)
    assert tickets.resume(TCS) and word(memory, TCS, "KEY") == TCS
    tickets.suspend(TCS)
    tickets.revoke(1)
    assert not tickets.resume(TCS) and word(memory, TCS, "KEY") == 0 and tickets.free(same)


def test_code_that_threads_may_execute_is_rewritten_only_after_they_were_taken_out() -> None:
    tickets, asked = Tickets(memoryview(bytearray(TICKETS_SIZE))), []
    tickets.issue(entry(), never)
    tickets.revoke()
    tickets.issue(entry(), never)  # the same bytes
    tickets.revoke()
    tickets.issue(entry(eid=7), lambda: asked.append(True))
    assert asked == [True]


def test_those_are_revoked_that_depend_on_a_page() -> None:
    pages = {
        "in front of the TCS": (TCS - 4096, TCS), "the TCS": (TCS, TCS + 4096), "behind it": (TCS + 4096, TCS + 8192),
        "the first frame": (TCS + 8192, TCS + 3 * 4096), "the last": (TCS + 4 * 4096, TCS + 5 * 4096),
        "behind that": (TCS + 5 * 4096, TCS + 6 * 4096), "its last byte": (TCS + 5 * 4096 - 1, TCS + 6 * 4096),
    }  # fmt: skip
    revoked = set()
    for name, page in pages.items():
        tickets = Tickets(memoryview(bytearray(TICKETS_SIZE)))
        tickets.issue(entry(), never)
        tickets.revoke(1, [page])
        revoked |= set() if tickets.valid(TCS) else {name}
    assert revoked == {"the TCS", "the first frame", "the last", "its last byte"}


def test_frames_of_several_pages_begin_in_front_of_the_one_with_gprsgx() -> None:
    large = replace(entry(frames=1), gprsgx=0x7F00_0000_4F48, frame_size=3 * 4096)
    assert [large.depends_on(TCS + at, TCS + at + 4096) for at in range(4096, 6 * 4096, 4096)] == [
        False, True, True, True, False
    ]  # fmt: skip


def test_only_the_enclave_of_the_page_is_concerned_and_no_page_is_nobody() -> None:
    tickets = Tickets(memoryview(bytearray(TICKETS_SIZE)))
    tickets.issue(entry(), never)
    tickets.revoke(2, [(0, 1 << 47)])
    tickets.revoke(1, [])
    assert tickets.valid(TCS)


def test_an_epoch_begins_without_anybody_taken_out() -> None:
    memory = memoryview(bytearray(TICKETS_SIZE))
    tickets = Tickets(memory)
    tickets.issue(entry(), never)
    tickets.issue(entry(OTHER, eid=2), never)
    tickets.begin_epoch(1, 6)
    assert (word(memory, TCS, "KEY"), word(memory, TCS, "EPOCH"), word(memory, OTHER, "EPOCH")) == (TCS, 6, 5)
    tickets.revoke()
    tickets.issue(replace(entry(), epoch=7), never)
    assert word(memory, TCS, "EPOCH") == 7


def test_a_suspended_ticket_is_used_again_in_the_epoch_that_has_begun() -> None:
    memory = memoryview(bytearray(TICKETS_SIZE))
    tickets = Tickets(memory)
    tickets.issue(entry(), never)
    tickets.suspend(TCS)
    tickets.begin_epoch(1, 6)
    tickets.resume(TCS)
    assert word(memory, TCS, "EPOCH") == 6


def test_two_tcses_do_not_share_a_place() -> None:
    tickets = Tickets(memoryview(bytearray(TICKETS_SIZE)))
    tickets.issue(entry(), never)
    same = next(la for la in range(OTHER, OTHER + (1 << 32), 4096) if place_of(la) == place_of(TCS))
    assert not tickets.free(same) and tickets.free(OTHER)
