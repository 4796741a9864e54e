"""Exceptions of enclaves, as Python objects and decisions."""

from __future__ import annotations

from pathlib import Path

import pytest

import enclu
from enclu.sgx.structs import EncluLeaf
from tests.host.conftest import DESIGNS, RESUMING
from tests.host.test_ecalls import ADD, OCALL, READ, UD

NOWHERE = 0x10000


@pytest.mark.parametrize("design", DESIGNS)
def test_one_that_nobody_handles_is_raised(machine: enclu.Machine, image: Path, design: str) -> None:
    enclave = machine.process(design).load(image)
    with pytest.raises(enclu.EnclaveException) as raised:
        enclave.ecall(READ, NOWHERE)
    exception = raised.value
    assert (exception.vector, exception.error_code, exception.address) == (14, 4, NOWHERE)
    assert exception.name == "#PF" and exception.leaf is EncluLeaf.ERESUME


@pytest.mark.parametrize("design", DESIGNS)
def test_the_enclave_can_be_called_afterwards(machine: enclu.Machine, image: Path, design: str) -> None:
    enclave = machine.process(design).load(image)
    for n in range(3 * len(enclave.tcs)):
        with pytest.raises(enclu.EnclaveException):
            enclave.ecall(READ, NOWHERE)
        assert enclave.ecall(ADD, n) == n + 1


@pytest.mark.parametrize("design", RESUMING)
def test_the_enclaves_own_handler_repairs_it(machine: enclu.Machine, image: Path, design: str) -> None:
    assert machine.process(design).load(image).ecall(UD) == 4


def test_a_design_that_cannot_resume_says_so(machine: enclu.Machine, image: Path) -> None:
    enclave = machine.process("vdso-2018").load(image)
    with pytest.raises(enclu.HostError, match="no way to resume"):
        enclave.ecall(UD)


@pytest.mark.parametrize("design", RESUMING)
def test_a_handler_removes_the_cause_and_resumes(machine: enclu.Machine, image: Path, design: str) -> None:
    process = machine.process(design)

    def map_it(exception: enclu.EnclaveException) -> enclu.Action:
        page = process.syscall("mmap", exception.address & -4096, 4096, 3, 0x32, -1, 0)
        process.memory.write(page, (77).to_bytes(8, "little"))
        return enclu.Action.RESUME

    assert process.load(image, on_exception=map_it).ecall(READ, NOWHERE) == 77


def test_a_handler_gives_up_the_call(process: enclu.Process, image: Path) -> None:
    enclave = process.load(image, on_exception=lambda _: enclu.Action.UNWIND)
    assert enclave.ecall(READ, NOWHERE) is None
    assert enclave.ecall(ADD, 1) == 2


def test_a_handler_has_it_raised_though_the_enclave_could_handle_it(process: enclu.Process, image: Path) -> None:
    enclave = process.load(image, on_exception=lambda _: enclu.Action.RAISE)
    with pytest.raises(enclu.EnclaveException, match="#UD"):
        enclave.ecall(UD)


def test_a_handler_that_returns_no_action_is_told(process: enclu.Process, image: Path) -> None:
    enclave = process.load(image, on_exception=lambda _: "resume")  # type: ignore[arg-type, return-value]  # a mistake
    with pytest.raises(enclu.HostError, match="no Action"):
        enclave.ecall(UD)
    enclave.on_exception = None
    assert enclave.ecall(UD) == 4


def test_what_a_handler_raises_comes_out_of_the_call(process: enclu.Process, image: Path) -> None:
    enclave = process.load(image, on_exception=lambda exception: enclu.Action[str(exception.vector)])
    with pytest.raises(KeyError, match="14"):
        enclave.ecall(READ, NOWHERE)
    assert enclave.ecall(ADD, 1) == 2


@pytest.mark.parametrize("design", RESUMING)
def test_enclaves_fault_at_both_levels_of_a_nested_call(machine: enclu.Machine, image: Path, design: str) -> None:
    process = machine.process(design)
    seen: list[tuple[str, str]] = []

    def note(exception: enclu.EnclaveException) -> enclu.Action:
        seen.append(("outer" if exception.enclave is outer else "inner", exception.name))
        return enclu.Action.HANDLE

    def during_the_ocall(_argument: int) -> int:
        with pytest.raises(enclu.EnclaveException):
            inner.ecall(READ, NOWHERE)
        return int(inner.ecall(UD)) + int(outer.ecall(UD))

    inner = process.load(image, on_exception=note)
    outer = process.load(image, on_exception=note, ocalls=[during_the_ocall])
    assert outer.ecall(OCALL) == 8
    assert seen == [("inner", "#PF"), ("inner", "#UD"), ("outer", "#UD")]


@pytest.mark.parametrize("design", DESIGNS)
def test_eenter_itself_faults(machine: enclu.Machine, image: Path, design: str) -> None:
    process = machine.process(design)
    enclave = process.load(image)
    with process.thread().enter(enclave.base + enclave.size - 4096) as entry:
        assert isinstance(entry.event, enclu.EnclaveException)
        assert (entry.event.vector, entry.event.leaf) == (14, EncluLeaf.EENTER)
    assert enclave.ecall(ADD, 1) == 2


def test_registers_outside_are_what_the_aex_loads(machine: enclu.Machine, image: Path) -> None:
    process = machine.process("mm-handler")
    seen: list[enclu.Registers] = []

    def see(exception: enclu.EnclaveException) -> enclu.Action:
        seen.append(exception.registers)
        return enclu.Action.UNWIND

    enclave = process.load(image, on_exception=see)
    enclave.ecall(READ, NOWHERE)
    assert (seen[0].rax, seen[0].rbx, seen[0].rdi) == (EncluLeaf.ERESUME, enclave.tcs[-1], 14) or seen[
        0
    ].rbx in enclave.tcs
    assert seen[0].r10 == seen[0].r15 == 0
