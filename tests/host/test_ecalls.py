"""ECALLs and OCALLs of enclaves in C, from Python."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import enclu
from tests.host.conftest import DESIGNS, RESUMING

ADD, OCALL, READ, LOOP, UD, ON_STACK, SUM, CELL, STORE, OCALLS, COUNT = range(11)


@pytest.mark.parametrize("design", DESIGNS)
def test_an_ecall_returns_its_result(machine: enclu.Machine, image: Path, design: str) -> None:
    assert machine.process(design).load(image).ecall(ADD, 41) == 42


@pytest.mark.parametrize("design", DESIGNS)
def test_an_ocall_is_a_python_function(machine: enclu.Machine, image: Path, design: str) -> None:
    enclave = machine.process(design).load(image, ocalls=[lambda argument: argument * 3])
    assert enclave.ecall(OCALL, 5) == 15


@pytest.mark.parametrize("design", RESUMING)
def test_what_an_enclave_pushes_onto_the_stack_is_there_during_the_ocall(
    machine: enclu.Machine, image: Path, design: str
) -> None:
    process = machine.process(design)
    enclave = process.load(image, ocalls={0: lambda at: enclave.ecall(ADD, process.memory.read(at, 1)[0])})
    assert enclave.ecall(ON_STACK) == 43


def test_bytes_are_passed_by_address(process: enclu.Process, image: Path) -> None:
    assert process.load(image).ecall(READ, b"\x07" + bytes(7)) == 7


def test_a_bytearray_is_copied_back(process: enclu.Process, image: Path) -> None:
    numbers = bytearray(b"".join(n.to_bytes(8, "little") for n in (5, 6)))
    process.load(image).ecall(SUM, numbers)
    assert int.from_bytes(numbers[:8], "little") == 11


def test_an_ocall_without_a_function_is_an_error_that_names_it(process: enclu.Process, image: Path) -> None:
    with pytest.raises(enclu.HostError, match="OCALL 0"):
        process.load(image).ecall(OCALL, 5)


def test_what_an_ocall_raises_comes_out_of_the_ecall_after_the_enclave_was_told(
    process: enclu.Process, image: Path
) -> None:
    enclave = process.load(image, ocalls=[lambda argument: 1 // argument])
    with pytest.raises(ZeroDivisionError):
        enclave.ecall(OCALL, 0)
    assert enclave.ecall(OCALL, 1) == 1


class Leave(BaseException):
    pass


def test_an_ocall_can_leave_by_a_base_exception(process: enclu.Process, image: Path) -> None:
    def leave(_argument: int) -> None:
        raise Leave

    enclave = process.load(image, ocalls=[leave])
    with pytest.raises(Leave):
        enclave.ecall(OCALL, 0)
    assert enclave.ecall(ADD, 1) == 2


@pytest.mark.parametrize("design", RESUMING)
def test_ocalls_make_ecalls_of_another_enclave(machine: enclu.Machine, image: Path, design: str) -> None:
    process = machine.process(design)
    inner = process.load(image, ocalls=[lambda n: n + 1])
    outer = process.load(image, ocalls=[lambda n: inner.ecall(OCALL, n) * 10])
    assert outer.ecall(OCALL, 3) == 40


def test_ocalls_make_ecalls_of_the_same_enclave_at_any_depth(process: enclu.Process, image: Path) -> None:
    enclave = process.load(image, ocalls=[lambda n: enclave.ecall(OCALL, n - 1) + 1 if n else 0])
    assert enclave.ecall(OCALL, 20) == 20


def test_more_threads_than_tcses_share_them(process: enclu.Process, image: Path) -> None:
    enclave = process.load(image, ocalls=[lambda n: n])
    failures: list[object] = []

    def work(first: int) -> None:
        for n in range(first, first + 100):
            if enclave.ecall(ADD, n) != n + 1 or enclave.ecall(OCALL, n) != n:
                failures.append(n)

    threads = [threading.Thread(target=work, args=(i * 1000,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(process.threads) <= 1 + 8  # the first has loaded the enclave


def test_threads_that_have_ended_leave_theirs_to_others(process: enclu.Process, image: Path) -> None:
    enclave = process.load(image)
    for n in range(20):
        thread = threading.Thread(target=enclave.ecall, args=(ADD, n))
        thread.start()
        thread.join()
    assert len(process.threads) <= 2


def test_coroutines_make_ecalls_at_once(process: enclu.Process, image: Path) -> None:
    enclave = process.load(image)

    async def main() -> list[int]:
        results: list[int] = await asyncio.gather(*(enclave.ecall_async(ADD, n) for n in range(10)))
        return results

    assert asyncio.run(main()) == list(range(1, 11))


def test_a_loop_is_left_when_its_time_is_over(process: enclu.Process, image: Path) -> None:
    enclave = process.load(image)
    with pytest.raises(enclu.EnclaveTimeout):
        enclave.ecall(LOOP, timeout=0.1)
    assert enclave.ecall(CELL) > 0


@pytest.mark.parametrize("design", DESIGNS)
def test_a_loop_is_left_under_every_design(machine: enclu.Machine, image: Path, design: str) -> None:
    enclave = machine.process(design).load(image)
    with pytest.raises(enclu.EnclaveTimeout):
        enclave.ecall(LOOP, timeout=0.05)
    assert enclave.ecall(ADD, 1) == 2


def test_ocalls_without_end_are_left_when_their_time_is_over(process: enclu.Process, image: Path) -> None:
    enclave = process.load(image, ocalls=[lambda _: 0])
    with pytest.raises(enclu.EnclaveTimeout):
        enclave.ecall(OCALLS, timeout=0.1)
    assert enclave.ecall(ADD, 1) == 2


def test_exceptions_without_end_are_left_when_their_time_is_over(process: enclu.Process, image: Path) -> None:
    enclave = process.load(image, on_exception=lambda _: enclu.Action.RESUME)
    with pytest.raises(enclu.EnclaveTimeout):
        enclave.ecall(READ, 0x1000, timeout=0.1)
    assert enclave.ecall(ADD, 1) == 2


def test_a_coroutine_that_waits_too_long_can_be_told_so(process: enclu.Process, image: Path) -> None:
    enclave = process.load(image)

    async def main() -> None:
        with pytest.raises(enclu.EnclaveTimeout):
            await enclave.ecall_async(LOOP, timeout=0.1)
        assert await enclave.ecall_async(ADD, 1) == 2

    asyncio.run(main())


def test_a_call_in_time_is_not_disturbed_by_its_limit(process: enclu.Process, image: Path) -> None:
    enclave = process.load(image, ocalls=[lambda n: n])
    assert [enclave.ecall(OCALL, n, timeout=10.0) for n in range(50)] == list(range(50))


def test_an_unloaded_enclave_takes_no_calls(process: enclu.Process, image: Path) -> None:
    with process.load(image) as enclave:
        assert enclave.ecall(ADD, 1) == 2
    with pytest.raises(enclu.HostError, match="unloaded"):
        enclave.ecall(ADD, 1)
    enclave.unload()


def test_an_enclave_is_not_unloaded_under_a_call(process: enclu.Process, image: Path) -> None:
    def unload(_argument: int) -> None:
        with pytest.raises(enclu.HostError, match="under way"):
            enclave.unload()

    enclave = process.load(image, ocalls=[unload])
    enclave.ecall(OCALL)
    enclave.unload()


def test_enclaves_come_and_go_without_leaving_anything(process: enclu.Process, image: Path) -> None:
    for n in range(30):
        with process.load(image) as enclave:
            assert enclave.ecall(ADD, n) == n + 1
    assert process.enclaves == []


def test_an_epc_smaller_than_the_enclaves_evicts(image: Path) -> None:
    with enclu.Machine(epc="1M") as machine, machine.process() as process:
        enclaves = [process.load(image) for _ in range(4)]
        for n, enclave in enumerate(enclaves):
            enclave.ecall(STORE, n)
        assert [enclave.ecall(CELL) for enclave in enclaves] == [0, 1, 2, 3]


@pytest.mark.parametrize("argument", [-1, 1 << 64, (1 << 64) - 1])
def test_numbers_wrap_as_in_registers(process: enclu.Process, image: Path, argument: int) -> None:
    assert process.load(image).ecall(ADD, argument) == (argument + 1) % (1 << 64)


def test_a_callable_of_no_result_returns_zero(process: enclu.Process, image: Path) -> None:
    quiet: Callable[[int], None] = lambda _argument: None  # noqa: E731
    assert process.load(image, ocalls=[quiet]).ecall(OCALL, 9) == 0
