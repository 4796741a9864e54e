"""Debug enclaves, looked at from Python; production enclaves, not."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path

import pytest

import enclu
from enclu.host.frames import Gprsgx
from enclu.sgx.structs import GPRSGX, TCS
from tests.host.conftest import DESIGNS, RESUMING
from tests.host.test_ecalls import ADD, READ, UD

SPIN, CELL, STORE = 3, 7, 8
NOWHERE = 0x10008
UD2, INT3_NOP = b"\x0f\x0b", b"\xcc\x90"


@pytest.fixture
def enclave(process: enclu.Process, image: Path) -> enclu.Enclave:
    return process.load(image, debug=True)


def test_gprsgx_has_the_fields_of_the_sdms_table() -> None:
    assert [f.name.upper() for f in dataclasses.fields(Gprsgx)] == [name for _, name, _ in GPRSGX.fields]


def test_memory_is_read_and_written(enclave: enclu.Enclave) -> None:
    address = enclave.ecall(STORE, 0x1122334455667788)
    assert enclave.debugger.read(address, 8) == (0x1122334455667788).to_bytes(8, "little")
    enclave.debugger.write(address + 1, b"\0\0")
    assert enclave.ecall(CELL) == 0x1122334455000088
    assert enclave.process.memory.read(address, 8) == b"\xff" * 8  # the abort page, for everybody else


def test_the_whole_of_elrange_is_read_in_one_go(enclave: enclu.Enclave) -> None:
    start, end = enclave.tcs[-1] + 4096, enclave.base + enclave.image.size
    pages = sum(r.size for r in enclave.image.regions() if r.added and r.offset + enclave.base >= start)
    assert len(enclave.debugger.read(start, pages)) == pages
    with pytest.raises(enclu.HostError, match=r"EDBGRD of .*: Bad address"):
        enclave.debugger.read(start, end - start + 4096)


def test_a_tcs_is_told_by_the_sdms_names(enclave: enclu.Enclave) -> None:
    fields = enclave.debugger.tcs(enclave.tcs[0])
    assert fields["NSSA"] == 3 and fields["CSSA"] == fields["FLAGS"] == 0
    assert set(fields) == {name for _, name, _ in TCS.fields}


@pytest.mark.parametrize("design", DESIGNS)
def test_an_exception_brings_the_registers_inside(machine: enclu.Machine, image: Path, design: str) -> None:
    enclave = machine.process(design).load(image, debug=True)
    with pytest.raises(enclu.EnclaveException) as raised:
        enclave.ecall(READ, NOWHERE)
    ssa = raised.value.ssa
    assert (ssa.vector, ssa.maddr, ssa.errcd) == (14, NOWHERE, 4)
    assert enclave.base <= ssa.gprsgx.rip < enclave.base + enclave.size
    assert NOWHERE in dataclasses.astuple(ssa.gprsgx)[:16]  # the pointer that was followed
    assert raised.value.registers.rax in (0, 3)  # and outside nothing of it
    assert len(ssa.xsave) == 576


@pytest.mark.parametrize("design", RESUMING)
def test_a_handler_sees_the_frame_and_may_change_it(machine: enclu.Machine, image: Path, design: str) -> None:
    enclave: enclu.Enclave
    seen: list[tuple[int | None, bytes]] = []

    def skip(exception: enclu.EnclaveException) -> enclu.Action:
        frame = exception.ssa
        seen.append((frame.vector, enclave.debugger.read(frame.gprsgx.rip, 2)))
        rip = frame.address + 4096 - GPRSGX.size + GPRSGX.offset("RIP")
        enclave.debugger.write(rip, (frame.gprsgx.rip + 2).to_bytes(8, "little"))
        return enclu.Action.RESUME

    enclave = machine.process(design).load(image, debug=True, on_exception=skip)
    assert enclave.ecall(UD) == 4
    assert seen == [(6, UD2)]


@pytest.mark.parametrize("design", RESUMING)
def test_a_breakpoint_in_the_enclave(machine: enclu.Machine, image: Path, design: str) -> None:
    enclave: enclu.Enclave
    vectors: list[tuple[int, int | None, int]] = []

    def at_breakpoint(exception: enclu.EnclaveException) -> enclu.Action:
        vectors.append((exception.vector, exception.ssa.vector, exception.ssa.gprsgx.rip))
        if exception.vector == 3:
            enclave.debugger.write(exception.ssa.gprsgx.rip, UD2)
            return enclu.Action.RESUME
        enclave.debugger.write(exception.ssa.gprsgx.rip, INT3_NOP)
        for tcs in enclave.tcs:
            enclave.debugger.opt_in(tcs)
        return enclu.Action.UNWIND

    enclave = machine.process(design).load(image, debug=True, on_exception=at_breakpoint)
    assert enclave.ecall(UD) is None
    enclave.on_exception = None
    with pytest.raises(enclu.EnclaveException) as raised:
        enclave.ecall(UD)
    assert raised.value.name == "#BP"
    enclave.on_exception = at_breakpoint
    enclave.ecall(UD)
    site = vectors[0][2]
    assert vectors == [(6, 6, site), (3, 3, site), (6, 6, site)]


def test_memory_is_read_while_a_thread_is_inside(enclave: enclu.Enclave) -> None:
    cell = enclave.ecall(STORE, 0)

    def spin() -> None:
        with pytest.raises(enclu.ProcessDied):
            enclave.ecall(SPIN)

    thread = threading.Thread(target=spin)
    thread.start()
    values: set[bytes] = set()
    while len(values) < 3 and thread.is_alive():
        values.add(enclave.debugger.read(cell, 8))
    enclave.process.close()
    thread.join()
    assert len(values) == 3


def test_a_tcs_without_an_aex_has_no_frame(enclave: enclu.Enclave) -> None:
    with pytest.raises(enclu.HostError, match=r"no AEX has left the TCS at 0x[0-9a-f]+, its CSSA is 0"):
        enclave.debugger.ssa(enclave.tcs[0])


def test_a_production_enclave_tells_nothing(process: enclu.Process, image: Path) -> None:
    enclave = process.load(image)
    with pytest.raises(enclu.EnclaveException) as raised:
        enclave.ecall(READ, NOWHERE)
    for look in (
        lambda: enclave.debugger.read(enclave.base, 8),
        lambda: enclave.debugger.write(enclave.base, b"x"),
        lambda: enclave.debugger.opt_in(enclave.tcs[0]),
        lambda: raised.value.ssa,
    ):
        with pytest.raises(enclu.HostError, match="a production enclave"):
            look()
    assert enclave.ecall(ADD, 41) == 42
