"""The text of a program, changed as it is mapped: CPUID (`cpuid`) and system calls that name a path (`path_calls`).

Nobody has executed it yet.  What was found in a file is kept in the user's cache directory.
"""

from __future__ import annotations

import contextlib
import functools
import mmap
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from enclu.base import console, directories, files
from enclu.native import cpuid, path_calls, proc

if TYPE_CHECKING:
    from enclu.native.thread import Thread

_SCANNER = 9
"""Part of the names of what is kept: raised when `text_scan` would find something else in the same file."""
_KEPT = 1024
"""Files in the cache directory, at most; the oldest go when there are more."""
_LARGEST = 1 << 24
"""Bytes of one; the largest libraries have some thousand places."""


class Sites(NamedTuple):
    """What a file has to be changed: (offset, leaf) of CPUID, and (offset, bytes) of system calls."""

    cpuid: Sequence[tuple[int, int | None]] = ()
    path_calls: Sequence[tuple[int, int]] = ()


def _cached(name: str) -> str:
    return directories.cached("text", name)


def _line(places: Iterable[tuple[int, int | None]]) -> str:
    return " ".join(f"{at}:{'' if what is None else what}" for at, what in places)


def _places(line: str) -> Iterator[tuple[int, int | None]]:
    """Raises ValueError."""
    for place in line.split():
        at, what = place.split(":")
        yield int(at), int(what) if what else None


def _keep(name: str, found: Sites) -> None:
    """Remember what a scan found.  Where the cache cannot be written, the next run scans again."""
    with contextlib.suppress(OSError):
        from pathlib import Path

        path = Path(_cached(name))
        directories.replace(path, f"{_line(found.cpuid)}\n{_line(found.path_calls)}\n".encode())
        kept = sorted(path.parent.iterdir(), key=lambda p: p.lstat().st_mtime_ns)
        for old in kept[:-_KEPT]:
            old.unlink()


def _kept(name: str, data: mmap.mmap) -> Sites | None:
    """What is remembered of a file; None if nothing is, or if it cannot be true."""
    try:
        cpuids, calls = files.read_own(_cached(name), _LARGEST).decode("ascii").splitlines()
        sites = Sites([*_places(cpuids)], [(at, size or 0) for at, size in _places(calls)])
        right = all(_stands(cpuid.CPUID, at, data) for at, _ in sites.cpuid) and all(
            size in path_calls.SIZES and _stands(path_calls.TAIL, at + size - len(path_calls.TAIL), data)
            for at, size in sites.path_calls
        )
        return sites if right else None
    except (OSError, ValueError):
        return None


def _stands(code: bytes, at: int, data: mmap.mmap) -> bool:
    return at >= 0 and data[at : at + len(code)] == code


_known: dict[str, Sites] = {}


def _sites_in(fd: int) -> Sites:
    status = os.fstat(fd)
    name = f"{_SCANNER}-{status.st_dev:x}-{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}"
    if name in _known:
        return _known[name]
    found = Sites()
    if status.st_size > 4:
        with mmap.mmap(fd, 0, prot=mmap.PROT_READ) as data:
            if data[:4] == b"\x7fELF" and (data.find(cpuid.CPUID) >= 0 or data.find(path_calls.TAIL) >= 0):
                kept = _kept(name, data)
                if kept is not None:
                    found = kept
                else:
                    with console.working(f"looking through {os.path.basename(proc.name_of(os.getpid(), f'fd/{fd}'))}"):
                        from enclu.native import text_scan

                        found = Sites(*text_scan.scan(data[:], path_calls.LOOKED_AT))
                    _keep(name, found)
    _known[name] = found
    return found


def sites_of(opened: Callable[[], int]) -> Sites:
    """What the file that can be `opened` has; nothing if it cannot, or is no ELF file."""
    try:
        fd = opened()
    except OSError:
        return Sites()
    try:
        return _sites_in(fd)
    except (OSError, ValueError):
        return Sites()  # not a file that can be mapped
    finally:
        os.close(fd)


def _patch(thread: Thread, start: int, end: int, offset: int, sites: Sites) -> None:
    space = thread.space

    def mapped(at: int) -> int | None:
        address = at - offset + start
        return address if start <= address < end else None

    for at, leaf in sites.cpuid:
        if space.answers(leaf) and (address := mapped(at)) is not None:
            cpuid.patch(space, address)
    calls = ((mapped(at), size) for at, size in sites.path_calls)
    path_calls.patch(space, [(address, size) for address, size in calls if address is not None])


def _executable(tid: int) -> Iterator[tuple[int, int, int, str]]:
    """(start, end, file offset, path) of the executable mappings of files."""
    for line in proc.lines(tid, "maps"):
        fields = line.split(maxsplit=5)
        if "x" in fields[1] and len(fields) == 6 and fields[5].startswith("/"):
            start, end = (int(x, 16) for x in fields[0].split("-"))
            yield start, end, int(fields[2], 16), fields[5]


def patch_program(thread: Thread) -> None:
    """After exec: the program and its interpreter."""
    for start, end, offset, path in _executable(thread.tid):
        _patch(thread, start, end, offset, sites_of(functools.partial(os.open, path, os.O_RDONLY | os.O_CLOEXEC)))


def patch_mapping(thread: Thread, start: int, length: int, fd: int, offset: int) -> None:
    """After the program has mapped a file to execute it."""
    opened = functools.partial(proc.follow, thread.tid, f"fd/{fd}", os.O_RDONLY)
    _patch(thread, start, start + length, offset, sites_of(opened))
