"""An exception that breaks into the host: nothing is mixed up by it, and nothing is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import enclu
from tests.host.test_ecalls import ADD, LOOP, OCALL, OCALLS, READ, SUM, UD
from tests.support.breaking import Broken, alarm, every

NOWHERE = 0x10000
READ_CALL, PIPE2 = 0, 293
"""System calls that have no names here."""
NESTED = 5
ROUNDS = int(os.environ.get("ENCLU_TEST_INTERRUPTIONS", "300"))
"""ECALLs of each thread into which exceptions are raised at random; the time grows with it."""


@pytest.fixture
def enclave(process: enclu.Process, image: Path) -> enclu.Enclave:
    enclave = process.load(image)
    enclave.ocalls[0] = lambda n: enclave.ecall(ADD, n) if n == NESTED else 2 * n
    return enclave


def works(enclave: enclu.Enclave, n: int) -> None:
    """Its answers are those to the questions of now."""
    assert [enclave.ecall(ADD, n), enclave.ecall(OCALL, n + 10)] == [n + 1, 2 * (n + 10)]
    assert enclave.process.syscall("getpid") == enclave.process.pid


def unhandled(enclave: enclu.Enclave) -> None:
    with contextlib.suppress(enclu.EnclaveException):
        enclave.ecall(READ, NOWHERE)


def far(enclave: enclu.Enclave) -> None:
    """Memory that is not shared: system calls of the process copy it."""
    process = enclave.process
    address = process.syscall("mmap", 0, 4096, 3, 0x22, -1, 0)
    try:
        process.memory.write(address, b"text")
        assert process.memory.read(address, 4) == b"text"
    finally:
        process.syscall("munmap", address, 4096)


PATHS: dict[str, Callable[[enclu.Enclave], Any]] = {
    "an ECALL": lambda enclave: enclave.ecall(ADD, 1),
    "an ECALL with an OCALL": lambda enclave: enclave.ecall(OCALL, 21),
    "an ECALL in an OCALL": lambda enclave: enclave.ecall(OCALL, NESTED),
    "an exception that the enclave handles": lambda enclave: enclave.ecall(UD),
    "an exception that nobody handles": unhandled,
    "bytes that are copied": lambda enclave: enclave.ecall(SUM, bytearray(16)),
    "a system call": lambda enclave: enclave.process.syscall("getpid"),
    "a system call with memory": lambda enclave: enclave.process.syscall("close", enclave.process.open("/dev/null")),
    "memory that is not shared": far,
    "CPUID": lambda enclave: enclave.process.cpuid(0),
}


def broken_into_before_any_bytecode(enclave: enclu.Enclave, path: str) -> None:
    process = enclave.process
    works(enclave, 0)
    held = process.arena.held
    n = 0
    for n, (where, outcome) in enumerate(every(lambda: PATHS[path](enclave)), 1):
        assert isinstance(outcome, Broken), (where, outcome)
        works(enclave, n)
        assert process.arena.held == held, f"memory is left behind: {where}"
        assert not enclave.lost, where
    assert n > 100
    assert len(process.threads) == 1
    enclave.unload()


@pytest.mark.parametrize("path", PATHS)
def test_broken_into_before_any_bytecode_later_calls_have_their_own_results(enclave: enclu.Enclave, path: str) -> None:
    broken_into_before_any_bytecode(enclave, path)


@pytest.mark.parametrize("path", ["an ECALL in an OCALL", "a system call"])
def test_so_they_have_where_who_waits_always_sleeps(one_processor: None, enclave: enclu.Enclave, path: str) -> None:
    assert not enclave.process.control.channel.struct.looks
    broken_into_before_any_bytecode(enclave, path)


def test_broken_into_while_a_thread_starts_it_starts_again(enclave: enclu.Enclave) -> None:
    outcomes: Counter[str] = Counter()

    def first(steps: Iterator[tuple[str, Any]]) -> None:
        outcomes.update(type(outcome).__name__ for _, outcome in steps)
        works(enclave, 1)

    for first_bytecode in range(0, 400, 9):
        # Broken into once, at a different place each time: the thread is new.
        steps = every(lambda: enclave.ecall(ADD, 1), first=first_bytecode, step=1 << 30)
        thread = threading.Thread(target=first, args=(steps,))
        thread.start()
        thread.join()
    assert outcomes["Broken"] > 20 and set(outcomes) == {"Broken"}
    assert len(enclave.process.threads) <= 5  # some for those who no longer waited
    enclave.unload()


def test_keyboard_interrupt_stops_the_enclave_and_the_next_answer_is_its_own(enclave: enclu.Enclave) -> None:
    for n in range(2 * len(enclave.tcs)):
        with pytest.raises(KeyboardInterrupt), alarm(0.05):
            enclave.ecall(LOOP)
        works(enclave, n)
    assert not enclave.lost
    enclave.unload()


def test_keyboard_interrupt_between_ocalls_gives_up_the_enclave_that_makes_them_for_ever(
    enclave: enclu.Enclave,
) -> None:
    for n in range(len(enclave.tcs) + 1):
        with pytest.raises(KeyboardInterrupt), alarm(0.05):
            enclave.ecall(OCALLS, 10)
        works(enclave, n)
    enclave.unload()


def test_an_interrupted_call_in_an_ocall_leaves_the_outer_one_as_it_is(enclave: enclu.Enclave) -> None:
    def ocall(n: int) -> int:
        if n > 0:
            with contextlib.suppress(KeyboardInterrupt), alarm(0.05):
                enclave.ecall(LOOP)
            assert enclave.ecall(OCALL, 0) == 7
        return 7

    enclave.ocalls[0] = ocall
    for n in range(1, 2 * len(enclave.tcs)):
        assert enclave.ecall(OCALL, n) == 7
    assert not enclave.lost


def test_an_ocall_may_raise_what_is_no_exception(enclave: enclu.Enclave) -> None:
    def leave(_n: int) -> None:
        raise Broken

    enclave.ocalls[0] = leave
    for n in range(3 * len(enclave.tcs)):
        with pytest.raises(Broken):
            enclave.ecall(OCALL, 1)
        assert enclave.ecall(ADD, n) == n + 1
    assert not enclave.lost
    enclave.unload()


def test_what_is_no_exception_is_not_asked_for_twice(enclave: enclu.Enclave) -> None:
    asked = []

    def leave(n: int) -> None:
        asked.append(n)
        raise Broken

    enclave.ocalls[0] = leave
    with pytest.raises(Broken):
        enclave.ecall(OCALLS, 1)
    assert asked == [1]


@pytest.mark.parametrize("call", ["ppoll", "read"])
def test_a_system_call_that_waits_is_ended(process: enclu.Process, call: str) -> None:
    with process.memory.temporary(64) as memory:
        process.syscall(PIPE2, memory, 0)
        reading = int.from_bytes(process.memory.read(memory, 4), "little")
        with pytest.raises(KeyboardInterrupt), alarm(0.1):
            if call == "ppoll":
                process.syscall("ppoll", 0, 0, 0, 0, 8)
            else:
                process.syscall(READ_CALL, reading, memory, 8)
    assert [process.syscall("getpid") for _ in range(4)] == 4 * [process.pid]


def test_a_signals_handler_may_make_ecalls_of_its_own(enclave: enclu.Enclave) -> None:
    results: list[int] = []

    def handler(_signo: int, _frame: object) -> None:
        results.append(enclave.ecall(ADD, len(results)))
        signal.setitimer(signal.ITIMER_REAL, 0.003)  # not before: on a busy machine, handlers would pile up

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.003)
    try:
        n = 0
        while len(results) < 30:
            assert enclave.ecall(OCALL, n + 10) == 2 * (n + 10)
            n += 1
    finally:
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert results == list(range(1, len(results) + 1))
    assert len(enclave.process.threads) <= 2
    enclave.unload()


def test_a_cancelled_coroutine_mixes_up_no_answers(enclave: enclu.Enclave) -> None:
    async def run() -> list[int]:
        task = asyncio.create_task(enclave.ecall_async(LOOP, timeout=0.5))
        await asyncio.sleep(0.1)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        results: list[int] = await asyncio.gather(*(enclave.ecall_async(ADD, n) for n in range(50)))
        return results

    assert asyncio.run(run()) == list(range(1, 51))
    works(enclave, 1)
    enclave.unload()


def test_exceptions_at_random_in_many_threads_leave_every_result_right(enclave: enclu.Enclave) -> None:
    process = enclave.process
    works(enclave, 0)
    wrong: list[object] = []
    broken: Counter[bool] = Counter()
    running: dict[int, bool] = {}

    def work(first: int) -> None:
        # Only between these two lines may it be broken into, as its own bookkeeping is to be right, too.
        for n in range(first, first + ROUNDS):
            question = (ADD, n, n + 1) if n % 2 else (OCALL, n + 10, 2 * (n + 10))
            answer = None
            try:
                try:
                    running[threading.get_ident()] = True
                    answer = enclave.ecall(*question[:2])
                    running[threading.get_ident()] = False
                except Broken:
                    running[threading.get_ident()] = False
                    answer = question[2]
                    broken[True] += 1
            except Broken:
                answer = question[2]
            if answer != question[2]:
                wrong.append((question, answer))

    threads = [threading.Thread(target=work, args=(i * 1_000_000,)) for i in range(8)]
    for thread in threads:
        thread.start()
    chance = random.Random(1)
    while any(thread.is_alive() for thread in threads):
        for ident in [ident for ident, inside in list(running.items()) if inside and chance.random() < 0.2]:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(Broken))
        time.sleep(0.005)
    for thread in threads:
        thread.join()
    assert not wrong
    assert broken[True] > 5
    del threads, thread
    for n in range(10):
        works(enclave, n)
    assert len(process.threads) <= 9 + 8 and not enclave.lost  # some for those who no longer waited
    gc.collect()
    enclave.unload()
