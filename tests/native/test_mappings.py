"""What /proc tells of mappings and their pages."""

from __future__ import annotations

import ctypes
import mmap
import os
from pathlib import Path

import pytest

from enclu.native import mappings

PAGE = 4096


def address(memory: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def touched() -> tuple[mmap.mmap, list[tuple[int, int]]]:
    """Private memory with three pages in it, and where these are."""
    memory = mmap.mmap(-1, 1 << 30, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    start = address(memory)
    for page in (0, 1, 99_999):
        memory[page * PAGE] = 1
    return memory, [(start, start + 2 * PAGE), (start + 99_999 * PAGE, start + 100_000 * PAGE)]


def test_pages_that_were_touched_are_found() -> None:
    memory, wanted = touched()
    start = address(memory)
    assert mappings.own_pages(os.getpid(), start, start + len(memory)) == wanted


def test_older_kernels_tell_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_arguments: object) -> int:
        raise OSError(25, "not known")

    monkeypatch.setattr("enclu.native.mappings.fcntl.ioctl", unknown)
    memory, wanted = touched()
    start = address(memory)
    assert mappings.own_pages(os.getpid(), start, start + len(memory)) == wanted


def test_more_runs_than_the_kernel_tells_at_once_are_found() -> None:
    memory = mmap.mmap(-1, 6000 * PAGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    start = address(memory)
    for page in range(0, 6000, 2):
        memory[page * PAGE] = 1
    runs = mappings.own_pages(os.getpid(), start, start + len(memory))
    assert runs == [(start + page * PAGE, start + (page + 1) * PAGE) for page in range(0, 6000, 2)]


def test_of_a_file_only_changed_pages_are_its_own(tmp_path: Path) -> None:
    path = tmp_path / "file\nwith a line"
    path.write_bytes(bytes(4 * PAGE))
    with path.open("r+b") as file:
        memory = mmap.mmap(file.fileno(), 4 * PAGE, mmap.MAP_PRIVATE)
    start = address(memory)
    assert memory[0] == memory[PAGE] == 0
    memory[2 * PAGE] = 1
    assert mappings.own_pages(os.getpid(), start, start + 4 * PAGE) == [(start + 2 * PAGE, start + 3 * PAGE)]
    (found,) = [m for m in mappings.of(os.getpid()) if m.start == start]
    assert (found.name, found.of_file, found.unlinked) == (os.fsencode(path), True, False)
    path.unlink()
    (found,) = [m for m in mappings.of(os.getpid()) if m.start == start]
    assert found.unlinked


def test_the_kernels_own_mappings_are_told_from_the_programs() -> None:
    special = {m.name for m in mappings.of(os.getpid()) if m.special}
    assert b"[vdso]" in special and not special & {b"[heap]", b"[stack]", b""}
