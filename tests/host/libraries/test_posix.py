"""POSIX's functions, served by name to those who ask for them."""

from __future__ import annotations

import errno
import os
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import enclu
from enclu.host.conventions.libraries import Libraries, prototypes
from enclu.host.edl import parse
from enclu.host.edl.types import Types

OPEN = "int open([in, string] const char* path, int flags, int mode) propagate_errno"
READ = "ssize_t read(int fd, [out, size=n] void* to, size_t n) propagate_errno"
WRITE = "ssize_t write(int fd, [in, size=n] const void* data, size_t n) propagate_errno"
CLOSE = "int close(int fd) propagate_errno"


@pytest.fixture
def enclave(enclave_of: Callable[[str], Any]) -> Any:
    return enclave_of("posix")


def test_files_are_written_and_read(enclave: Any, tmp_path: Path) -> None:
    path = str(tmp_path / "file").encode() + b"\0"
    fd = enclave.ocall(OPEN, path, os.O_RDWR | os.O_CREAT, 0o640)
    assert enclave.ocall(WRITE, fd, b"hello", 5) == 5
    assert enclave.ocall("int64_t lseek(int fd, int64_t offset, int whence)", fd, -4, os.SEEK_END) == 1
    data = bytearray(8)
    assert enclave.ocall(READ, fd, data, 8) == 4
    assert data == b"ello\0\0\0\0"
    assert enclave.ocall(CLOSE, fd) == 0
    assert (tmp_path / "file").read_bytes() == b"hello"
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("name", ["unlink", "ocall_unlink", "u_unlink", "unlink_ocall", "u_unlink_ocall"])
def test_names_may_have_the_usual_prefix_and_suffix(enclave: Any, tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    assert enclave.ocall(f"int {name}([in, string] const char* path)", bytes(tmp_path / "file") + b"\0") == 0
    assert not (tmp_path / "file").exists()


def test_errno_comes_where_the_ocall_has_a_place_for_it(enclave: Any) -> None:
    assert enclave.ocall(OPEN, b"/nowhere/at/all\0", 0, 0) == -1
    assert enclave.errno == errno.ENOENT
    place = bytearray(b"\xff" * 4)
    first = "int u_open_ocall([out] int* error, [in, string] const char* path, int flags)"
    assert enclave.ocall(first, place, b"/nowhere/at/all\0", 0) == -1
    assert int.from_bytes(place, "little") == errno.ENOENT
    assert enclave.ocall(first, place, b"/dev/null\0", 0) >= 0
    assert place == bytes(4)


def test_without_such_a_place_it_is_lost_as_in_c(enclave: Any) -> None:
    assert enclave.ocall("int rmdir([in, string] const char* path)", b"/nowhere/at/all\0") == -1


def test_a_failure_is_the_largest_number_where_the_result_has_no_sign(enclave: Any) -> None:
    place = bytearray(4)
    read = "size_t u_read_ocall([out] int* error, int fd, [out, size=n] void* to, size_t n)"
    assert enclave.ocall(read, place, 12345, bytearray(4), 4) == (1 << 64) - 1
    assert int.from_bytes(place, "little") == errno.EBADF


def test_a_failure_with_errno_is_the_largest_number_there_too(enclave: Any) -> None:
    read = "size_t read(int fd, [out, size=n] void* to, size_t n) propagate_errno"
    assert enclave.ocall(read, 12345, bytearray(4), 4) == (1 << 64) - 1
    assert enclave.errno == errno.EBADF


def test_descriptors_of_the_program_are_none_for_the_enclave(enclave: Any, tmp_path: Path) -> None:
    with (tmp_path / "secret").open("w+") as file:
        for declared, *rest in ((READ, bytearray(4), 4), (WRITE, b"data", 4), (CLOSE,)):
            assert enclave.ocall(declared, file.fileno(), *rest) == -1
            assert enclave.errno == errno.EBADF
        os.fstat(file.fileno())


def test_a_descriptor_that_is_closed_is_none_any_more(enclave: Any) -> None:
    fd = enclave.ocall(OPEN, b"/dev/null\0", 0, 0)
    assert enclave.ocall(CLOSE, fd) == 0
    assert enclave.ocall(CLOSE, fd) == -1
    assert enclave.errno == errno.EBADF


def test_what_is_left_open_is_closed_with_the_enclave(enclave: Any) -> None:
    fds = [enclave.ocall(OPEN, b"/dev/null\0", 0, 0), enclave.ocall("int dup(int fd)", 0)]
    ends = bytearray(8)
    assert enclave.ocall("int pipe([out] int ends[2])", ends) == 0
    fds += struct.unpack("<ii", ends)
    fds.append(enclave.ocall("int fcntl(int fd, int command, int argument)", fds[0], 0, 10))
    assert len({os.fstat(fd).st_ino for fd in fds}) > 1
    enclave.libraries.close()
    for fd in fds:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)


def test_standard_output_is_pythons(enclave: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert enclave.ocall(WRITE, 1, b"out\n", 4) == 4
    assert enclave.ocall(WRITE, 2, b"error\n", 6) == 6
    enclave.ocall("int ocall_puts([in, string] const char* text)", b"line\0")
    enclave.ocall("int putchar(int c)", ord("c"))
    assert enclave.ocall(CLOSE, 1) == 0
    print("still open")
    assert tuple(capsys.readouterr()) == ("out\nline\ncstill open\n", "error\n")


@pytest.mark.parametrize(
    ("declared", "arguments"),
    [
        ("ssize_t read(int fd, [out, size=4] void* to, size_t n) propagate_errno", (bytearray(4), 1 << 20)),
        ("ssize_t write(int fd, [in, size=4] const void* data, size_t n) propagate_errno", (b"1234", 1 << 20)),
        ("int fstat(int fd, [out, size=8] void* status) propagate_errno", (bytearray(8),)),
        ("ssize_t read(int fd, [user_check] void* to, size_t n) propagate_errno", (0x10, 4)),
        ("ssize_t read(int fd, [user_check] void* to, size_t n) propagate_errno", (0x10, 1 << 60)),
    ],
)
def test_sizes_beyond_the_buffer_and_bad_addresses_are_faults(
    enclave: Any, declared: str, arguments: tuple[Any, ...]
) -> None:
    fd = enclave.ocall(OPEN, b"/dev/zero\0", os.O_RDWR, 0)
    assert enclave.ocall(declared, fd, *arguments) == -1
    assert enclave.errno == errno.EFAULT


def test_buffers_may_be_addresses_of_untrusted_memory(enclave: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    open_at = "int open([user_check] const char* path, int flags)"
    with enclave.memory.temporary(bytes(tmp_path / "file") + b"\0") as path:
        fd = enclave.ocall(open_at, path, 0)
    address = enclave.ocall("void* malloc(size_t size)", 32)
    enclave.memory.write(address, b"." * 32)
    assert enclave.ocall("ssize_t read(int fd, [user_check] void* to, size_t n)", fd, address, 32) == 7
    assert enclave.memory.read(address, 32) == b"content" + b"." * 25
    enclave.ocall("void free([user_check] void* address)", address)
    with pytest.raises(enclu.HostError):
        enclave.memory.free(address)


def test_the_status_of_a_file_is_the_kernels_structure(enclave: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    status = bytearray(144)
    stat = "int stat([in, string] const char* path, [out, size=144] void* status)"
    assert enclave.ocall(stat, bytes(tmp_path / "file") + b"\0", status) == 0
    assert struct.unpack_from("<QQ", status) == ((s := os.stat(tmp_path / "file")).st_dev, s.st_ino)
    assert struct.unpack_from("<q", status, 48) == (5,)


def test_clocks_are_the_hosts(enclave: Any) -> None:
    now, before = bytearray(16), time.time_ns()
    assert enclave.ocall("int clock_gettime(int clock, [out, size=16] void* now)", time.CLOCK_REALTIME, now) == 0
    seconds, nanoseconds = struct.unpack("<qq", now)
    assert before <= seconds * 1_000_000_000 + nanoseconds <= time.time_ns()
    assert before // 1_000_000_000 <= enclave.ocall("time_t ocall_time()") <= time.time()
    assert enclave.ocall("int usleep(unsigned int microseconds)", 1) == 0


def test_processes_have_the_programs_numbers(enclave: Any) -> None:
    assert enclave.ocall("int u_getpid_ocall()") == os.getpid()
    assert enclave.ocall("unsigned int getuid()") == os.getuid()


def test_connections_are_made_and_taken(enclave: Any) -> None:
    listener = enclave.ocall("int u_socket(int domain, int type, int protocol)", socket.AF_INET, socket.SOCK_STREAM, 0)
    address = struct.pack("=H", socket.AF_INET) + bytes(2) + socket.inet_aton("127.0.0.1") + bytes(8)
    bind = "int u_bind(int fd, [in, size=len] const void* address, socklen_t len)"
    assert enclave.ocall(bind, listener, address, 16) == 0
    assert enclave.ocall("int u_listen(int fd, int n)", listener, 1) == 0
    name, length = bytearray(16), bytearray(4)
    sockname = "int getsockname(int fd, [out, size=room] void* a, socklen_t room, [out] socklen_t* length)"
    assert enclave.ocall(sockname, listener, name, 16, length) == 0
    assert length == b"\x10\0\0\0"
    with socket.create_connection(("127.0.0.1", int.from_bytes(name[2:4], "big"))) as client:
        accept = (
            "int u_accept(int fd, [out, size=room] void* a, socklen_t room, [out] socklen_t* length) propagate_errno"
        )
        peer, length = bytearray(16), bytearray(4)
        fd = enclave.ocall(accept, listener, peer, 16, length)
        assert int.from_bytes(peer[2:4], "big") == client.getsockname()[1]
        assert length == b"\x10\0\0\0"
        client.sendall(b"question")
        fds = bytearray(struct.pack("<ihh", fd, 1, 0))
        poll = "int poll([in, out, size=8, count=n] void* fds, uint64_t n, int timeout) propagate_errno"
        assert enclave.ocall(poll, fds, 1, 10_000) == 1
        data = bytearray(16)
        assert enclave.ocall("ssize_t recv(int fd, [out, size=n] void* d, size_t n, int flags)", fd, data, 16, 0) == 8
        assert data[:8] == b"question"
        assert enclave.ocall("ssize_t send(int fd, [in, size=n] const void* d, size_t n, int f)", fd, b"yes", 3, 0) == 3
        assert client.recv(8) == b"yes"
        fds = bytearray(struct.pack("<ihh", client.fileno(), 1, 0))
        assert enclave.ocall(poll, fds, 1, 0) == -1
        assert enclave.errno == errno.EBADF


@pytest.mark.parametrize(
    "declared",
    [
        "int write(int fd, [out, size=n] void* data, size_t n)",
        "int write([in, string] const char* text)",
        "int write(int fd, int data, size_t n)",
        "int open([in, size=8] const char* path, int flags)",
        "int printf([in, string] const char* text)",
        "int sgxssl_read(int fd, [out, size=n] void* data, size_t n)",
        "int read([out] int* other, int fd, [out, size=n] void* data, size_t n)",
    ],
)
def test_what_is_declared_otherwise_is_another_function(declared: str) -> None:
    assert prototypes.find(parse(f"enclave {{ untrusted {{ {declared}; }}; }};").ocalls[0]) is None


def test_every_function_finds_itself_and_is_in_the_c_library(enclave: Any) -> None:
    for function in prototypes.interface().ocalls:
        declared = str(function).replace("__2", "").replace("dir_fd_t", "int").replace("fd_t", "int")
        made = parse(f"enclave {{ untrusted {{ {declared}; }}; }};")
        found = prototypes.find(made.ocalls[0])
        assert found is not None
        assert (found.function, found.name) == (function, function.name.removesuffix("__2"))
        assert enclave.libraries.function(made.ocalls[0], Types(made)) is not None


def test_a_library_that_is_none_is_refused_by_name(memory: Any) -> None:
    with pytest.raises(enclu.HostError, match="no library of OCALLs is called 'posixx': posix, sgxssl"):
        Libraries(memory, ["posix", "posixx"])
