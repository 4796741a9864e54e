"""Enclaves of Open Enclave: their start, ECALLs, OCALLs, exceptions and end."""

from __future__ import annotations

import errno
import functools
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import enclu
from enclu.host import edl
from enclu.host.conventions.open_enclave import OeError, OeResult, OpenEnclaveConvention
from tests.host.conftest import WITH_REGISTERS
from tests.host.open_enclave.calls import (
    CALL_HOST,
    HEADER,
    HOST_ADD,
    HOST_TEXT,
    MALLOC,
    Load,
    numbers,
    ocall,
    raw_ocall,
    results,
)


@pytest.mark.parametrize("design", WITH_REGISTERS)
def test_an_enclave_is_initialised_with_the_processes_cpuid(load: Load, design: str) -> None:
    enclave = load(design)
    table = enclave.ecall("cpuid", None, 160)[len(HEADER) :]
    given = [struct.unpack_from("<4I", table, 16 * i) for i in range(6)]
    leaves = (0, 4, 0x8000_0000, 0x8000_0001)
    assert [given[i] for i in (0, 2, 4, 5)] == [enclave.process.cpuid(leaf) for leaf in leaves]


def test_a_design_that_passes_too_few_registers_is_refused(load: Load) -> None:
    with pytest.raises(enclu.HostError, match="RSI, RDX"):
        load("vdso-2018")


def test_an_image_without_symbols_is_initialised_and_called_by_number(load: Load, stripped: Path) -> None:
    enclave = load(image=stripped)
    assert results(enclave.ecall(1, numbers(40, 2), 64))[0] == 42
    with pytest.raises(enclu.HostError, match="no symbols"):
        enclave.ecall("add")


def test_an_old_enclave_says_in_which_table_a_function_is(load: Load, with_tables: Path) -> None:
    added: list[tuple[int, ...]] = []

    def add(data: bytes, size: int) -> None:
        added.append(struct.unpack_from("<QQ", data, 8))

    enclave = load(image=with_tables, ocalls={"host_add": add})
    assert isinstance(enclave.convention, OpenEnclaveConvention)
    assert enclave.convention.names.tables and enclave.convention.host_functions.deep_copy is False
    assert enclave.convention.names.ocall(0, 7) == "oe_log_is_supported_ocall"
    table = enclave.ecall("cpuid", None, 160)[8:]
    assert struct.unpack_from("<4I", table) == enclave.process.cpuid(0)
    numbers = struct.pack("<8x5Q", HOST_ADD, 32, 0, 0, 0)
    assert enclave.ecall("ocall", numbers.ljust(64, b"\0") + struct.pack("<8xQQ8x", 40, 2), 64)
    assert added == [(40, 2)]


def test_a_users_own_cpuid_goes_first(load: Load) -> None:
    def mine(data: bytes, size: int) -> bytes:
        return bytes(48) + bytes(range(96))

    enclave = load(ocalls={"oe_sgx_get_cpuid_table_ocall": mine})
    assert enclave.ecall("cpuid", None, 160)[len(HEADER) :][:96] == bytes(range(96))


def test_names_are_read_from_the_table_and_the_calls(enclave: enclu.Enclave) -> None:
    assert isinstance(enclave.convention, OpenEnclaveConvention)
    names = enclave.convention.names
    assert names.ecalls[:3] == ["cpuid", "add", "ocall"]
    assert {number: name for (_, number), name in names.ocalls.items()} == {
        0: "host_add", 1: "host_text", 4: "oe_sgx_get_cpuid_table_ocall", 5: "oe_log_ocall",
        6: "oe_syscall_write_ocall", 7: "oe_syscall_writev_ocall", 8: "oe_sgx_thread_wake_wait_ocall",
        9: "oe_syscall_nanosleep_ocall", 2: "oe_get_qetarget_info_ocall", 3: "oe_get_quote_ocall",
        10: "oe_get_supported_attester_format_ids_ocall", 11: "oe_get_supported_nothing_ocall",
        12: "oe_get_quote_verification_collateral_ocall",
    }  # fmt: skip


# ECALLs.


@pytest.mark.parametrize("design", WITH_REGISTERS)
def test_an_ecall_takes_and_returns_buffers(load: Load, design: str) -> None:
    enclave = load(design)
    assert results(enclave.ecall("add", numbers(40, 2), 64))[0] == 42
    assert results(enclave.ecall(1, numbers(1, 2), 64))[0] == 3


def test_an_ecall_without_arguments_has_zeros(enclave: enclu.Enclave) -> None:
    assert results(enclave.ecall("add"))[0] == 0


def test_an_ecall_that_is_not_there(enclave: enclu.Enclave) -> None:
    with pytest.raises(enclu.HostError, match="no ECALL `subtract': cpuid, add"):
        enclave.ecall("subtract")
    with pytest.raises(OeError, match="OE_NOT_FOUND"):
        enclave.ecall(99)


def test_an_ecalls_arguments_are_a_buffer_and_a_size(enclave: enclu.Enclave) -> None:
    with pytest.raises(TypeError, match="input buffer"):
        enclave.ecall("add", 1, 2)


def test_a_refusal_of_the_enclave_is_an_error_with_its_name(enclave: enclu.Enclave) -> None:
    with pytest.raises(OeError, match="OE_INVALID_PARAMETER") as info:
        enclave.ecall("cpuid", None, 32)
    assert info.value.result == OeResult.OE_INVALID_PARAMETER


def test_an_enclave_that_aborts_says_so(enclave: enclu.Enclave) -> None:
    with pytest.raises(OeError, match="OE_ENCLAVE_ABORTING"):
        enclave.ecall("abort")


def test_an_ecall_during_an_ocall_is_refused_by_the_enclave(load: Load) -> None:
    refused: list[int] = []

    def add(_data: bytes, _size: int) -> None:
        with pytest.raises(OeError, match="OE_REENTRANT_ECALL") as info:
            enclave.ecall("add")
        refused.append(info.value.result)

    enclave = load(ocalls={"host_add": add})
    assert ocall(enclave, HOST_ADD, HEADER + bytes(8), 64)[0] == OeResult.OE_OK
    assert refused == [OeResult.OE_REENTRANT_ECALL]
    assert results(enclave.ecall("add", numbers(1, 1), 64))[0] == 2


def test_a_loop_is_left_when_its_time_is_over(enclave: enclu.Enclave) -> None:
    with pytest.raises(enclu.EnclaveTimeout):
        enclave.ecall("loop", timeout=0.1)
    assert results(enclave.ecall("add", numbers(1, 1), 64))[0] == 2


# OCALLs.


@pytest.mark.parametrize("key", ["host_add", HOST_ADD])
@pytest.mark.parametrize("design", WITH_REGISTERS)
def test_an_ocall_is_a_function_of_buffers(load: Load, design: str, key: str | int) -> None:
    def add(data: bytes, size: int) -> bytes:
        first, second = struct.unpack_from("<QQ", data, len(HEADER))
        return HEADER + struct.pack("<Q", first + second)

    enclave = load(design, ocalls={key: add})
    data = HEADER + struct.pack("<QQ8x", 40, 2)
    assert ocall(enclave, HOST_ADD, data, 48) == (0, struct.pack("<QQQ", 42, 0, 0))


def test_an_ocall_without_a_function_is_named_and_the_enclave_told(load: Load) -> None:
    enclave = load()
    with pytest.raises(OeError, match="OCALL host_add: there is no function for it: OE_NOT_FOUND"):
        ocall(enclave, HOST_ADD, HEADER, 48)
    assert results(enclave.ecall("add", numbers(1, 1), 64))[0] == 2


def test_what_an_ocall_raises_comes_out_of_the_ecall(load: Load) -> None:
    enclave = load(ocalls={"host_add": lambda data, size: 1 // 0})
    with pytest.raises(ZeroDivisionError):
        ocall(enclave, HOST_ADD, HEADER, 48)
    assert results(enclave.ecall("add", numbers(1, 1), 64))[0] == 2


def test_an_ocall_that_returns_too_much_is_an_error(load: Load) -> None:
    enclave = load(ocalls={"host_add": lambda data, size: bytes(size + 1)})
    with pytest.raises(ValueError, match="48 bytes, not 49"):
        ocall(enclave, HOST_ADD, HEADER, 48)


class Leave(BaseException):
    pass


def test_the_enclave_hears_of_an_ocall_that_was_left_for_good_and_its_tcs_is_used_again(load: Load) -> None:
    def leave(_data: bytes, _size: int) -> None:
        raise Leave

    enclave = load(ocalls={"host_add": leave})
    for _ in range(2 * len(enclave.tcs)):
        with pytest.raises(Leave):
            ocall(enclave, HOST_ADD, HEADER, 48)
    assert not enclave.lost


INTERFACE = """
enclave {
    trusted {
        public void cpuid();
        public int64_t typed(uint32_t factor, [in, size=n] const uint8_t* data, [out, size=n] uint8_t* doubled,
            size_t n, [in, string] const char* text);
    };
    untrusted {
        uint64_t host_add(uint64_t first, uint64_t second) propagate_errno;
        void host_text([in, string] const char* text, [out, size=room] char* answer, size_t room);
    };
};
"""


@pytest.fixture
def typed() -> Callable[..., OpenEnclaveConvention]:
    return functools.partial(OpenEnclaveConvention, interface=edl.parse(INTERFACE))


def test_an_edl_file_gives_ecalls_arguments(load: Load, typed: Callable[..., OpenEnclaveConvention]) -> None:
    enclave = load(convention=typed)
    doubled = bytearray(3)
    assert enclave.ecall("typed", 10, b"\1\2\3", doubled, 3, "A") == (ord("A") << 32) + 60
    assert doubled == b"\2\4\6"


def test_null_pointers_are_none(load: Load, typed: Callable[..., OpenEnclaveConvention]) -> None:
    assert load(convention=typed).ecall("typed", 10, None, None, 3, None) == 0


@pytest.mark.parametrize("arguments", [(1, b"12", None, 3, None), (1, b"123", None, 3), (1, 5, None, 3, None)])
def test_arguments_that_do_not_fit_are_refused_before_the_call(
    load: Load, typed: Callable[..., OpenEnclaveConvention], arguments: tuple[Any, ...]
) -> None:
    with pytest.raises((TypeError, ValueError)):
        load(convention=typed).ecall("typed", *arguments)


ADD = struct.pack("<24xQQQI4x", 0, 40, 2, 0)
"""host_add's structure: result, retval, first, second, errno."""


def test_an_edl_file_gives_ocalls_arguments(load: Load, typed: Callable[..., OpenEnclaveConvention]) -> None:
    enclave = load(convention=typed, ocalls={"host_add": lambda first, second: first + second})
    status, output = ocall(enclave, HOST_ADD, ADD + bytes(8), 64)
    assert (status, struct.unpack_from("<Q", output)[0]) == (0, 42)


def test_an_oserror_sets_errno(load: Load, typed: Callable[..., OpenEnclaveConvention]) -> None:
    def fail(first: int, second: int) -> int:
        raise FileNotFoundError(2, "no such file")

    enclave = load(convention=typed, ocalls={"host_add": fail})
    _, output = ocall(enclave, HOST_ADD, ADD + bytes(8), 64)
    assert struct.unpack_from("<q16xI", output) == (-1, 2)


def test_a_library_that_was_asked_for_serves(load: Load, stripped: Path) -> None:
    interface = edl.parse(INTERFACE.replace("uint64_t host_add(", "int64_t listen("))
    enclave = load(
        image=stripped, convention=functools.partial(OpenEnclaveConvention, interface=interface, serve="posix")
    )
    given = struct.pack("<24xQQQI4x", 0, 12345, 1, 0)
    output = enclave.ecall(2, numbers(HOST_ADD, 64) + given + bytes(8), 32 + 64)
    assert struct.unpack_from("<q16xI", output, 32 + len(HEADER)) == (-1, errno.EBADF)


def test_strings_come_in_and_buffers_go_out(load: Load, typed: Callable[..., OpenEnclaveConvention]) -> None:
    def text(given: bytes, answer: bytearray, room: int) -> None:
        answer[: len(given)] = given.upper()

    enclave = load(convention=typed, ocalls={"host_text": text})
    structure = struct.pack("<24xQQQQ8x", 1, 6, 1, 16)  # text, its length, answer, room
    status, output = ocall(enclave, HOST_TEXT, structure + b"hello\0".ljust(16, b"\0"), 64 + 16)
    assert (status, output[-16:]) == (0, b"HELLO".ljust(16, b"\0"))


@pytest.mark.parametrize(
    ("length", "room"), [(1 << 40, 16), (6, 1 << 40), ((1 << 64) - 8, 16), (6, (1 << 64) - 1), (17, 16), (6, 17)]
)
def test_sizes_beyond_the_buffers_are_refused(
    load: Load, typed: Callable[..., OpenEnclaveConvention], length: int, room: int
) -> None:
    enclave = load(convention=typed, ocalls={"host_text": lambda given, answer, room: None})
    structure = struct.pack("<24xQQQQ8x", 1, length, 1, room)
    with pytest.raises(OeError, match="OE_INVALID_PARAMETER"):
        ocall(enclave, HOST_TEXT, structure + bytes(16), 64 + 16)
    assert enclave.ecall("typed", 1, None, None, 0, None) == 0


# Enclaves that do not keep to it.


@pytest.mark.parametrize("function", [0, 1, 0x8006, 0xFFFF])
def test_an_ocall_that_is_not_there_is_not_found(enclave: enclu.Enclave, function: int) -> None:
    assert raw_ocall(enclave, function, 0)[0] == OeResult.OE_NOT_FOUND


@pytest.mark.parametrize("address", [0, 8, 1 << 47, (1 << 64) - 8, (1 << 64) - 1])
def test_arguments_at_bad_addresses_are_an_error(enclave: enclu.Enclave, address: int) -> None:
    with pytest.raises(enclu.HostError):
        raw_ocall(enclave, CALL_HOST, address)
    assert results(enclave.ecall("add", numbers(1, 1), 64))[0] == 2


@pytest.mark.parametrize("place", ["base", "arena"])
@pytest.mark.parametrize("size", [0, 1, 1 << 14, 1 << 40, (1 << 64) - 1])
def test_buffers_at_bad_addresses_are_an_error(load: Load, place: str, size: int) -> None:
    enclave = load(ocalls={0: lambda data, size: None})
    memory = enclave.process.memory
    start = enclave.base + 4096 if place == "base" else (1 << 46) + 5
    with memory.temporary(struct.pack("<7Q", 0, start, size, start, size, 0, 0)) as address:
        try:
            assert raw_ocall(enclave, CALL_HOST, address)[0] == OeResult.OE_OK
        except enclu.HostError as error:
            assert size and (place == "arena" or size > 1 << 28), error
    assert results(enclave.ecall("add", numbers(1, 1), 64))[0] == 2


@pytest.mark.parametrize("rdi", [0, 1 << 48, 4 << 48, 0xFFFF << 48, (1 << 64) - 1])
def test_an_exit_that_is_none_is_an_error(enclave: enclu.Enclave, rdi: int) -> None:
    with pytest.raises(enclu.HostError, match="left with code"):
        enclave.ecall("raw_exit", numbers(rdi, 0), 64)


# Exceptions.


@pytest.mark.parametrize("design", WITH_REGISTERS)
def test_the_enclaves_handler_repairs(load: Load, design: str) -> None:
    enclave = load(design)
    assert results(enclave.ecall("undefined", None, 64))[0] == 1
    assert results(enclave.ecall("undefined", None, 64))[0] == 2


def test_an_exception_that_the_enclave_does_not_handle_is_raised(enclave: enclu.Enclave) -> None:
    with pytest.raises(enclu.EnclaveException) as info:
        enclave.ecall("fault", numbers(1 << 40), 64)
    assert info.value.name == "#PF"
    assert info.value.__notes__ == ["the enclave does not handle it"]
    assert results(enclave.ecall("add", numbers(1, 1), 64))[0] == 2


def test_a_python_handler_can_give_up_the_call(load: Load) -> None:
    enclave = load(on_exception=lambda exception: enclu.Action.UNWIND)
    assert enclave.ecall("undefined") is None


# The end.


def test_the_destructor_runs_when_the_enclave_is_unloaded(load: Load, capfd: pytest.CaptureFixture[str]) -> None:
    with load() as enclave:
        enclave.ecall("message", HEADER + b"good bye\n".ljust(256, b"\0"))
        assert capfd.readouterr().out == ""
    assert capfd.readouterr().out == "good bye\n"


def test_enclaves_come_and_go_without_leaving_memory(load: Load, oe_image: Path) -> None:
    process = load().process

    def again() -> int:
        with process.load(oe_image, sigstruct=oe_image.with_name(oe_image.name + ".sig")) as enclave:
            raw_ocall(enclave, MALLOC, 5000)
            return raw_ocall(enclave, MALLOC, 5000)[1]

    assert len({again() for _ in range(5)}) <= 2


def test_an_enclave_without_usable_tcses_is_unloaded_all_the_same(load: Load) -> None:
    enclave = load()
    for _ in list(enclave.tcs):
        with pytest.raises(enclu.EnclaveTimeout):
            enclave.ecall("loop", timeout=0.05)
    enclave.unload()
    assert not enclave.loaded
