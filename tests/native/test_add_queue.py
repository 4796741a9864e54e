"""The queue of pages that a program adds one a call, as the supervisor sees it."""

from __future__ import annotations

from enclu.native.add_queue import DATA_AT, PAGES, SIZE, WORD, AddQueue
from enclu.sgx.epc import PAGE_SIZE
from enclu.sgx.structs import SECINFO


def armed(most: int) -> tuple[AddQueue, memoryview]:
    memory = memoryview(bytearray(SIZE))
    queue = AddQueue(memory)
    queue.arm(0x5000, most, 1, bytes(SECINFO.size), (0, 0), (1, 2))
    return queue, memory


def put(memory: memoryview, name: str, value: int) -> None:
    memory[8 * WORD[name] : 8 * WORD[name] + 8] = value.to_bytes(8, "little")


def nobody() -> None:
    raise AssertionError("nobody is in the code")


def test_it_gives_what_is_in_it_once() -> None:
    queue, memory = armed(4)
    memory[DATA_AT : DATA_AT + 2 * PAGE_SIZE] = bytes([7]) * 2 * PAGE_SIZE
    put(memory, "COUNT", 2)
    assert queue.armed and queue.count == 2
    assert bytes(queue.disarm(nobody)) == bytes([7]) * 2 * PAGE_SIZE
    assert not queue.armed and bytes(queue.disarm(nobody)) == b""


def test_it_has_no_more_pages_than_there_was_room_for_whatever_the_program_says() -> None:
    for most in (0, 3, PAGES, 2 * PAGES):
        queue, memory = armed(most)
        put(memory, "COUNT", (1 << 64) - 1)
        put(memory, "MOST", (1 << 64) - 1)
        assert len(queue.disarm(nobody)) == min(most, PAGES) * PAGE_SIZE


def test_who_is_in_the_code_is_taken_out_before_anybody_looks() -> None:
    queue, memory = armed(4)
    put(memory, "LOCK", 0x7E90_0000_3000)

    def take_out() -> None:
        assert not queue.armed
        put(memory, "COUNT", 1)

    assert len(queue.disarm(take_out)) == PAGE_SIZE and not queue.locked
