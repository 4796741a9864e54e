"""Programs and libraries of Fortanix EDP: their entries, usercalls, threads and end."""

from __future__ import annotations

import functools
import io
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import enclu
from enclu.host.conventions.edp import EdpConvention, EdpPanic
from enclu.host.conventions.edp import program as edp_program
from enclu.host.conventions.edp.abi import Error
from enclu.host.conventions.registers import RegistersConvention
from enclu.host.images.edp import is_edp
from enclu.sgx.structs import Attribute
from tests.host.conftest import WITH_REGISTERS
from tests.support.breaking import sweep
from tests.support.edp_image import PAGE, signed, stream, thread

(
    READ, READ_ALLOC, WRITE, FLUSH, CLOSE, BIND, ACCEPT, CONNECT, LAUNCH, EXIT, WAIT, SEND, TIME, ALLOC, FREE, QUEUES,
) = range(1, 17)  # fmt: skip
BAD_ADDRESSES = (1, 4096, 1 << 47, (1 << 64) - 1)
HUGE = (1 << 40, (1 << 63), (1 << 64) - 1)
Call = tuple[int, ...]
Load = Callable[..., enclu.Enclave]


@pytest.fixture(scope="module")
def processes() -> Iterator[Callable[[str], enclu.Process]]:
    """One for each design."""
    with enclu.Machine() as machine:
        yield functools.cache(machine.process)


@pytest.fixture
def load(program: Path, processes: Callable[[str], enclu.Process]) -> Iterator[Load]:
    loaded: list[enclu.Enclave] = []

    def load(image: Path = program, design: str = "vdso", **named: Any) -> enclu.Enclave:
        loaded.append(processes(design).load(image, **named))
        return loaded[-1]

    yield load
    for enclave in loaded:
        enclave.unload()


def run(enclave: enclu.Enclave, *arguments: str | bytes, given: bytes = b"", **named: Any) -> tuple[int, bytes]:
    """Run a program: exit status and standard output."""
    out = io.BytesIO()
    status = enclave.run(["program", *arguments], stdin=io.BytesIO(given), stdout=out, **{"timeout": 20} | named)
    return status, out.getvalue()


def calls(enclave: enclu.Enclave, *requests: Call, **named: Any) -> list[tuple[int, int]]:
    """Have the program make usercalls: their results."""
    given = b"".join(struct.pack("<5Q", *request, *[0] * (5 - len(request))) for request in requests)
    status, output = run(enclave, "calls", given=given, **named)
    assert status == 0
    return [pair for pair in struct.iter_unpack("<QQ", output)]


def test_an_sgxs_image_laid_out_by_edps_tool_is_known(load: Load, program: Path, library: Path) -> None:
    assert is_edp(enclu.open_image(program)) and is_edp(enclu.open_image(library))
    assert isinstance(load().convention, EdpConvention)


def test_another_sgxs_image_has_no_convention(
    load: Load, processes: Callable[[str], enclu.Process], tmp_path: Path
) -> None:
    pages = [(0, 0x205, bytes([0xF4]) * PAGE), *thread(PAGE, 0, secondary=False)]
    changed = bytearray(stream(pages, 0x40000))
    changed[changed.index(struct.pack("<II", 0xFFF, 0xFFF))] = 0xFE  # FSLIMIT
    image = signed(tmp_path / "other.sgxs", bytes(changed))
    assert isinstance(load(image).convention, RegistersConvention)
    assert isinstance(load(image, convention="edp").convention, EdpConvention)


def test_a_convention_that_there_is_not(load: Load) -> None:
    with pytest.raises(enclu.HostError, match="no convention is called 'gramine': edp, enclu"):
        load(convention="gramine")


# Programs.


@pytest.mark.parametrize("design", WITH_REGISTERS)
def test_a_program_gets_its_arguments(load: Load, design: str) -> None:
    assert run(load(design=design), "arguments", "", b"\xff", "é") == (0, b"program\narguments\n\n\xff\n\xc3\xa9\n")


@pytest.mark.parametrize("design", WITH_REGISTERS)
def test_a_program_copies_standard_input_to_output(load: Load, design: str) -> None:
    data = bytes(range(256)) * 9
    assert run(load(design=design), "echo", given=data) == (0, data)


def test_a_program_may_have_aex_notify(load: Load, notified: Path) -> None:
    enclave = load(notified)
    assert enclave.attributes & Attribute.AEXNOTIFY
    assert run(enclave, "echo", given=b"told") == (0, b"told")


def test_a_design_that_passes_too_few_registers_is_refused(load: Load) -> None:
    with pytest.raises(enclu.HostError, match="RSI, RDX"):
        load(design="vdso-2018")


def test_a_program_without_arguments_exits(load: Load) -> None:
    assert load().run() == 0


def test_standard_output_is_pythons_by_default(load: Load, capfd: pytest.CaptureFixture[str]) -> None:
    assert load().run(["program", "arguments"]) == 0
    assert capfd.readouterr().out == "program\narguments\n"


def test_standard_output_may_be_text(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", out := io.StringIO())
    assert load().run(["program", "arguments"]) == 0
    assert out.getvalue() == "program\narguments\n"


@pytest.mark.parametrize("design", WITH_REGISTERS)
def test_a_panic_is_status_1_and_its_message_goes_to_standard_error(load: Load, design: str) -> None:
    err = io.BytesIO()
    assert run(load(design=design), "panic", stderr=err)[0] == 1
    assert err.getvalue() == b"as asked\n"


def test_a_panic_may_raise(load: Load) -> None:
    with pytest.raises(EdpPanic, match="the enclave panicked: as asked") as info:
        run(load(), "panic", check=True, stderr=io.BytesIO())
    assert info.value.message == "as asked"


def test_a_failure_without_a_message(load: Load) -> None:
    err = io.BytesIO()
    assert run(load(), "quit", stderr=err)[0] == 1
    assert err.getvalue() == b""


def test_a_main_thread_that_returns_is_an_error(load: Load) -> None:
    with pytest.raises(enclu.HostError, match="main thread returned"):
        run(load(), "return")


def test_a_program_runs_once(load: Load) -> None:
    enclave = load()
    run(enclave, "arguments")
    with pytest.raises(enclu.HostError, match="runs once"):
        run(enclave, "arguments")


def test_what_is_no_program_does_not_run(processes: Callable[[str], enclu.Process], image: Path) -> None:
    with processes("vdso").load(image) as enclave, pytest.raises(enclu.HostError, match="not a program"):
        enclave.run()


def test_a_program_that_runs_is_not_unloaded(load: Load) -> None:
    def unload(*_arguments: int) -> None:
        with pytest.raises(enclu.HostError, match="under way"):
            enclave.unload()

    enclave = load(ocalls={1 << 31: unload})
    assert calls(enclave, (1 << 31,)) == [(0, 0)]


def test_a_loop_is_left_when_its_time_is_over(load: Load) -> None:
    with pytest.raises(enclu.EnclaveTimeout):
        run(load(), "loop", timeout=0.1)


def test_an_exception_is_raised(load: Load) -> None:
    with pytest.raises(enclu.EnclaveException, match="#PF"):
        run(load(), "fault")


# Threads and events.


@pytest.mark.parametrize("design", WITH_REGISTERS)
def test_threads_wait_for_each_other(load: Load, design: str) -> None:
    assert run(load(design=design), "threads") == (0, struct.pack("<Q", 3))


def test_another_thread_ends_the_program(load: Load) -> None:
    assert run(load(), "xit")[0] == 0


def test_a_thread_that_computes_is_stopped_at_the_end(load: Load) -> None:
    enclave = load()
    assert run(enclave, "spin")[0] == 0
    assert not enclave.process.thread().entries
    assert all(not thread.entries for thread in enclave.process.threads)


def test_when_all_wait_for_each_other_the_program_is_ended(load: Load) -> None:
    with pytest.raises(enclu.HostError, match="every thread of the enclave waits"):
        run(load(), "idle", timeout=None)


def test_waiting_for_nothing_ends_the_program(load: Load) -> None:
    with pytest.raises(enclu.HostError, match="for ever, for nothing"):
        run(load(), "z", timeout=None)


def test_events_come_in_order_and_match_by_their_bits(load: Load) -> None:
    sends = [(SEND, 4, 0), (SEND, 3, 0), (SEND, 1, 0)]
    waits = [(WAIT, 8, 0), (WAIT, 1, 0), (WAIT, 7, 0), (WAIT, 7, 0), (WAIT, 7, 0)]
    results = calls(load(), *sends, *waits)
    assert results[3:] == [(Error.WOULD_BLOCK, 0), (0, 1), (0, 4), (0, 3), (Error.WOULD_BLOCK, 0)]


def test_a_wait_ends_with_its_time(load: Load) -> None:
    assert calls(load(), (WAIT, 4, 1_000_000)) == [(Error.TIMED_OUT, 0)]


def test_a_wait_ends_with_the_programs_time(load: Load) -> None:
    with pytest.raises(enclu.EnclaveTimeout, match="while the enclave waits"):
        calls(load(), (WAIT, 4, 1000 * 10**9), timeout=0.1)


def test_events_and_tcses_that_are_none(load: Load) -> None:
    enclave = load()
    invalid = [(SEND, 0, 0), (SEND, 16, 0), (SEND, 1, 5), (SEND, 1, enclave.base), (WAIT, 1 << 40, 0)]
    assert calls(enclave, *invalid) == [(Error.INVALID_INPUT, 0)] * 5


def test_events_that_nobody_fetches_are_bounded(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edp_program, "MOST_EVENTS", 5)
    assert calls(load(), *[(SEND, 1, 0)] * 6) == [(0, 0)] * 5 + [(Error.OTHER, 0)]


def test_no_more_threads_than_tcses(load: Load) -> None:
    assert [first for first, _ in calls(load(), *[(LAUNCH,)] * 4)] == [0, 0, 0, Error.WOULD_BLOCK]


# Streams.


def test_read_alloc_gives_a_buffer(load: Load) -> None:
    seen: list[bytes] = []

    def look(buffer: int, *_rest: int) -> None:
        address, length = struct.unpack("<QQ", memory.read(buffer, 16))
        seen.append(memory.read(address, length))

    enclave = load(ocalls={1 << 31: look, "connect_stream": lambda address: io.BytesIO(b"all of it")})
    memory = enclave.process.memory
    results = network(enclave, lambda at: [(CONNECT, at, 1), (READ_ALLOC, 3, at + 64), (1 << 31, at + 64)], b"x")
    assert results == [(0, 3), (0, 0), (0, 0)]
    assert seen == [b"all of it"]


def test_read_alloc_wants_a_null_pointer(load: Load) -> None:
    enclave = load()
    with enclave.process.memory.temporary(struct.pack("<QQ", 4096, 0)) as buffer:
        assert calls(enclave, (READ_ALLOC, 0, buffer)) == [(Error.INVALID_INPUT, 0)]


@pytest.mark.parametrize("call", [READ, READ_ALLOC, WRITE, FLUSH, ACCEPT])
def test_descriptors_that_are_not_open(load: Load, call: int) -> None:
    assert calls(load(), (call, 77, 0, 0), (call, (1 << 64) - 1, 0, 0)) == [(Error.INVALID_INPUT, 0)] * 2


def test_a_closed_stream_is_closed(load: Load) -> None:
    assert calls(load(), (CLOSE, 2), (FLUSH, 2), (CLOSE, 2)) == [(0, 0), (Error.INVALID_INPUT, 0), (0, 0)]


def test_reading_nothing_and_writing_nothing(load: Load) -> None:
    assert calls(load(), (WRITE, 2, 0, 0), (READ, 0, 0, 0)) == [(0, 0), (0, 0)]


@pytest.mark.parametrize("address", BAD_ADDRESSES)
def test_buffers_at_bad_addresses_are_invalid(load: Load, address: int) -> None:
    requests = [(WRITE, 2, address, 8), (READ_ALLOC, 0, address), (BIND, address, 8), (CONNECT, address, 8)]
    assert [first for first, _ in calls(load(), *requests)] == [Error.INVALID_INPUT] * 4


def test_the_enclaves_own_memory_reads_as_ones(load: Load) -> None:
    enclave, err = load(), io.BytesIO()
    assert calls(enclave, (WRITE, 2, enclave.base, 4), stderr=err) == [(0, 4)]
    assert err.getvalue() == b"\xff" * 4


@pytest.mark.parametrize("size", HUGE)
def test_huge_writes_are_cut_or_invalid(load: Load, size: int) -> None:
    enclave, err = load(), io.BytesIO()
    with enclave.process.memory.temporary(1 << 21) as address:
        requests = [(WRITE, 2, address, size), (WRITE, 2, (1 << 64) - 4096, size), (BIND, address, size)]
        results = calls(enclave, *requests, stderr=err)
    assert results == [(0, 1 << 20), (Error.INVALID_INPUT, 0), (Error.INVALID_INPUT, 0)]
    assert len(err.getvalue()) == 1 << 20


# Memory and time.


def test_memory_is_given_aligned_and_taken_back(load: Load) -> None:
    enclave = load()
    (status, address), (again, _) = calls(enclave, (ALLOC, 100, 4096), (ALLOC, 8, 8))
    assert status == again == 0
    assert address % 4096 == 0


@pytest.mark.parametrize("size", HUGE)
def test_more_memory_than_there_is_is_refused(load: Load, size: int) -> None:
    assert calls(load(), (ALLOC, size, 8), (ALLOC, 8, 1 << 40)) == [(Error.OTHER, 0)] * 2


def test_allocations_that_make_no_sense_are_invalid(load: Load) -> None:
    assert calls(load(), (ALLOC, 0, 8), (ALLOC, 8, 0), (ALLOC, 8, 3)) == [(Error.INVALID_INPUT, 0)] * 3


def test_freeing_what_was_not_given_is_noted(load: Load, caplog: pytest.LogCaptureFixture) -> None:
    enclave = load()
    assert calls(enclave, (FREE, 0, 0, 1), (FREE, 4096, 8, 1), (FREE, enclave.base, (1 << 64) - 1, 1)) == [(0, 0)] * 3
    assert len([r for r in caplog.records if "was not given" in r.message]) == 2


def test_what_a_program_leaves_is_freed(load: Load) -> None:
    def first_address() -> int:
        return calls(load(), (ALLOC, 5000, 8))[0][1]

    assert len({first_address() for _ in range(4)}) == 1


def test_the_time_is_in_nanoseconds(load: Load) -> None:
    before = time.time_ns()
    assert before <= calls(load(), (TIME,))[0][0] <= time.time_ns()


def test_asynchronous_usercalls_are_refused(load: Load) -> None:
    assert calls(load(), (QUEUES, 0, 0)) == [(Error.OTHER, 0)]


# Usercalls that the ABI does not have.


def test_a_users_own_usercall(load: Load) -> None:
    given: list[tuple[int, ...]] = []

    def mine(*arguments: int) -> tuple[int, int]:
        given.append(arguments)
        return 5, -1

    assert calls(load(ocalls={1 << 31: mine}), (1 << 31, 1, 2, 3, 4)) == [(5, (1 << 64) - 1)]
    assert given == [(1, 2, 3, 4)]


@pytest.mark.parametrize("number", [17, 1 << 31, 1 << 32 | READ, (1 << 64) - 1])
def test_a_usercall_that_is_none_ends_the_program(load: Load, number: int) -> None:
    with pytest.raises(enclu.HostError, match=f"usercall {number:#x}, which is none"):
        calls(load(), (number,))


def test_what_a_users_usercall_raises_comes_out(load: Load) -> None:
    with pytest.raises(ZeroDivisionError):
        calls(load(ocalls={1 << 31: lambda *_: 1 // 0}), (1 << 31,))


# The network.


@pytest.fixture
def server() -> Iterator[tuple[int, list[bytes]]]:
    """Answers one connection by what it has got, in capitals: its port, and what it has got."""
    got: list[bytes] = []

    def serve() -> None:
        with listening, listening.accept()[0] as connection:
            got.append(connection.recv(100))
            connection.sendall(got[0].upper())

    listening = socket.create_server(("127.0.0.1", 0))
    listening.settimeout(20)
    thread = threading.Thread(target=serve)
    thread.start()
    yield listening.getsockname()[1], got
    thread.join(20)


def network(enclave: enclu.Enclave, requests: Callable[[int], Sequence[Call]], text: bytes) -> list[tuple[int, int]]:
    """Usercalls with the address of some bytes."""
    with enclave.process.memory.temporary(text.ljust(4096, b"\0")) as address:
        return calls(enclave, *requests(address))


def test_a_program_connects(load: Load, server: tuple[int, list[bytes]]) -> None:
    text = f"127.0.0.1:{server[0]}".encode()
    results = network(
        load(),
        lambda at: [
            (CONNECT, at, len(text), at + 64, at + 80),
            (WRITE, 3, at, 9),
            (READ, 3, at + 100, 100),
            (CLOSE, 3),
        ],
        text,
    )
    assert results == [(0, 3), (0, 9), (0, 9), (0, 0)]
    assert server[1] == [b"127.0.0.1"]


def test_a_program_listens(load: Load) -> None:
    ports: list[int] = []

    def connect(address: int, _length: int, *_rest: int) -> None:
        place, size = struct.unpack("<QQ", memory.read(address, 16))
        ports.append(int(memory.read(place, size).rpartition(b":")[2]))
        threading.Thread(target=lambda: socket.create_connection(("127.0.0.1", ports[0])).sendall(b"hello")).start()

    enclave = load(ocalls={1 << 31: connect})
    memory = enclave.process.memory
    results = network(
        enclave,
        lambda at: [(BIND, at, 11, at + 64), (1 << 31, at + 64), (ACCEPT, 3, at + 80, at + 96), (READ, 4, at, 100)],
        b"127.0.0.1:0",
    )
    assert results == [(0, 3), (0, 0), (0, 4), (0, 5)]
    assert ports


def test_waiting_for_a_connection_ends_with_the_programs_time(load: Load) -> None:
    enclave = load()
    with enclave.process.memory.temporary(b"127.0.0.1:0") as address, pytest.raises(enclu.EnclaveTimeout):
        calls(enclave, (BIND, address, 11), (ACCEPT, 3), timeout=0.3)


def test_a_callable_decides_about_connections(load: Load) -> None:
    asked: list[str] = []

    def connect(address: str) -> io.BytesIO:
        asked.append(address)
        if address == "refused.example:1":
            raise ConnectionRefusedError(111, "refused")
        return io.BytesIO(b"from a file")

    enclave = load(ocalls={"connect_stream": connect})
    text = b"refused.example:1given.example:2"
    requests = [(0, 17), (17, 15)]
    results = network(enclave, lambda at: [(CONNECT, at + o, n) for o, n in requests] + [(READ, 3, at, 4)], text)
    assert results == [(Error.CONNECTION_REFUSED, 0), (0, 3), (0, 4)]
    assert asked == ["refused.example:1", "given.example:2"]


@pytest.mark.parametrize("text", [b"nowhere", b":80", b"127.0.0.1:", b"127.0.0.1:x", b"127.0.0.1:70000", b"\xff:1"])
def test_addresses_that_are_none_are_invalid(load: Load, text: bytes) -> None:
    results = network(load(), lambda at: [(CONNECT, at, len(text)), (BIND, at, len(text))], text)
    assert results == [(Error.INVALID_INPUT, 0)] * 2


# Libraries.


def test_a_library_is_called_with_numbers(load: Load, library: Path) -> None:
    enclave = load(library)
    assert enclave.ecall(1, 2, 3)[0] == 6
    assert enclave.ecall(40)[0] == 40


def test_broken_into_anywhere_a_librarys_answers_are_right_or_a_tcs_is_lost(load: Load, library: Path) -> None:
    times, lost = sweep(lambda: load(library), lambda enclave: enclave.ecall(1, 2, 3, 4, 5), step=3)
    assert times > 100
    assert 0 < lost < times


def test_a_library_takes_five_numbers(load: Load, library: Path) -> None:
    with pytest.raises(TypeError, match="five"):
        load(library).ecall(1, 2, 3, 4, 5, 6)


def test_a_library_that_exits_is_an_error(load: Load, library: Path) -> None:
    enclave = load(library)
    with pytest.raises(enclu.HostError, match="the library exited"):
        enclave.ecall(7)
    assert enclave.ecall(1)[0] == 1
