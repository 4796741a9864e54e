"""`Enclave.step`: an ECALL under callbacks, as SGX-Step has them."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import enclu
from enclu import Move, PageFault, RunTo, Skip, Step, StepTrace
from enclu.host.edl import Interface
from tests.host.conftest import DESIGNS, RESUMING
from tests.host.stepping.conftest import (
    ADD,
    BYTES,
    INT3,
    LOOP,
    MOVS,
    OCALL,
    PAGE,
    PUSHF,
    SPIN,
    STORE,
    STOS,
    TOUCH,
    UD,
)  # fmt: skip

ROUNDS = 5
DF, AC, NT, TF = 0x400, 0x40000, 0x4000, 0x100


def head(trace: StepTrace) -> int:
    """The loop's first instruction."""
    return next(rip for rip, times in Counter(trace.rips).items() if times == ROUNDS)


# Counts and addresses.


def test_instructions_are_counted_and_recorded(enclave: enclu.Enclave) -> None:
    trace = enclave.step(ADD, 41)
    assert (trace.result, trace.interrupts, trace.abandoned) == (42, 0, False)
    assert trace.instructions == len(trace.rips) > 20
    assert all(enclave.base <= rip < enclave.base + enclave.size for rip in trace.rips)


def test_each_round_of_a_loop_has_its_instructions(enclave: enclu.Enclave) -> None:
    few, more = enclave.step(LOOP, ROUNDS), enclave.step(LOOP, ROUNDS + 7)
    assert more.instructions - few.instructions == 2 * 7


def test_a_loop_longer_than_a_turn_is_counted_to_its_end(enclave: enclu.Enclave) -> None:
    few, more = enclave.step(LOOP, 1), enclave.step(LOOP, 6001, record=10)
    assert more.instructions - few.instructions == 2 * 6000
    assert more.rips == few.rips[:10]


def test_each_repetition_of_a_string_instruction_counts(enclave: enclu.Enclave) -> None:
    few, more = enclave.step(STOS, 3), enclave.step(STOS, 33)
    assert more.instructions - few.instructions == 30


def test_instructions_after_an_ocall_count(enclave: enclu.Enclave) -> None:
    trace = enclave.step(OCALL, 21)
    assert trace.result == 42
    assert trace.instructions > enclave.step(ADD, 1).instructions + 20


def test_the_same_call_has_the_same_instructions(enclave: enclu.Enclave) -> None:
    assert enclave.step(ADD, 1).rips == enclave.step(ADD, 2).rips


@pytest.mark.parametrize("design", RESUMING)
def test_single_stepped_it_executes_what_it_executes_undisturbed(
    machine: enclu.Machine, stepped_image: Path, design: str
) -> None:
    enclave = machine.process(design, stepping=True).load(stepped_image, debug=True, ocalls=[lambda n: 2 * n])
    enclave.ecall(ADD, 0)
    undisturbed = enclave.step(OCALL, 21)
    rips: list[int] = []
    stepped = enclave.step(OCALL, 21, on_step=lambda step: rips.append(step.rip))
    assert stepped.result == undisturbed.result == 42
    assert rips == stepped.rips == undisturbed.rips
    assert stepped.interrupts == stepped.instructions == undisturbed.instructions


@pytest.mark.parametrize("design", [design for design in DESIGNS if design not in RESUMING])
def test_a_design_without_eresume_is_refused(machine: enclu.Machine, stepped_image: Path, design: str) -> None:
    enclave = machine.process(design, stepping=True).load(stepped_image)
    with pytest.raises(enclu.HostError, match=f"`{design}` has no way to resume"):
        enclave.step(ADD, 1)
    assert enclave.ecall(ADD, 1) == 2


# What comes next.


def test_steps_are_numbered_from_before_the_first_instruction(enclave: enclu.Enclave) -> None:
    numbers: list[int] = []
    trace = enclave.step(ADD, 1, on_step=lambda step: numbers.append(step.number))
    assert numbers == list(range(trace.instructions))


def test_an_interrupt_comes_at_the_chosen_instruction(enclave: enclu.Enclave) -> None:
    rips = enclave.step(ADD, 1).rips
    seen: list[tuple[int, int]] = []

    def on_step(step: Step) -> Move:
        seen.append((step.number, step.rip))
        return Move.FREE

    trace = enclave.step(ADD, 1, at=17, on_step=on_step)
    assert (seen, trace.result, trace.interrupts) == ([(17, rips[17])], 2, 1)


def test_without_a_callback_there_is_one_interrupt(enclave: enclu.Enclave) -> None:
    trace = enclave.step(ADD, 1, at=17)
    assert (trace.result, trace.interrupts, trace.rips) == (2, 1, enclave.step(ADD, 1).rips)


def test_a_call_shorter_than_that_has_no_interrupt(enclave: enclu.Enclave) -> None:
    trace = enclave.step(ADD, 1, at=100000)
    assert (trace.result, trace.interrupts) == (2, 0)


@pytest.mark.parametrize("record", [0, 1000])
@pytest.mark.parametrize("times", [1, 3, ROUNDS])
def test_it_runs_to_an_address_for_the_chosen_time(enclave: enclu.Enclave, times: int, record: int) -> None:
    address = head(enclave.step(LOOP, ROUNDS))
    counters: list[int] = []

    def on_step(step: Step) -> Move:
        registers = step.ssa.gprsgx
        counters.append(next(r for r in (registers.rdx, registers.rsi) if r <= ROUNDS))
        assert registers.rip == address
        return Move.FREE

    trace = enclave.step(LOOP, ROUNDS, address=address, times=times, record=record, on_step=on_step)
    assert trace.result == 5
    assert counters == [ROUNDS + 1 - times]


def test_run_to_is_about_the_next_time(enclave: enclu.Enclave) -> None:
    address = head(enclave.step(LOOP, ROUNDS))
    trace = enclave.step(LOOP, ROUNDS, address=address, on_step=lambda step: RunTo(address))
    assert (trace.result, trace.interrupts) == (5, ROUNDS)


def test_what_comes_earlier_of_a_number_and_an_address_counts(enclave: enclu.Enclave) -> None:
    rips = enclave.step(ADD, 1).rips
    numbers: list[int] = []

    def on_step(step: Step) -> Move:
        numbers.append(step.number)
        return Move.FREE

    enclave.step(ADD, 1, at=5, address=rips[9], on_step=on_step)
    enclave.step(ADD, 1, at=9, address=rips[5], on_step=on_step)
    assert numbers == [5, 5]


def test_instructions_are_skipped(enclave: enclu.Enclave) -> None:
    numbers: list[int] = []

    def on_step(step: Step) -> Skip:
        numbers.append(step.number)
        return Skip(7)

    trace = enclave.step(ADD, 1, on_step=on_step)
    assert numbers == list(range(0, trace.instructions, 7))
    assert trace.rips == enclave.step(ADD, 1).rips


def test_it_runs_freely_when_it_is_told_to(enclave: enclu.Enclave) -> None:
    trace = enclave.step(ADD, 1, on_step=lambda step: Move.FREE if step.number == 3 else None)
    assert (trace.result, trace.interrupts) == (2, 4)
    assert trace.rips == enclave.step(ADD, 1).rips


def test_a_zero_step_makes_no_progress(enclave: enclu.Enclave) -> None:
    seen: list[Any] = []

    def on_step(step: Step) -> Move:
        seen.append((step.number, step.again, step.ssa.gprsgx))
        return Move.ZERO_STEP if step.again < 4 else Move.FREE

    trace = enclave.step(ADD, 1, at=11, on_step=on_step)
    assert [(number, again) for number, again, _ in seen] == [(11, again) for again in range(5)]
    assert len({registers for _, _, registers in seen}) == 1
    assert trace.result == 2
    assert trace.rips == enclave.step(ADD, 1).rips


def test_an_abandoned_call_has_no_result(enclave: enclu.Enclave) -> None:
    trace = enclave.step(ADD, 1, at=11, on_step=lambda step: Move.ABANDON)
    assert (trace.abandoned, trace.result, trace.instructions) == (True, None, 11)
    assert enclave.ecall(ADD, 1) == 2


def test_what_a_callback_raises_is_raised(enclave: enclu.Enclave) -> None:
    def on_step(step: Step) -> None:
        raise KeyError(step.number)

    with pytest.raises(KeyError, match="9"):
        enclave.step(ADD, 1, at=9, on_step=on_step)
    assert enclave.watcher is None
    assert enclave.step(ADD, 1).result == 2


def test_what_no_callback_returns_is_refused(enclave: enclu.Enclave) -> None:
    with pytest.raises(enclu.HostError, match="returned 'step', which is none of"):
        enclave.step(ADD, 1, on_step=lambda step: "step")  # type: ignore[arg-type,return-value]


def test_a_callback_may_make_calls_on_other_tcses(enclave: enclu.Enclave) -> None:
    answers: list[int] = []

    def call() -> None:
        answers.append(enclave.ecall(ADD, 7))

    def on_step(step: Step) -> Move:
        other = threading.Thread(target=call)
        other.start()
        other.join()
        return Move.FREE

    assert enclave.step(ADD, 1, at=9, on_step=on_step).result == 2
    assert answers == [8]


# What an enclave meets on the way.


def test_an_exception_is_handled_by_the_enclave_as_ever(enclave: enclu.Enclave) -> None:
    stepped = enclave.step(UD, on_step=lambda step: None)
    assert stepped.result == 8
    assert stepped.rips == enclave.step(UD).rips


def test_the_sdk_s_handler_is_stepped_through(
    stepping_process: enclu.Process, sdk_image: Path, interface: Interface
) -> None:
    enclave = stepping_process.load(sdk_image, convention=interface.convention())
    undisturbed = enclave.step("divide", 7, 0)
    stepped = enclave.step("divide", 7, 0, on_step=lambda step: None)
    assert stepped.result == undisturbed.result == -1
    assert stepped.rips == undisturbed.rips


def test_an_exception_that_nobody_handles_is_raised(enclave: enclu.Enclave) -> None:
    with pytest.raises(enclu.EnclaveException) as raised:
        enclave.step(SPIN, 0x10008, on_step=lambda step: None)
    assert (raised.value.name, raised.value.address) == ("#PF", 0x10000)


def test_int3_is_an_exception_also_where_it_is_stepped_at(enclave: enclu.Enclave) -> None:
    vectors: list[int] = []

    def on_exception(exception: enclu.EnclaveException) -> enclu.Action:
        vectors.append(exception.vector)
        return enclu.Action.UNWIND

    enclave.on_exception = on_exception
    enclave.ecall(INT3)
    enclave.step(INT3, on_step=lambda step: None)
    assert vectors[0] == vectors[1]
    assert len(vectors) == 2


def test_pushf_shows_no_trap_flag(enclave: enclu.Enclave) -> None:
    assert enclave.ecall(PUSHF) & TF == 0
    assert enclave.step(PUSHF).result & TF == 0
    assert enclave.step(PUSHF, on_step=lambda step: None).result & TF == 0


def test_the_ssa_shows_no_trap_flag(enclave: enclu.Enclave) -> None:
    flags: list[int] = []
    enclave.step(ADD, 1, on_step=lambda step: flags.append(step.ssa.gprsgx.rflags & TF))
    assert set(flags) == {0}


def test_a_call_that_takes_too_long_is_given_up(enclave: enclu.Enclave) -> None:
    flag = enclave.process.memory.allocate(4)
    start = time.monotonic()
    with pytest.raises(enclu.EnclaveTimeout):
        enclave.step(SPIN, flag, timeout=0.3)
    assert time.monotonic() - start < 10
    assert enclave.step(ADD, 1).result == 2


def test_a_call_may_take_too_long_between_steps(enclave: enclu.Enclave) -> None:
    with pytest.raises(enclu.EnclaveTimeout):
        enclave.step(ADD, 1, on_step=lambda step: time.sleep(0.05), timeout=0.2)
    assert enclave.ecall(ADD, 1) == 2


def test_signals_to_the_thread_disturb_nothing(enclave: enclu.Enclave) -> None:
    undisturbed, over = enclave.step(LOOP, 3000).rips, threading.Event()

    def disturb() -> None:
        while not over.wait(0.001):
            os.kill(enclave.process.pid, signal.SIGURG)

    other = threading.Thread(target=disturb)
    other.start()
    try:
        trace = enclave.step(LOOP, 3000)
    finally:
        over.set()
        other.join()
    assert (trace.result, trace.rips) == (5, undisturbed)


def test_a_process_that_is_killed_between_steps_has_died(enclave: enclu.Enclave) -> None:
    with pytest.raises(enclu.ProcessDied):
        enclave.step(ADD, 1, at=9, on_step=lambda step: os.kill(enclave.process.pid, signal.SIGKILL))


def test_a_process_that_is_killed_while_it_is_stepped_has_died(enclave: enclu.Enclave) -> None:
    flag, pid = enclave.process.memory.allocate(4), enclave.process.pid
    threading.Timer(0.3, os.kill, (pid, signal.SIGKILL)).start()
    with pytest.raises(enclu.ProcessDied):
        enclave.step(SPIN, flag)


def test_an_enclave_in_a_process_that_cannot_step_says_so(process: enclu.Process, stepped_image: Path) -> None:
    with pytest.raises(enclu.HostError, match=r"its process cannot step: Machine\.process\(stepping=True\)"):
        process.load(stepped_image).step(ADD, 1)


def test_a_production_enclave_is_stepped_through(stepping_process: enclu.Process, stepped_image: Path) -> None:
    enclave = stepping_process.load(stepped_image, debug=False)
    enclave.ecall(ADD, 0)
    rips: list[int] = []
    trace = enclave.step(ADD, 1, on_step=lambda step: rips.append(step.rip))
    assert (trace.result, rips) == (2, trace.rips)


def test_an_enclave_narrower_than_xcr0_is_stepped_through(machine: enclu.Machine, tmp_path: Path) -> None:
    from tests.host.conftest import signed_enclave

    source = tmp_path / "narrow.c"
    source.write_text(
        "#include \"trusted.h\"\nuint64_t enclave_main(struct thread *thread, uint64_t function, void *argument)\n"
        "{\n\tuint32_t low, high;\n\t(void)thread, (void)argument, (void)function;\n"
        "\t__asm__ volatile(\"xgetbv\" : \"=a\"(low), \"=d\"(high) : \"c\"(0));\n"
        "\treturn (uint64_t)high << 32 | low;\n}\n"
    )  # fmt: skip
    enclave = machine.process(stepping=True).load(signed_enclave(source, tmp_path))
    assert enclave.ecall(0) == enclave.xfrm == 3
    rips: list[int] = []
    stepped = enclave.step(0, on_step=lambda step: rips.append(step.rip))
    assert (stepped.result, enclave.step(0).result) == (3, 3)
    assert rips == stepped.rips == enclave.step(0).rips


# Pages.


def own(enclave: enclu.Enclave, *numbers: int) -> list[int]:
    return [enclave.ecall(PAGE, number) for number in numbers]


def test_touched_pages_are_told_in_their_order(enclave: enclu.Enclave) -> None:
    pages = own(enclave, 0, 1, 2)
    faults: list[PageFault] = []
    trace = enclave.step(TOUCH, pages=pages, on_page=faults.append)
    assert [(fault.page, fault.access) for fault in trace.faults] == list(
        zip(pages, ("read", "write", "read"), strict=True)
    )
    assert faults == trace.faults
    numbers = [fault.number for fault in faults]
    assert numbers == sorted(numbers) and numbers[0] > 0


@pytest.mark.parametrize("design", RESUMING)
def test_pages_are_told_under_every_design(machine: enclu.Machine, stepped_image: Path, design: str) -> None:
    enclave = machine.process(design, stepping=True).load(stepped_image)
    pages = own(enclave, 0, 1, 2)
    trace = enclave.step(TOUCH, pages=pages, record=0)
    assert [fault.page for fault in trace.faults] == pages
    assert [fault.access for fault in trace.faults] == ["read", "write", "read"]


def test_a_page_is_told_again_when_another_was_touched_in_between(enclave: enclu.Enclave) -> None:
    rips = enclave.step(OCALL, 1).rips
    code = list(dict.fromkeys(rip & -4096 for rip in rips))
    assert len(code) > 1
    order = [rip & -4096 for rip in rips]
    changes = [page for before, page in zip([0, *order], order, strict=False) if page != before]
    trace = enclave.step(OCALL, 1, pages=code)
    assert [fault.page for fault in trace.faults if fault.access == "fetch"] == changes
    assert trace.rips == rips


def test_a_page_is_told_each_time_that_an_instruction_touches_it(enclave: enclu.Enclave) -> None:
    (page,) = own(enclave, 1)
    trace = enclave.step(STOS, 5, pages=[enclave.ecall(BYTES)])
    assert [fault.access for fault in trace.faults] == ["write"] * 5
    assert page not in {fault.page for fault in trace.faults}


def test_an_instruction_that_needs_two_pages_has_both(enclave: enclu.Enclave) -> None:
    pages = own(enclave, 0, 1)
    trace = enclave.step(MOVS, pages=pages)
    assert trace.result == 14
    assert {fault.page for fault in trace.faults} == set(pages)
    assert len({fault.number for fault in trace.faults}) == 1


def test_pages_are_there_again_afterwards(enclave: enclu.Enclave) -> None:
    pages = own(enclave, 0, 1, 2)
    enclave.step(TOUCH, pages=pages, on_page=lambda fault: Move.ABANDON)
    enclave.on_exception = lambda exception: enclu.Action.RAISE
    assert enclave.ecall(TOUCH) is not None


def test_from_a_page_it_can_be_single_stepped(enclave: enclu.Enclave) -> None:
    (page,) = own(enclave, 1)
    steps: list[Step] = []
    faults: list[PageFault] = []

    def on_step(step: Step) -> Move | None:
        steps.append(step)
        return Move.FREE if len(steps) == 3 else None

    def on_page(fault: PageFault) -> Move:
        faults.append(fault)
        return Move.STEP

    undisturbed = enclave.step(TOUCH)
    trace = enclave.step(TOUCH, pages=[page], on_page=on_page, on_step=on_step, at=100000)
    first = faults[0].number
    assert [step.number for step in steps] == [first + 1, first + 2, first + 3]
    assert (trace.result, trace.rips) == (undisturbed.result, undisturbed.rips)


def test_from_a_step_it_goes_on_to_the_next_page(enclave: enclu.Enclave) -> None:
    pages = own(enclave, 0, 1, 2)
    trace = enclave.step(TOUCH, pages=pages, on_step=lambda step: Move.TO_PAGE)
    assert (trace.interrupts, [fault.page for fault in trace.faults]) == (1, pages)


def test_a_handler_of_exceptions_does_not_learn_of_them(enclave: enclu.Enclave) -> None:
    met: list[enclu.EnclaveException] = []

    def on_exception(exception: enclu.EnclaveException) -> enclu.Action:
        met.append(exception)
        return enclu.Action.HANDLE

    enclave.on_exception = on_exception
    enclave.step(TOUCH, pages=own(enclave, 0, 1, 2))
    assert met == []


def test_pages_of_tcs_and_ssa_cannot_be_withdrawn(enclave: enclu.Enclave) -> None:
    tcs = enclave.tcs[0]
    for page in (tcs, enclave.base + enclave.stepping.tcs(tcs)["OSSA"]):
        with pytest.raises(enclu.HostError, match="has a TCS or its SSA"):
            enclave.step(TOUCH, pages=[page])


def test_the_so_many_th_time_at_an_address_cannot_be_told_beside_pages(enclave: enclu.Enclave) -> None:
    with pytest.raises(enclu.HostError, match="the so many-th time"):
        enclave.step(TOUCH, pages=own(enclave, 0), address=enclave.base, times=2)


def test_pages_that_are_none_cannot_be_withdrawn(enclave: enclu.Enclave) -> None:
    with pytest.raises(enclu.HostError, match="no page at"):
        enclave.step(TOUCH, pages=[enclave.base + enclave.size])


def test_a_page_missing_to_another_thread_is_given_to_it(enclave: enclu.Enclave) -> None:
    pages = own(enclave, 0, 1, 2)
    answers: list[int] = []

    def on_step(step: Step) -> Move:
        other = threading.Thread(target=lambda: answers.append(enclave.ecall(TOUCH)))
        other.start()
        other.join()
        return Move.FREE

    enclave.step(TOUCH, pages=pages, on_step=on_step)
    assert len(answers) == 1


# Registers.


def test_it_finds_the_registers_that_were_chosen(enclave: enclu.Enclave) -> None:
    own_stack = enclave.process.memory.allocate(1 << 16) + (1 << 15)
    found: list[Any] = []

    def on_step(step: Step) -> Move:
        found.append(step.ssa)
        return Move.FREE

    chosen = {"rsp": own_stack, "rbp": 0x1234, "r12": 0x1212, "rflags": DF | AC | NT | 0x202, "mxcsr": 0x3F80,
              "fcw": 0x40, "x87": 0xFF, "vectors": 0x4141414141414141}  # fmt: skip
    trace = enclave.step(ADD, 1, on_step=on_step, registers=chosen)
    assert trace.result == 2
    registers, xsave = found[0].gprsgx, found[0].xsave
    assert (registers.rsp, registers.rbp, registers.r12) == (own_stack, 0x1234, 0x1212)
    assert registers.rflags & (DF | AC | NT) == DF | AC | NT
    assert int.from_bytes(xsave[24:28], "little") == 0x3F80
    assert (int.from_bytes(xsave[:2], "little"), xsave[4]) == (0x40, 0xFF)
    assert xsave[160:416] == b"A" * 256


@pytest.mark.parametrize("design", RESUMING)
def test_the_host_has_its_own_registers_again(machine: enclu.Machine, stepped_image: Path, design: str) -> None:
    enclave = machine.process(design, stepping=True).load(stepped_image, ocalls=[lambda n: 2 * n])
    own_stack = enclave.process.memory.allocate(1 << 16) + (1 << 15)
    chosen = {
        "rsp": own_stack,
        "rbp": 1,
        "rbx": 2,
        "rflags": DF | AC | 0x202,
        "mxcsr": 0x3F80,
        "fcw": 0x40,
        "x87": 0xFF,
    }
    del chosen["rbx"]
    for at in (None, 0, 40):
        assert enclave.step(OCALL, 21, at=at, registers=chosen).result == 42
        assert enclave.ecall(OCALL, 1) == 2
        assert enclave.process.syscall("getpid") == enclave.process.pid


def test_what_it_leaves_in_registers_is_told(enclave: enclu.Enclave) -> None:
    trace = enclave.step(ADD, 1, registers={"r12": 5, "vectors": 0x41}, on_step=lambda step: None)
    left = trace.left
    assert left is not None
    assert left.registers["r12"] == 0
    assert left.xsave[160:416] == bytes(256)


@pytest.mark.parametrize(("name", "words"), [("rbx", "Invalid argument"), ("eax", "no register is called eax")])
def test_registers_that_cannot_be_chosen_are_refused(enclave: enclu.Enclave, name: str, words: str) -> None:
    with pytest.raises(enclu.HostError, match=words):
        enclave.step(ADD, 1, registers={name: 1})
    assert enclave.ecall(ADD, 1) == 2


# Two threads.


def test_one_thread_is_stepped_while_another_runs(enclave: enclu.Enclave) -> None:
    undisturbed = enclave.step(LOOP, 300).rips
    over, answers = threading.Event(), []

    def call() -> None:
        while not over.is_set():
            answers.append(enclave.ecall(OCALL, 4))

    other = threading.Thread(target=call)
    other.start()
    try:
        trace = enclave.step(LOOP, 300, on_step=lambda step: None)
    finally:
        over.set()
        other.join()
    assert trace.rips == undisturbed
    assert answers and set(answers) == {8}


def test_two_threads_are_stepped_at_once(enclave: enclu.Enclave) -> None:
    undisturbed = enclave.step(LOOP, 50).rips
    traces: list[StepTrace] = []

    def step() -> None:
        traces.append(enclave.step(LOOP, 50, on_step=lambda step: None))

    threads = [threading.Thread(target=step) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [trace.rips for trace in traces] == [undisturbed] * 2
    assert enclave.watcher is None


@pytest.mark.parametrize("record", [0, 10])
def test_a_thread_that_runs_to_an_address_lets_others_work(enclave: enclu.Enclave, record: int) -> None:
    """It spins until another has made ECALLs, which stop that one's thread again and again."""
    flag = enclave.process.memory.allocate(4)
    never = enclave.step(ADD, 1).rips[0] + 1

    def call() -> None:
        for n in range(20):
            assert enclave.ecall(OCALL, n) == 2 * n
        enclave.process.memory.write(flag, b"\1\0\0\0")

    other = threading.Thread(target=call)
    other.start()
    assert enclave.step(SPIN, flag, address=never, record=record, timeout=60).result == 9
    other.join()


def test_a_thread_is_stepped_through_once_at_a_time(enclave: enclu.Enclave) -> None:
    def again(n: int) -> int:
        enclave.step(ADD, n)
        return 0

    enclave.ocalls[0] = again
    with pytest.raises(enclu.HostError, match="being stepped through already"):
        enclave.step(OCALL, 1)


def test_two_processes_may_have_a_plan_at_the_same_address(machine: enclu.Machine, stepped_image: Path) -> None:
    traces = []
    for _ in range(2):
        enclave = machine.process(stepping=True).load(stepped_image)
        enclave.ecall(STORE, 0)
        traces.append(enclave.step(ADD, 1).instructions)
    assert traces[0] == traces[1]
