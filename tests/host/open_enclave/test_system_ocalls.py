"""OCALLs of Open Enclave's own: standard streams, logging, memory, time, threads, attestation."""

from __future__ import annotations

import struct
import threading
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

import enclu
from enclu.host.conventions.open_enclave import OeResult
from tests.host.open_enclave.calls import (
    COLLATERAL,
    FORMATS,
    FREE,
    GET_TIME,
    HEADER,
    LOG,
    MALLOC,
    NANOSLEEP,
    NOTHING,
    QUOTE,
    TARGET_INFO,
    WAIT,
    WAKE,
    WRITE,
    WRITEV,
    numbers,
    ocall,
    raw_ocall,
    results,
)


def test_standard_output_is_pythons(enclave: enclu.Enclave, capfd: pytest.CaptureFixture[str]) -> None:
    structure = struct.pack("<24xqQQQQ", 0, 1, 1, 6, 0)  # retval, fd, data, count, errno
    status, output = ocall(enclave, WRITE, structure + b"hello\n".ljust(16, b"\0"), 64)
    assert (status, struct.unpack_from("<q", output)[0]) == (0, 6)
    assert capfd.readouterr().out == "hello\n"


def test_vectors_are_written_in_order(enclave: enclu.Enclave, capfd: pytest.CaptureFixture[str]) -> None:
    vectors = struct.pack("<4Q", 32, 3, 35, 2) + b"abcde"
    structure = struct.pack("<24xqQQIxxxxQI4x", 0, 2, 1, 2, len(vectors), 0)
    status, output = ocall(enclave, WRITEV, structure.ljust(80, b"\0") + vectors.ljust(48, b"\0"), 80)
    assert (status, struct.unpack_from("<q", output)[0]) == (0, 5)
    assert capfd.readouterr().err == "abcde"


@pytest.mark.parametrize(
    ("fd", "vectors", "count", "errno"),
    [
        (2, (32, 100, 0, 0), 2, 14), (2, (32, 0, 0, 0), 5, 22), (2, (0, 0, 0, 0), 0x7FFF_FFFF, 22),
        (7, (32, 0, 0, 0), 1, 9),
    ],
)  # fmt: skip
def test_vectors_that_cannot_be_are_an_error(
    enclave: enclu.Enclave, fd: int, vectors: tuple[int, ...], count: int, errno: int
) -> None:
    data = struct.pack("<4Q", *vectors)
    structure = struct.pack("<24xqQQIxxxxQI4x", 0, fd, 1, count, len(data), 0).ljust(80, b"\0")
    status, output = ocall(enclave, WRITEV, structure + data, 80)
    assert status == 0
    assert struct.unpack_from("<q32xI", output) == (-1, errno)


def test_log_messages_go_to_pythons_logging(enclave: enclu.Enclave, caplog: pytest.LogCaptureFixture) -> None:
    structure = struct.pack("<24xQQQ", 3, 1, 6).ljust(48, b"\0")  # level, message, its length
    assert ocall(enclave, LOG, structure + b"beware".ljust(16, b"\0"), 48)[0] == 0
    assert [(record.levelname, record.message) for record in caplog.records] == [("WARNING", "beware")]


def test_memory_of_the_host_is_given_and_taken_back(enclave: enclu.Enclave) -> None:
    status, address = raw_ocall(enclave, MALLOC, 100)
    assert status == 0
    enclave.process.memory.write(address, b"x" * 100)
    assert raw_ocall(enclave, FREE, address) == (0, 0)
    assert raw_ocall(enclave, MALLOC, 100)[1] == address


@pytest.mark.parametrize("size", [1 << 40, (1 << 64) - 1])
def test_more_memory_than_there_is_is_null(enclave: enclu.Enclave, size: int) -> None:
    assert raw_ocall(enclave, MALLOC, size) == (0, 0)


@pytest.mark.parametrize("address", [0, 1, 1 << 47, (1 << 64) - 1])
def test_freeing_what_was_not_given_does_nothing(enclave: enclu.Enclave, address: int) -> None:
    assert raw_ocall(enclave, FREE, address)[0] == 0
    assert raw_ocall(enclave, FREE, enclave.base)[0] == 0


def test_the_time_is_in_milliseconds(enclave: enclu.Enclave) -> None:
    before = time.time_ns() // 1_000_000
    assert before <= raw_ocall(enclave, GET_TIME, 0)[1] <= time.time_ns() // 1_000_000


def test_a_thread_waits_until_another_wakes_it(enclave: enclu.Enclave) -> None:
    first = enclave.tcs[0]
    woken = threading.Event()

    def wait() -> None:
        assert raw_ocall(enclave, WAIT, first) == (0, 0)
        woken.set()

    thread = threading.Thread(target=wait)
    thread.start()
    assert raw_ocall(enclave, WAKE, first) == (0, 0)
    thread.join(20)
    assert woken.is_set()


def test_a_wake_before_the_wait_is_not_lost(enclave: enclu.Enclave) -> None:
    assert raw_ocall(enclave, WAKE, enclave.tcs[0]) == (0, 0)
    assert raw_ocall(enclave, WAIT, enclave.tcs[0]) == (0, 0)


def test_waiting_ends_with_the_ecalls_time(enclave: enclu.Enclave) -> None:
    with pytest.raises(enclu.EnclaveTimeout, match="while it waits"):
        raw_ocall(enclave, WAIT, enclave.tcs[0], timeout=0.05)
    assert results(enclave.ecall("add", numbers(1, 1), 64))[0] == 2


def test_sleeping_ends_with_the_ecalls_time(enclave: enclu.Enclave) -> None:
    structure = struct.pack("<24xIxxxxQQI", 0, 1, 0, 0).ljust(64, b"\0")
    data = numbers(NANOSLEEP, 64) + structure + struct.pack("<QQ", 1000, 0)
    with pytest.raises(enclu.EnclaveTimeout):
        enclave.ecall("ocall", data, 96, timeout=0.05)


@pytest.mark.parametrize("tcs", [0, 1, (1 << 64) - 1])
@pytest.mark.parametrize("function", [WAIT, WAKE])
def test_events_are_of_tcses(enclave: enclu.Enclave, function: int, tcs: int) -> None:
    assert raw_ocall(enclave, function, tcs)[0] == OeResult.OE_INVALID_PARAMETER


def test_an_ocall_of_open_enclaves_own_that_is_not_served_is_unsupported(
    enclave: enclu.Enclave, caplog: pytest.LogCaptureFixture
) -> None:
    assert ocall(enclave, NOTHING, HEADER + bytes(8), 32)[0] == OeResult.OE_UNSUPPORTED
    assert "oe_get_supported_nothing_ocall is not supported" in caplog.text


# Attestation.

ECDSA = bytes.fromhex("a3a21e871b4d4014b70aa125d2fbcd8c")


def target_info(enclave: enclu.Enclave, kind: bytes) -> tuple[int, bytes]:
    structure = struct.pack("<24xI4xQQQQ", 0, 1, 0, 0, 1)  # retval, kind, parameters, size, target
    status, output = ocall(enclave, TARGET_INFO, structure + kind, 64 + 512)
    assert status == 0
    return struct.unpack_from("<I", output)[0], output[40:]


def quote(enclave: enclu.Enclave, report: bytes, room: int) -> tuple[int, int, bytes]:
    """Result, size, quote."""
    structure = struct.pack("<24xI4x7Q", 0, 1, 0, 0, 1, bool(room), room, 1).ljust(96, b"\0")
    size = 96 + room + 16
    status, output = ocall(enclave, QUOTE, structure + ECDSA + report, size)
    assert status == 0
    return (
        struct.unpack_from("<I", output)[0],
        struct.unpack_from("<Q", output, 72 + room)[0],
        output[72 : 72 + room],
    )


def test_the_quoting_enclave_makes_the_enclaves_quote(enclave: enclu.Enclave) -> None:
    result, target = target_info(enclave, ECDSA)
    assert result == OeResult.OE_OK
    report = enclave.ecall("report", HEADER + target, 512)[24 : 24 + 432]
    result, size, _ = quote(enclave, report, 0)
    assert result == OeResult.OE_BUFFER_TOO_SMALL
    result, used, made = quote(enclave, report, -(-size // 16) * 16)
    assert (result, used) == (OeResult.OE_OK, size)
    root = enclu.attestation.root(enclave.process.machine)
    enclu.attestation.verify(made[:size], root=root, allow_debug=True).require()
    assert enclu.attestation.parse(made[:size]).report["MRENCLAVE"] == report[64:96]


def test_a_report_for_another_enclave_makes_no_quote(enclave: enclu.Enclave) -> None:
    report = enclave.ecall("report", HEADER + bytes(512), 512)[24 : 24 + 432]
    assert quote(enclave, report, 0)[0] == OeResult.OE_PLATFORM_ERROR


def test_quotes_of_another_kind_are_unsupported(enclave: enclu.Enclave) -> None:
    assert target_info(enclave, bytes(16)) == (OeResult.OE_UNSUPPORTED, bytes(512))


def test_the_kinds_of_quotes_are_copied_where_the_enclave_frees_them(enclave: enclu.Enclave) -> None:
    status, output = ocall(enclave, FORMATS, struct.pack("<24xQQQ", 0, 1, 0)[:48], 64)
    assert status == 0
    address, size = struct.unpack_from("<QQ", output, len(output) - 16)
    assert enclave.process.memory.read(address, size) == ECDSA
    assert raw_ocall(enclave, FREE, address) == (0, 0)


def collateral(enclave: enclu.Enclave, rooms: list[int]) -> tuple[int, list[int], list[bytes]]:
    """Result, sizes, and what fits into seven buffers."""
    buffers = b"".join(struct.pack("<QQQ", bool(room), room, 1) for room in rooms)
    structure = struct.pack("<24xI4xQB7x", 0, 1, 0) + buffers
    size = 224 + sum(rooms) + 7 * 16
    status, output = ocall(enclave, COLLATERAL, structure.ljust(224, b"\0") + b"enclu\0".ljust(16, b"\0"), size)
    assert status == 0
    at, sizes, contents = 224 - 24, [], []
    for room in rooms:
        contents.append(output[at : at + room])
        sizes.append(struct.unpack_from("<Q", output, at + room)[0])
        at += room + 16
    return struct.unpack_from("<I", output)[0], sizes, contents


def test_a_verifiers_collateral_is_the_machines(enclave: enclu.Enclave) -> None:
    result, sizes, _ = collateral(enclave, [0] * 7)
    assert result == OeResult.OE_BUFFER_TOO_SMALL
    rooms = [0, 0, -(-sizes[2] // 16) * 16, -(-sizes[3] // 16) * 16, 0, 0, 0]
    result, _, contents = collateral(enclave, rooms)
    assert result == OeResult.OE_BUFFER_TOO_SMALL
    processors, root = (x509.load_pem_x509_crl(contents[i][: sizes[i] - 1]) for i in (2, 3))
    manufacturer = enclu.attestation.Platform.of(enclave.process).manufacturer
    for revoked, issuer in ((processors, manufacturer.processor_ca), (root, manufacturer.root)):
        key = issuer.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey) and revoked.is_signature_valid(key)
        assert list(revoked) == []
