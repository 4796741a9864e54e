"""The designs' ioctls as a whole: the C header has them, and no input gets anything else than an errno."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import enclu
from enclu.linux import delivery, uapi
from enclu.linux.delivery import usage
from enclu.linux.vdso import image
from enclu.sgx.processor import PageTables
from tests.headers.twins import NUMBERS, STRUCTURES
from tests.linux.delivery_doubles import MM, VDSO, Thread
from tests.support.memory_processor import Kicker

ARG = 0x1000
ERRORS = {errno.EFAULT, errno.EINVAL, errno.EBUSY, errno.ENOENT, errno.EEXIST, errno.ENOSPC, errno.ENOTTY}


def test_programs_can_include_the_header_whatever_warnings_they_want(tmp_path: Path) -> None:
    source = tmp_path / "program.c"
    source.write_text('#include "enclu_sgx.h"\n')
    command = ["gcc", "-std=c11", "-pedantic", "-Wall", "-Wextra", "-Werror", "-fsyntax-only"]
    subprocess.run([*command, "-I", enclu.include_dir(), source], check=True)


@pytest.mark.parametrize("name", delivery.names())
def test_what_a_design_declares_is_in_the_header(name: str) -> None:
    entry, registration = delivery.design(name).entry, delivery.design(name).registration
    if registration is not None:
        assert {registration.register, registration.unregister} <= set(NUMBERS.values())
        assert registration.structure in STRUCTURES
    if isinstance(entry, usage.VdsoFunction):
        assert entry.info in (*STRUCTURES, uapi.ENCLAVE_RUN)


def test_the_numbers_differ_and_are_clear_of_the_kernels() -> None:
    low = [number & 0xFF for number in NUMBERS.values()]
    assert len(set(low)) == len(low)
    assert min(low) >= 0x20
    assert all(number >> 8 & 0xFF == 0xA4 for number in NUMBERS.values())


class Memory:
    """User memory of which `size` bytes at ARG exist, and the vDSO."""

    def __init__(self, data: bytes) -> None:
        self.places = {ARG: bytearray(data), VDSO: bytearray(image.load("vdso_jmp").data)}

    def _find(self, address: int, size: int) -> tuple[bytearray, int]:
        for start, data in self.places.items():
            if start <= address and address + size <= start + len(data):
                return data, address - start
        raise OSError(errno.EFAULT, "not mapped")

    def read(self, address: int, size: int) -> bytes:
        data, at = self._find(address, size)
        return bytes(data[at : at + size])

    def untouched(self, start: int, end: int) -> Callable[[int, int], bool]:
        return lambda low, high: False

    def read_into(self, address: int, view: memoryview) -> None:
        view[:] = self.read(address, len(view))

    def write(self, address: int, new: bytes) -> None:
        data, at = self._find(address, len(new))
        data[at : at + len(new)] = new


class Patching(Kicker):
    """Replaces instructions in this memory."""

    def __init__(self, memory: Memory) -> None:
        super().__init__()
        self.memory = memory

    def patch_text(self, tables: PageTables, address: int, code: bytes) -> None:
        self.memory.write(address, code)


WORD = st.one_of(
    st.integers(0, (1 << 64) - 1),
    st.sampled_from([0, 1, 0x1000, 0x40_0000, VDSO + 0x1000, (1 << 47) - 4096, (1 << 47) - 4097, 1 << 63]),
)
ARGUMENT = st.lists(WORD, max_size=5).map(lambda words: b"".join(w.to_bytes(8, "little") for w in words))
COMMAND = st.one_of(
    st.sampled_from(sorted(NUMBERS.values())), st.integers(0, (1 << 32) - 1), st.sampled_from([0xA420, 0xFFFF_A427])
)
CALL = st.tuples(COMMAND, ARGUMENT, st.sampled_from([ARG, ARG, ARG, ARG + 1, 0, (1 << 64) - 8]))


@pytest.mark.parametrize("choice", delivery.choices())
@given(st.lists(CALL, max_size=12))
def test_whatever_a_program_passes_it_gets_zero_or_an_errno(choice: str, calls: list[tuple[int, bytes, int]]) -> None:
    design, memory = delivery.create(choice), Memory(b"")
    thread = Thread(MM(executable=range(VDSO, VDSO + 0x10_0000), processors=Patching(memory)))
    for cmd, data, arg in calls:
        memory.places[ARG] = bytearray(data)
        try:
            assert design.ioctl(thread.mm, thread, memory, cmd, arg) == 0
        except OSError as error:
            assert error.errno in ERRORS
            assert cmd in NUMBERS.values() or error.errno == errno.ENOTTY
        else:
            assert cmd in NUMBERS.values()
