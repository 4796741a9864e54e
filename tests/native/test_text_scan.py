"""Finding instructions in the text of ELF files: those of the system, and damaged ones."""

from __future__ import annotations

import struct
from pathlib import Path

import capstone
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enclu.base.abi import NR
from enclu.native import text_scan
from enclu.native.seccomp import PATH_CALLS


def loaded(name: str) -> bytes:
    """The file of a library that this very process has mapped."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        if name in line:
            return Path(line.split(maxsplit=5)[5]).read_bytes()
    pytest.fail(f"{name} is not mapped")


LIBC = loaded("libc.so.6")


def test_the_c_librarys_calls_that_name_a_path_are_found() -> None:
    _, calls = text_scan.scan(LIBC, PATH_CALLS)
    numbers = {struct.unpack_from("<I", LIBC, at + 1)[0] for at, _ in calls}
    assert {PATH_CALLS[n] for n in numbers} == {"rdi", "rsi"} and len(calls) >= 8


def test_the_c_librarys_ioctl_is_found() -> None:
    _, calls = text_scan.scan(LIBC, (NR["ioctl"],))
    assert calls and all(struct.unpack_from("<I", LIBC, at + 1)[0] == NR["ioctl"] for at, _ in calls)


def test_what_is_found_decodes_to_a_whole_call() -> None:
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    _, calls = text_scan.scan(LIBC, PATH_CALLS)
    for at, size in calls:
        code = list(decoder.disasm_lite(LIBC[at : at + size], 0))
        assert [i[2] for i in code if i[2] != "mov"] == ["syscall", "cmp"] and sum(i[1] for i in code) == size


def test_calls_of_other_numbers_are_left_alone() -> None:
    assert text_scan.scan(LIBC, ()) == (text_scan.scan(LIBC, PATH_CALLS)[0], [])


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 0x3FF), st.integers(0, 255)), max_size=20), st.integers(0, len(LIBC)))
def test_a_damaged_file_is_no_error(changes: list[tuple[int, int]], end: int) -> None:
    image = bytearray(LIBC[:end])
    for at, value in changes:
        if at < len(image):
            image[at] = value
    text_scan.scan(bytes(image), PATH_CALLS)
