"""Checkpoints of enclaves, and what makes runs from them the same: recorded sources."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import enclu
from enclu import Move, Step
from enclu.host.edl import Interface
from tests.host.stepping.conftest import (
    ACROSS,
    ADD,
    OCALL,
    PAGE,
    RDRAND,
    RDTSC,
    SPIN,
    STORE,
    TWICE,
    UD,
    WORD,
)
from tests.support.runs import wait_until

PAGE_SIZE = 4096
UD2, RDRAND_OPCODE = b"\x0f\x0b", b"\x0f\xc7"

# Sources.


@pytest.mark.parametrize("function", [RDRAND, RDTSC, TWICE, WORD, ACROSS])
def test_what_differs_from_run_to_run_is_the_same_from_a_checkpoint(enclave: enclu.Enclave, function: int) -> None:
    enclave.stepping.checkpoint()
    first = enclave.step(function)
    enclave.stepping.restore()
    again = enclave.step(function)
    assert again.result == first.result
    assert (first.drawn, again.drawn) == (2 if function == TWICE else 1, 0)


def test_it_is_the_same_whether_interrupted_or_not(enclave: enclu.Enclave) -> None:
    enclave.stepping.checkpoint()
    first = enclave.step(TWICE)
    enclave.stepping.restore()
    again = enclave.step(TWICE, on_step=lambda step: None)
    assert (again.result, again.rips) == (first.result, first.rips)


def test_it_is_the_same_where_nobody_steps_once_it_has_been_met(enclave: enclu.Enclave) -> None:
    enclave.stepping.checkpoint()
    first = enclave.step(RDRAND).result
    enclave.stepping.restore()
    assert enclave.ecall(RDRAND) == first


def test_without_a_checkpoint_it_is_new_each_time(enclave: enclu.Enclave) -> None:
    traces = [enclave.step(RDRAND) for _ in range(3)]
    assert len({trace.result for trace in traces}) == 3
    assert [trace.drawn for trace in traces] == [1] * 3


def test_behind_what_was_recorded_new_values_are_drawn(enclave: enclu.Enclave) -> None:
    enclave.stepping.checkpoint()
    enclave.step(RDRAND)
    enclave.stepping.restore()
    assert [enclave.step(RDRAND).drawn for _ in range(2)] == [0, 1]


@pytest.mark.parametrize("function", [RDRAND, RDTSC])
def test_it_is_the_same_in_another_process(enclave: enclu.Enclave, machine: enclu.Machine, function: int) -> None:
    with machine.process(stepping=True) as process:
        other = process.load(enclave.image, debug=True)
        other.ecall(ADD, 0)
        assert [other.step(function).result for _ in range(2)] == [enclave.step(function).result for _ in range(2)]


def test_time_goes_on(enclave: enclu.Enclave) -> None:
    assert enclave.step(RDTSC).result < enclave.step(RDTSC).result


def test_a_16_bit_result_leaves_the_rest_of_the_register(enclave: enclu.Enclave) -> None:
    assert {enclave.step(WORD).result >> 16 for _ in range(4)} == {0}


def test_a_debugger_finds_the_instruction_itself(enclave: enclu.Enclave) -> None:
    rips = enclave.step(RDRAND).rips
    places = [rip for rip in rips if RDRAND_OPCODE in enclave.debugger.read(rip, 4)[:3]]
    assert places
    assert all(enclave.debugger.read(rip, 4) == enclave.stepping.read(rip, 4) for rip in places)
    assert all(UD2 not in enclave.debugger.read(rip, 3) for rip in places)


# What comes back.


def test_memory_comes_back(enclave: enclu.Enclave) -> None:
    enclave.ecall(STORE, 1)
    assert enclave.stepping.checkpoint() > 10
    enclave.ecall(STORE, 2)
    assert enclave.stepping.restore() > 0
    assert enclave.ecall(STORE, 3) == 1


def test_only_what_has_changed_comes_back(enclave: enclu.Enclave) -> None:
    enclave.stepping.checkpoint()
    assert enclave.stepping.restore() == 0
    enclave.ecall(STORE, 2)
    assert 0 < enclave.stepping.restore() < 8
    assert enclave.stepping.restore() == 0


def test_a_checkpoint_moves(enclave: enclu.Enclave) -> None:
    enclave.ecall(STORE, 1)
    enclave.stepping.checkpoint()
    enclave.ecall(STORE, 2)
    assert 0 < enclave.stepping.move() < 8
    enclave.ecall(STORE, 3)
    enclave.stepping.restore()
    assert enclave.ecall(STORE, 4) == 2


def test_there_may_be_several(enclave: enclu.Enclave) -> None:
    for number in (1, 2):
        enclave.ecall(STORE, number)
        enclave.stepping.checkpoint(number)
    for number in (1, 2, 1):
        enclave.stepping.restore(number)
        assert enclave.stepping.read(enclave.base, 1)
        assert enclave.ecall(STORE, 9) == number


def test_one_that_was_dropped_is_none(enclave: enclu.Enclave) -> None:
    enclave.stepping.checkpoint()
    enclave.stepping.drop()
    with pytest.raises(enclu.HostError, match="nothing is kept there"):
        enclave.stepping.restore()


def test_an_interrupted_thread_comes_back_and_goes_on(enclave: enclu.Enclave) -> None:
    """The enclave is brought back to the middle of a call, which goes on from there once more."""
    answers: list[int] = []
    undisturbed = enclave.step(STORE, 5)
    enclave.ecall(STORE, 5)

    def on_step(step: Step) -> Move:
        before = step.ssa, step.stepping.tcs(step.tcs)
        step.stepping.checkpoint()
        assert before[1]["CSSA"] == 1
        step.call.entry.resume()
        answers.append(len(answers))
        step.stepping.restore()
        assert (step.ssa, step.stepping.tcs(step.tcs)) == before
        return Move.FREE

    trace = enclave.step(STORE, 6, at=undisturbed.instructions // 2, on_step=on_step)
    assert (answers, trace.result) == ([0], 5)
    assert enclave.ecall(STORE, 0) == 6


def test_cssa_comes_back(enclave: enclu.Enclave) -> None:
    tcs = enclave.tcs[0]
    enclave.stepping.checkpoint()
    enclave.on_exception = lambda exception: enclu.Action.UNWIND
    entry = enclave.process.thread().enter(tcs, rdi=0)
    assert enclave.stepping.tcs(tcs)["CSSA"] == 1
    entry.close()
    enclave.stepping.restore()
    assert enclave.stepping.tcs(tcs)["CSSA"] == 0
    assert enclave.ecall(ADD, 1) == 2


def test_a_thread_inside_is_in_the_way(enclave: enclu.Enclave) -> None:
    flag = enclave.process.memory.allocate(4)
    enclave.stepping.checkpoint()
    other = threading.Thread(target=enclave.ecall, args=(SPIN, flag))
    other.start()
    try:
        assert wait_until(lambda: any(entry.running for entry in enclave.entries))
        with pytest.raises(enclu.HostError, match="a thread is in the enclave"):
            for _ in range(1000):
                enclave.stepping.restore()
    finally:
        enclave.process.memory.write(flag, b"\1\0\0\0")
        other.join()


def test_a_production_enclave_comes_back(stepping_process: enclu.Process, stepped_image: Path) -> None:
    enclave = stepping_process.load(stepped_image, debug=False)
    enclave.ecall(STORE, 1)
    enclave.stepping.checkpoint()
    enclave.ecall(STORE, 2)
    enclave.stepping.restore()
    assert enclave.ecall(STORE, 3) == 1


def test_pages_that_were_evicted_come_back(stepped_image: Path) -> None:
    with enclu.Machine(epc="2M") as machine, machine.process(stepping=True) as process:
        enclave = process.load(stepped_image, debug=True, ocalls=[lambda n: 2 * n])
        enclave.ecall(STORE, 1)
        enclave.step(RDRAND)
        enclave.stepping.checkpoint()
        enclave.ecall(STORE, 2)
        others = [process.load(stepped_image) for _ in range(4)]
        assert [other.ecall(ADD, 1) for other in others] == [2] * 4
        enclave.stepping.restore()
        assert enclave.ecall(STORE, 3) == 1
        drawn = enclave.step(RDRAND)
        assert (drawn.drawn, drawn.abandoned) == (1, False)


def test_a_withdrawn_page_is_there_again(enclave: enclu.Enclave) -> None:
    page = enclave.ecall(PAGE, 0)
    enclave.stepping.checkpoint()
    enclave.stepping.withdraw(page)
    enclave.stepping.restore()
    enclave.on_exception = lambda exception: enclu.Action.RAISE
    assert enclave.ecall(10) is not None


def test_an_enclave_in_a_fresh_process_of_the_same_image_starts_alike(
    machine: enclu.Machine, stepped_image: Path
) -> None:
    counts = set()
    for _ in range(2):
        enclave = machine.process(stepping=True).load(stepped_image, ocalls=[lambda n: 2 * n])
        enclave.ecall(ADD, 0)
        counts.add((enclave.step(OCALL, 4).instructions, enclave.step(UD).instructions))
    assert len(counts) == 1


# EDMM.


@pytest.fixture
def sdk(stepping_process: enclu.Process, sdk_image: Path, interface: Interface) -> enclu.Enclave:
    return stepping_process.load(sdk_image, convention=interface.convention())


def spare(enclave: enclu.Enclave, page: int = 0) -> int:
    (offset, _), *_ = [region for region in enclave.image.reserved if region[1] >= 16 * PAGE_SIZE]
    return enclave.base + offset + page * PAGE_SIZE


Change = Callable[[enclu.Enclave], object]


def added(enclave: enclu.Enclave) -> object:
    return enclave.ecall("add_page", spare(enclave, 1))


def removed(enclave: enclu.Enclave) -> object:
    return enclave.ecall("remove_page", spare(enclave))


def restricted(enclave: enclu.Enclave) -> object:
    return enclave.ecall("protect_page", spare(enclave))


@pytest.mark.parametrize("change", [added, removed, restricted])
def test_what_edmm_has_changed_comes_back(sdk: enclu.Enclave, change: Change) -> None:
    sdk.ecall("add_page", spare(sdk))
    pages = sdk.stepping.checkpoint()
    for _ in range(2):
        assert change(sdk) == 0
        assert sdk.stepping.restore() > 0
        assert sdk.stepping.checkpoint() == pages
        assert sdk.ecall("touch", spare(sdk)) == 0x5A
        sdk.ecall("squares", spare(sdk), 1)  # writes there
        sdk.stepping.restore()


def test_a_page_that_has_come_since_is_gone_again(sdk: enclu.Enclave) -> None:
    sdk.stepping.checkpoint()
    added(sdk)
    sdk.stepping.restore()
    sdk.on_exception = lambda exception: enclu.Action.RAISE
    with pytest.raises(enclu.EnclaveException):
        sdk.ecall("touch", spare(sdk, 1))


def test_a_call_that_adds_a_page_can_be_made_again_and_again(sdk: enclu.Enclave) -> None:
    sdk.stepping.checkpoint()
    traces = []
    for _ in range(3):
        traces.append(sdk.step("add_page", spare(sdk)))
        sdk.stepping.restore()
    assert [trace.result for trace in traces] == [0] * 3
    assert traces[0].rips == traces[1].rips == traces[2].rips


def test_a_trimmed_page_in_the_middle_of_its_removal_comes_back(sdk: enclu.Enclave) -> None:
    sdk.ecall("add_page", spare(sdk))
    sdk.stepping.checkpoint()
    whole = sdk.step("remove_page", spare(sdk)).instructions
    for at in (whole // 3, 2 * whole // 3):  # each of which costs a TCS
        sdk.stepping.restore()
        assert sdk.ecall("touch", spare(sdk)) == 0x5A
        sdk.stepping.restore()
        sdk.step("remove_page", spare(sdk), at=at, on_step=lambda step: Move.ABANDON)
    sdk.stepping.restore()
    assert sdk.ecall("touch", spare(sdk)) == 0x5A
