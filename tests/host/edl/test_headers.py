"""Types that only C headers define, as the C compiler has them."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import pytest

from enclu.host.edl import EdlError, load
from enclu.host.edl.layout import length, marshalling_structure
from enclu.host.edl.marshal import EcallMarshaller
from enclu.host.edl.types import Types


def interface(directory: Path, functions: str, includes: str = "", **headers: str) -> Any:
    for name, text in headers.items():
        (directory / f"{name}.h").write_text(text)
    file = directory / "x.edl"
    file.write_text(f"enclave {{ {includes} trusted {{ {functions} }}; }};")
    return load(file)


def structure(made: Any) -> Any:
    return marshalling_structure(made.ecalls[0], Types(made))


@pytest.mark.parametrize(
    ("header", "type_", "size"),
    [
        ("sys/stat.h", "struct stat", 144), ("sys/uio.h", "struct iovec", 16), ("time.h", "struct timespec", 16),
        ("sys/socket.h", "struct sockaddr", 16), ("netinet/in.h", "struct sockaddr_in6", 28),
        ("poll.h", "struct pollfd", 8), ("sched.h", "cpu_set_t", 128),
    ],
)  # fmt: skip
def test_the_systems_headers_are_found(tmp_path: Path, header: str, type_: str, size: int) -> None:
    made = interface(tmp_path, f"public void f([in, count=2] {type_}* p);", f'include "{header}"')
    assert length(made.ecalls[0].parameters[0], Types(made), {}) == 2 * size


def test_structures_of_headers_are_passed_by_value(tmp_path: Path) -> None:
    made = structure(interface(tmp_path, "public int f(char c, struct timespec t);", 'include "time.h"'))
    assert (made.ms_t.offset, made.ms_t.size) == (8, 16)


def test_types_of_the_compiler_need_no_header(tmp_path: Path) -> None:
    made = interface(tmp_path, "public void f([in] __builtin_va_list* p);")
    assert length(made.ecalls[0].parameters[0], Types(made), {}) == 24


class Memory:
    """Addresses that are offsets in a buffer."""

    def __init__(self) -> None:
        self.data, self.end = bytearray(4096), 16

    def allocate(self, size: int, align: int = 16) -> int:
        self.end = -(-self.end // align) * align + size
        return self.end - size

    def free(self, address: int) -> None:
        pass

    def read(self, address: int, length: int) -> bytes:
        return bytes(self.data[address : address + length])

    def write(self, address: int, data: bytes) -> None:
        self.data[address : address + len(data)] = data


def call(made: Any, *arguments: Any, answer: bytes = b"") -> tuple[bytes, Any]:
    """What the enclave is given, and what Python is when the enclave writes `answer` at the structure's start."""
    memory, given = Memory(), b""
    marshaller = EcallMarshaller(made.ecalls[0], Types(made))

    def enter(address: int) -> bool:
        nonlocal given
        assert marshaller.structure is not None
        given = memory.read(address, ctypes.sizeof(marshaller.structure))
        memory.write(address, answer)
        return True

    result = marshaller.call(memory, arguments, enter)
    return given, result


@pytest.mark.parametrize("type_", ["__int128_t", "mine_t"])
def test_numbers_of_128_bits_are_ints(tmp_path: Path, type_: str) -> None:
    made = interface(tmp_path, f"public {type_} f(char c, {type_} n);", 'include "m.h"', m="typedef __int128 mine_t;\n")
    given, result = call(made, 1, -5, answer=(-(1 << 100)).to_bytes(16, "little", signed=True))
    assert given[32:48] == (-5).to_bytes(16, "little", signed=True)
    assert result == -(1 << 100)


def test_unsigned_numbers_of_128_bits_have_no_sign(tmp_path: Path) -> None:
    made = interface(tmp_path, "public __uint128_t f(__uint128_t n);")
    given, result = call(made, (1 << 128) - 1, answer=b"\xff" * 16)
    assert (given[16:], result) == (b"\xff" * 16, (1 << 128) - 1)
    with pytest.raises(ValueError, match="-1 does not fit into 16 bytes"):
        call(made, -1)


@pytest.mark.parametrize("number", [16, 0, 5])
def test_a_number_is_no_structure(tmp_path: Path, number: int) -> None:
    made = interface(tmp_path, "public void f(struct timespec t);", 'include "time.h"')
    with pytest.raises(TypeError, match="`t' is struct timespec: int is not"):
        call(made, number)


@pytest.mark.parametrize(
    ("declared", "answer", "value"),
    [
        ("int mine_t", b"\xff" * 4, -1), ("unsigned mine_t", b"\xff" * 4, 0xFFFF_FFFF),
        ("short mine_t", b"\xfe\xff", -2),
        ("double mine_t", b"\0\0\0\0\0\0\xf8\x3f", 1.5), ("float mine_t", b"\0\0\xc0\x3f", 1.5),
        ("_Bool mine_t", b"\1", True), ("const long mine_t", b"\xff" * 8, -1),
        ("void* mine_t", b"\xff" * 8, (1 << 64) - 1),
        ("enum { A = -1, B } mine_t", b"\xff" * 4, -1), ("struct { char c[3]; } mine_t", b"abc", b"abc"),
    ],
)  # fmt: skip
def test_other_names_of_numbers_are_numbers_of_that_kind(
    tmp_path: Path, declared: str, answer: bytes, value: Any
) -> None:
    made = interface(tmp_path, "public mine_t f();", 'include "m.h"', m=f"typedef {declared};\n")
    result = call(made, answer=answer)[1]
    assert (result, type(result)) == (value, type(value))


def test_an_array_of_eight_bytes_is_no_pointer(tmp_path: Path) -> None:
    made = interface(tmp_path, "public void f([in, isary] mine_t a);", 'include "m.h"', m="typedef char mine_t[8];\n")
    assert length(made.ecalls[0].parameters[0], Types(made), {}) == 8
    assert Types(made).of(made.ecalls[0].parameters[0].type).__base__ is ctypes.Structure


def test_gccs_complaint_about_a_header_is_shown(tmp_path: Path) -> None:
    made = interface(
        tmp_path, "public void f(mine_t a);", 'include "good.h" include "bad.h"',
        good="typedef int yours_t;\n", bad='#include "good.h"\ntypedef unknown_t mine_t;\n',
    )  # fmt: skip
    with pytest.raises(EdlError, match=r"x\.edl:1:\d+: how large `mine_t' is.*bad\.h:2:9: error: unknown type name"):
        structure(made)


def test_a_header_that_is_not_here_is_named_and_the_others_are_used(tmp_path: Path) -> None:
    made = interface(
        tmp_path,
        "public void f(mine_t a, other_t b);",
        'include "sgx_nowhere.h" include "m.h"',
        m="typedef int mine_t;\n",
    )
    types = Types(made)
    assert types.of(made.ecalls[0].parameters[0].type) is ctypes.c_int
    with pytest.raises(EdlError, match=r"`other_t' is.*sgx_nowhere\.h:\d+: fatal error: sgx_nowhere\.h: No such file"):
        types.of(made.ecalls[0].parameters[1].type)


def test_a_header_that_includes_one_that_is_not_here_is_complained_about(tmp_path: Path) -> None:
    made = interface(
        tmp_path, "public void f(mine_t a);", 'include "m.h"', m='#include "sgx_nowhere.h"\ntypedef int mine_t;\n'
    )
    with pytest.raises(EdlError, match=r"m\.h:1:10: fatal error: sgx_nowhere\.h: No such file or directory"):
        structure(made)


def test_without_a_compiler_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EdlError, match="there is no gcc to read headers"):
        structure(interface(tmp_path, "public void f(mine_t a);"))


def test_without_a_directory_for_temporary_files_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = interface(tmp_path, "public void f(mine_t a);")
    monkeypatch.setattr("tempfile.tempdir", "/proc/self")
    with pytest.raises(EdlError, match=r"nowhere for temporary files: /proc/self/enclu-edl-\w+: .*; set TMPDIR to"):
        structure(made)
