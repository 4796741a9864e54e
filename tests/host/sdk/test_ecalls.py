"""ECALLs and OCALLs by the SDK's conventions, with arguments as the EDL file has them."""

from __future__ import annotations

import ctypes
import struct
import threading
from pathlib import Path
from typing import Any

import pytest

import enclu
from enclu.host.conventions.sdk import SdkConvention
from enclu.host.conventions.sdk.abi import FEATURES_AEX_NOTIFY, FEATURES_EXTENDED, SdkVersion, SystemFeatures
from enclu.host.edl import Interface, load, parse
from enclu.sgx.structs import Attribute
from tests.host.conftest import RESUMING, traced
from tests.host.sdk.conftest import TCSES, Load


@pytest.mark.parametrize("design", RESUMING)
def test_an_ecall_returns_what_the_function_does(
    machine: enclu.Machine, sdk_image: Path, interface: Interface, design: str
) -> None:
    with interface.load(machine.process(design), sdk_image) as calls:
        assert calls.add(40, 2) == 42


def test_a_design_that_passes_one_register_is_refused(
    machine: enclu.Machine, sdk_image: Path, interface: Interface
) -> None:
    with pytest.raises(enclu.HostError, match=r"`vdso-2018` enters enclaves with RDI only, .* needs RSI, too"):
        interface.load(machine.process("vdso-2018"), sdk_image)


def test_ecalls_can_be_made_by_number_with_a_structure(
    process: enclu.Process, sdk_image: Path, interface: Interface
) -> None:
    enclave = process.load(sdk_image, convention=interface.convention())
    structure = bytearray((0).to_bytes(4, "little") + (5).to_bytes(4, "little") + (6).to_bytes(4, "little"))
    enclave.ecall(0, structure)
    assert int.from_bytes(structure[:4], "little") == 11


def test_the_enclave_is_told_of_the_processor(load_enclave: Load) -> None:
    features = SystemFeatures()
    assert load_enclave().ecall("features", features, ctypes.sizeof(features)) == 1
    assert features.size == ctypes.sizeof(features) == 176
    assert features.system_feature_set & FEATURES_EXTENDED
    assert features.version == SdkVersion.SDK_VERSION_1_5
    assert features.cpu_features & 0x7F == features.cpu_features_ext & 0x7F == 0x7F  # up to SSE2
    assert bytes(features.cpuinfo_table[0])[4:] == b"GenuntelineI"


def test_an_enclave_that_may_ask_for_aex_notify_is_told_so(load_enclave: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    enclave = load_enclave()
    convention = enclave.convention
    assert isinstance(convention, SdkConvention)
    assert not convention._features().system_feature_set & FEATURES_AEX_NOTIFY
    monkeypatch.setattr(enclave, "attributes", enclave.attributes | Attribute.AEXNOTIFY)
    assert convention._features().system_feature_set & FEATURES_AEX_NOTIFY


def test_strings_go_in(load_enclave: Load) -> None:
    said: list[bytes] = []

    def say(text: bytes) -> int:
        said.append(text)
        return 7

    assert load_enclave(print=say).ecall("say", "grüße") == 7
    assert said == ["grüße".encode()]


def test_strings_come_back_changed(load_enclave: Load) -> None:
    text = bytearray(b"stressed\0")
    assert load_enclave().ecall("reverse", text) == 8
    assert text == b"desserts\0"


def test_arrays_come_out(load_enclave: Load) -> None:
    squares = (ctypes.c_uint32 * 5)()
    load_enclave().ecall("squares", squares, 5)
    assert list(squares) == [0, 1, 4, 9, 16]


@pytest.mark.parametrize("values", [[1, 2, 40000], (ctypes.c_uint16 * 3)(1, 2, 40000), b"\1\0\2\0\x40\x9c"])
def test_arrays_go_in_as_sequences_or_buffers(load_enclave: Load, values: object) -> None:
    assert load_enclave().ecall("sum", values, 3) == 40003


def test_none_is_null(load_enclave: Load) -> None:
    with pytest.raises(enclu.EnclaveException):
        load_enclave().ecall("touch", None)


def test_an_address_is_passed_as_it_is(process: enclu.Process, load_enclave: Load) -> None:
    with process.memory.temporary(b"\x2a") as address:
        assert load_enclave().ecall("touch", address) == 42


@pytest.mark.parametrize(
    ("function", "arguments", "error", "message"),
    [
        ("add", (1,), TypeError, r"add\(\) takes 2 arguments, 1 given"),
        ("add", (1 << 31, 0), ValueError, "2147483648 does not fit into 4 bytes"),
        ("add", ("one", 0), TypeError, "`a' is int: str is not"),
        ("squares", (bytearray(8), 5), ValueError, "`to' needs 20 bytes; 8 are given"),
        ("squares", (bytes(20), 5), TypeError, "`to' is for the enclave to write to"),
        ("reverse", (bytearray(b"no end"),), ValueError, "`text' has no zero at its end"),
        ("sum", (object(), 3), TypeError, "`of' is a pointer: object is no buffer"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(
    load_enclave: Load, function: str, arguments: tuple[object, ...], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        load_enclave().ecall(function, *arguments)


def test_an_error_status_is_raised_by_name(load_enclave: Load) -> None:
    with pytest.raises(enclu.SdkError, match=r"fail\(\): SGX_ERROR_OUT_OF_MEMORY") as raised:
        load_enclave().ecall("fail", 3)
    assert raised.value.status is enclu.SgxStatus.SGX_ERROR_OUT_OF_MEMORY


def test_a_status_that_the_sdk_does_not_have_is_shown_as_a_number(load_enclave: Load) -> None:
    with pytest.raises(enclu.SdkError, match="sgx_status_t 0x1234567"):
        load_enclave().ecall("fail", 0x1234567)


@pytest.mark.parametrize(("value", "name"), [
    (0, "SGX_SUCCESS"), (0x3001, "SGX_ERROR_MAC_MISMATCH"), (0x1234567, "sgx_status_t 0x1234567"),
])  # fmt: skip
def test_a_status_that_a_function_returns_has_its_name(
    process: enclu.Process, sdk_image: Path, tmp_path: Path, value: int, name: str
) -> None:
    """It is no error: it is the function's own, as any result."""
    text = Path(__file__).with_name("enclave.edl").read_text()
    (tmp_path / "enclave.edl").write_text(text.replace("public int add", "public sgx_status_t add"))
    enclave = process.load(sdk_image, convention=load(tmp_path / "enclave.edl").convention())
    status = enclave.ecall("add", value, 0)
    assert isinstance(status, enclu.SgxStatus) and (status, status.name) == (value, name)


def test_a_number_that_there_is_not_is_an_invalid_function(load_enclave: Load) -> None:
    with pytest.raises(enclu.SdkError, match="SGX_ERROR_INVALID_FUNCTION"):
        load_enclave().ecall(24)


def test_a_name_that_there_is_not_is_said(load_enclave: Load) -> None:
    with pytest.raises(enclu.HostError, match=r"enclave\.edl: there is no trusted function `subtract'"):
        load_enclave().ecall("subtract", 1, 2)


# OCALLs.


def test_ocalls_can_be_served_by_number_with_a_structure(process: enclu.Process, sdk_image: Path) -> None:
    memory = process.memory

    def print_text(structure: int) -> None:
        text = memory.read_string(int.from_bytes(memory.read(structure + 8, 8), "little"))
        memory.write(structure, len(text).to_bytes(4, "little"))

    enclave = process.load(sdk_image, convention=SdkConvention, ocalls=[print_text])
    with memory.temporary(b"eleven bytes"[:11] + b"\0") as text:
        structure = bytearray(struct.pack("<i4xQQ", 0, text, 12))
        enclave.ecall(2, structure)
    assert struct.unpack_from("<i", structure) == (11,)


def test_an_ocall_gets_its_arguments_and_may_write_to_them(load_enclave: Load) -> None:
    def swap(pair: Any, three: Any, raw: int, c: int) -> int:
        assert (pair.small, pair.large, raw, c) == (7, 1000, 0x1234, ord("x"))
        pair.small, pair.large = 1, 20
        three[:] = [300, 4000, 50000]
        return 600000

    assert load_enclave(swap=swap).ecall("exchange", 1000) == 654321


@pytest.mark.parametrize("size", [1, 5000, 300_000])
def test_the_enclave_puts_data_on_the_untrusted_stack(load_enclave: Load, size: int) -> None:
    received: list[bytes] = []

    def receive(data: bytes, n: int) -> int:
        received.append(data)
        return n

    enclave = load_enclave(receive=receive)
    assert enclave.ecall("send", size) == size
    assert received == [bytes(i & 0xFF for i in range(size))]


def test_nested_ecalls_go_to_the_same_tcs(load_enclave: Load) -> None:
    def call_back(depth: int) -> int:
        return int(enclave.ecall("inner", depth - 1))

    enclave = load_enclave(call_back=call_back)
    assert enclave.ecall("through", 5) == 5


def test_a_private_ecall_is_for_ocalls_that_allow_it(load_enclave: Load) -> None:
    with pytest.raises(enclu.SdkError, match=r"inner\(\): SGX_ERROR_ECALL_NOT_ALLOWED"):
        load_enclave().ecall("inner", 0)


def test_what_an_ocall_raises_is_raised_when_the_ecall_is_over(load_enclave: Load) -> None:
    def broken(text: bytes) -> int:
        raise ZeroDivisionError("in Python")

    enclave = load_enclave(print=broken)
    with pytest.raises(ZeroDivisionError, match="in Python"):
        enclave.ecall("say", "x")
    assert enclave.ecall("add", 1, 1) == 2


def test_an_ocall_that_nobody_serves_is_named(load_enclave: Load) -> None:
    with pytest.raises(enclu.HostError, match="OCALL `print', for which there is no function"):
        load_enclave().ecall("say", "x")


def test_a_result_of_the_wrong_type_is_named(load_enclave: Load) -> None:
    with pytest.raises(TypeError, match=r"print\(\) is to return int, not str"):
        load_enclave(print=lambda text: "done").ecall("say", "x")


def test_an_ocall_for_a_function_that_there_is_not_is_refused(load_enclave: Load) -> None:
    with pytest.raises(enclu.HostError, match="no untrusted function `prnit'"):
        load_enclave(prnit=print)


def test_errno_is_propagated(load_enclave: Load) -> None:
    def open_file(path: bytes) -> int:
        return open(path).fileno()

    assert load_enclave(open_file=open_file).ecall("open", "/nowhere/at/all") == 1000 + 2


def test_ocalls_may_be_methods_of_an_object(process: enclu.Process, sdk_image: Path, interface: Interface) -> None:
    class Ocalls:
        def print(self, text: bytes) -> int:
            return len(text)

    with interface.load(process, sdk_image, Ocalls()) as calls:
        assert calls.say("four") == 4


def test_cpuid_is_asked_of_the_machine(load_enclave: Load) -> None:
    registers = (ctypes.c_uint32 * 4)()
    load_enclave().ecall("cpuid", 0x12, registers)
    assert registers[0] & 3 == 3  # SGX1 and SGX2


# An EDL file of another enclave.


def test_an_interface_with_other_functions_is_refused(process: enclu.Process, sdk_image: Path) -> None:
    other = parse("enclave { trusted { public void f(); }; };", "other.edl")
    with pytest.raises(enclu.HostError, match=r"other\.edl is not of .*: 1 ECALLs in the one and 24 in the other"):
        process.load(sdk_image, convention=other.convention())


# Threads.


def test_each_thread_finds_its_variables_as_it_left_them(load_enclave: Load) -> None:
    enclave = load_enclave()
    counts: list[list[int]] = []

    def count() -> None:
        counts.append([enclave.ecall("count") for _ in range(3)])
        both.wait()  # so that neither gets the other's TCS

    both = threading.Barrier(2)
    threads = [threading.Thread(target=count) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [[1, 2, 3], [1, 2, 3]]


def test_threads_beyond_the_tcses_are_refused(load_enclave: Load) -> None:
    enclave = load_enclave()
    enclave.ecall("count")
    arrived, leave = threading.Barrier(TCSES), threading.Event()

    def occupy() -> None:
        enclave.ecall("count")
        arrived.wait()
        leave.wait()

    threads = [threading.Thread(target=occupy) for _ in range(TCSES - 1)]
    for thread in threads:
        thread.start()
    arrived.wait()
    errors: list[Exception] = []

    def late() -> None:
        try:
            enclave.ecall("count")
        except enclu.SdkError as error:
            errors.append(error)

    refused = threading.Thread(target=late)
    refused.start()
    refused.join()
    leave.set()
    for thread in threads:
        thread.join()
    assert "SGX_ERROR_OUT_OF_TCS: each TCS of 3 is bound to a living thread" in str(errors[0])
    late()
    assert len(errors) == 1  # the main thread has one


def test_tcses_of_threads_that_are_gone_are_used_again(load_enclave: Load) -> None:
    enclave = load_enclave()
    for _ in range(3 * TCSES):
        thread = threading.Thread(target=enclave.ecall, args=("count",))
        thread.start()
        thread.join()
    assert enclave.ecall("add", 1, 2) == 3


def test_a_thread_sleeps_outside_until_another_wakes_it(load_enclave: Load) -> None:
    enclave = load_enclave()
    tcs: list[int] = []
    results: list[int] = []
    known = threading.Event()

    def sleeper() -> None:
        tcs.append(enclave.ecall("own_tcs"))
        known.set()
        results.append(enclave.ecall("sleep"))

    thread = threading.Thread(target=sleeper)
    thread.start()
    known.wait()
    assert enclave.ecall("wake", tcs[0]) == 0
    thread.join(60)
    assert results == [0]


def test_waking_a_tcs_that_there_is_not_is_an_error(load_enclave: Load) -> None:
    assert load_enclave().ecall("wake", 0x1000) & 0xFFFF_FFFF == 0xF000_3001


def test_the_enclave_starts_threads(load_enclave: Load) -> None:
    assert load_enclave().ecall("start_thread") == 1


# Traces.


def test_the_sdks_calls_have_numbers(machine: enclu.Machine, sdk_image: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.json"
    with machine.process(trace=log) as process:
        process.load(sdk_image, convention="sdk")
    first, second, *_ = traced(log)
    assert first == {"kind": "ecall", "number": -1, "name": "ECMD_INIT_ENCLAVE"}
    assert second == {"kind": "ecall_return"}
