"""Which memory is known to be zeros without reading it: this process's own."""

import ctypes
import fcntl
import mmap
import os
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from enclu.native.untouched import Untouched

PAGES = 64
PAGE = 4096
USERFAULTFD, USER_MODE_ONLY = 323, 1
UFFDIO_API, UFFDIO_REGISTER, MISSING = 0xC018AA3F, 0xC020AA00, 1


@pytest.fixture
def memory() -> Iterator[mmap.mmap]:
    yield mmap.mmap(-1, PAGES * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def start_of(memory: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def known(start: int, low: int = 0, high: int = PAGES) -> bool:
    return Untouched(os.getpid(), start, start + PAGES * PAGE)(start + low * PAGE, start + high * PAGE)


def test_anonymous_memory_is_untouched_up_to_the_page_that_is_written(memory: mmap.mmap) -> None:
    start = start_of(memory)
    assert known(start)
    memory[5 * PAGE + 7] = 1
    assert known(start, 0, 5) and known(start, 6) and not known(start, 5, 6) and not known(start)


def test_what_is_written_after_the_first_question_is_seen(memory: mmap.mmap) -> None:
    start = start_of(memory)
    untouched = Untouched(os.getpid(), start, start + PAGES * PAGE)
    assert untouched(start, start + PAGE)
    memory[0] = 1
    assert not untouched(start, start + PAGE)


@pytest.mark.parametrize("flags", [mmap.MAP_PRIVATE, mmap.MAP_SHARED])
def test_of_a_file_nothing_is_known(flags: int) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(b"\1" * (PAGES * PAGE))
        file.flush()
        mapped = mmap.mmap(file.fileno(), PAGES * PAGE, flags=flags)
    assert not known(start_of(mapped))


def test_a_mapped_file_may_have_any_name(memory: mmap.mmap, tmp_path: Path) -> None:
    path = tmp_path / "a\rb c"
    path.write_bytes(bytes(PAGE))
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), PAGE, prot=mmap.PROT_READ)
    assert known(start_of(memory))
    mapped.close()


def test_of_shared_memory_nothing_is_known() -> None:
    assert not known(start_of(mmap.mmap(-1, PAGES * PAGE)))


def test_of_memory_that_may_not_be_read_or_is_not_there_nothing_is_known(memory: mmap.mmap) -> None:
    start, libc = start_of(memory), ctypes.CDLL(None)
    assert libc.mprotect(ctypes.c_void_p(start + 32 * PAGE), ctypes.c_size_t(PAGE), 0) == 0
    assert known(start, 0, 32) and not known(start, 32, 33) and not known(start, 31, 34)
    assert not known(0x1000)
    assert libc.mprotect(ctypes.c_void_p(start + 32 * PAGE), ctypes.c_size_t(PAGE), 3) == 0


def test_of_memory_that_somebody_supplies_nothing_is_known(memory: mmap.mmap) -> None:
    start = start_of(memory)
    supplier = ctypes.CDLL(None).syscall(USERFAULTFD, os.O_CLOEXEC | USER_MODE_ONLY)
    if supplier < 0:
        pytest.skip("no userfaultfd(2) here")
    try:
        fcntl.ioctl(supplier, UFFDIO_API, struct.pack("<QQQ", 0xAA, 0, 0))
        fcntl.ioctl(supplier, UFFDIO_REGISTER, struct.pack("<QQQQ", start, PAGES * PAGE, MISSING, 0))
        assert not known(start)
    finally:
        os.close(supplier)
    assert known(start)


def test_of_a_process_that_is_gone_nothing_is_known(memory: mmap.mmap) -> None:
    start, child = start_of(memory), os.spawnlp(os.P_NOWAIT, "true", "true")
    os.waitpid(child, 0)
    assert not Untouched(child, start, start + PAGE)(start, start + PAGE)
