"""SGXSSL's OCALLs, as its EDL files declare them."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import enclu
from enclu.host.edl import parse

FOPEN = "uint64_t* u_sgxssl_fopen([in, string] const char* name, [in, string] const char* mode)"
FGETS = "char* u_sgxssl_fgets([out, size=size] char* buffer, uint32_t size, [user_check] uint64_t* stream)"
FREAD = (
    "uint32_t u_sgxssl_fread([out, size=size, count=n] void* p, uint32_t size, uint32_t n, [user_check] uint64_t* s)"
)
FERROR = "int u_sgxssl_ferror([user_check] uint64_t* stream)"
FCLOSE = "void u_sgxssl_fclose([user_check] uint64_t* stream)"
FTIME = "void u_sgxssl_ftime([out, size=len] void* timeptr, uint32_t len)"


@pytest.fixture
def enclave(enclave_of: Callable[[str], Any]) -> Any:
    return enclave_of("sgxssl")


def test_the_time_is_a_struct_timeb(enclave: Any) -> None:
    timeb, before = bytearray(b"\xff" * 16), time.time_ns() // 1_000_000
    enclave.ocall(FTIME, timeb, 16)
    seconds, milliseconds, zone, dst = struct.unpack("<qHhh2x", timeb)
    assert before <= seconds * 1000 + milliseconds <= time.time_ns() // 1_000_000
    assert (zone, dst) == (0, 0)


def test_a_structure_of_another_size_is_refused(enclave: Any) -> None:
    with pytest.raises(enclu.HostError, match="struct timeb has 16 bytes, the enclave's has 12"):
        enclave.ocall(FTIME, bytearray(12), 12)


def test_sleep_and_process_number(enclave: Any) -> None:
    enclave.ocall("void u_sgxssl_usleep(int micro_seconds)", 1)
    assert enclave.ocall("int u_sgxssl_getpid()") == os.getpid()


def test_files_are_read_by_lines_and_elements(enclave: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"first\nsecond line\nrest")
    file = enclave.ocall(FOPEN, bytes(tmp_path / "file") + b"\0", b"rb\0")
    assert file
    line = bytearray(b"\xff" * 8)
    assert enclave.ocall(FGETS, line, 8, file)
    assert line.startswith(b"first\n\0")
    assert enclave.ocall(FGETS, line, 8, file)
    assert line == b"second \0"
    data = bytearray(16)
    assert enclave.ocall(FREAD, data, 4, 4, file) == 2
    assert data[:9] == b"line\nrest"
    assert enclave.ocall(FGETS, line, 8, file) == 0
    assert enclave.ocall(FERROR, file) == 0
    enclave.ocall(FCLOSE, file)


def test_an_error_while_reading_is_told_by_ferror(enclave: Any, tmp_path: Path) -> None:
    file = enclave.ocall(FOPEN, bytes(tmp_path / "new") + b"\0", b"w\0")
    assert enclave.ocall(FREAD, bytearray(4), 1, 4, file) == 0
    assert enclave.ocall(FERROR, file) == 1


@pytest.mark.parametrize(("name", "mode"), [(b"/nowhere/at/all", b"r"), (b"/dev/null", b"q"), (b"/dev/null", b"")])
def test_what_cannot_be_opened_is_null(enclave: Any, name: bytes, mode: bytes) -> None:
    assert enclave.ocall(FOPEN, name + b"\0", mode + b"\0") == 0


@pytest.mark.parametrize("declared", [FCLOSE, FERROR])
def test_a_handle_that_is_none_is_an_error(enclave: Any, declared: str) -> None:
    with pytest.raises(enclu.HostError, match="SGXSSL's file 0x1234 is not open"):
        enclave.ocall(declared, 0x1234)


def test_files_left_open_are_closed_with_the_enclave(enclave: Any) -> None:
    file = enclave.ocall(FOPEN, b"/dev/null\0", b"r\0")
    enclave.libraries.close()
    with pytest.raises(enclu.HostError, match="is not open"):
        enclave.ocall(FERROR, file)


def test_the_sdks_file_brings_them_after_its_own() -> None:
    interface = parse('enclave { from "sgx_tsgxssl.edl" import *; untrusted { void mine(); }; };')
    names = [ocall.name for ocall in interface.ocalls]
    assert (names[0], names[1], len(names)) == ("mine", "u_sgxssl_ftime", 7)
