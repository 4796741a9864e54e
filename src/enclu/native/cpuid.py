"""CPUID as the machine's processor answers it.

Where the host cannot make CPUID fault, the instruction is found in the program's text (`cpuid_scan`) and replaced
by UD2.  What was found in a file is kept in the user's cache directory.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import json
import mmap
import os
from pathlib import Path
from typing import TYPE_CHECKING

from enclu.linux import cpuid as machine_cpuid
from enclu.native import directories

if TYPE_CHECKING:
    from enclu.native.supervisor import Supervisor
    from enclu.native.thread import Thread

CPUID, UD2 = b"\x0f\xa2", b"\x0f\x0b"
_CODE = bytes.fromhex("53 89f8 89f1 4989d0 0fa2 418900 41895804 41894808 4189500c 5b c3")
"""push rbx; eax=edi; ecx=esi; r8=rdx; cpuid; store eax, ebx, ecx, edx at r8; pop rbx; ret"""


@functools.cache
def _host_function() -> tuple[mmap.mmap, object]:
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(_CODE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    kind = ctypes.CFUNCTYPE(None, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_void_p)
    return page, kind(address)


def host(leaf: int, subleaf: int) -> tuple[int, int, int, int]:
    """EAX, EBX, ECX, EDX of the host processor's CPUID."""
    out = (ctypes.c_uint32 * 4)()
    _host_function()[1](leaf, subleaf, ctypes.addressof(out))  # type: ignore[operator]
    return out[0], out[1], out[2], out[3]


_SCANNER = 2
"""Part of the names of what is kept: raised when `cpuid_scan` would find something else in the same file."""
_KEPT = 1024
"""Files in the cache directory, at most; the oldest go when there are more."""


def _cached(name: str) -> Path:
    return directories.cache() / "cpuid" / name


def _keep(name: str, found: list[int]) -> None:
    """Remember what a scan found.  Where the cache cannot be written, the next run scans again."""
    with contextlib.suppress(OSError):
        path = _cached(name)
        directories.create(path, json.dumps(found).encode())
        files = sorted(path.parent.iterdir(), key=lambda p: p.stat().st_mtime_ns)
        for old in files[:-_KEPT]:
            old.unlink()


def _kept(name: str) -> list[int] | None:
    try:
        path = _cached(name)
        found = json.loads(path.read_bytes())
    except OSError:
        return None
    except ValueError:
        found = None
    if isinstance(found, list) and all(isinstance(at, int) for at in found):
        return found
    with contextlib.suppress(OSError):
        path.unlink()  # damaged
    return None


_known: dict[str, list[int]] = {}


def _sites_in(fd: int) -> list[int]:
    status = os.fstat(fd)
    name = f"{_SCANNER}-{status.st_dev:x}-{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}"
    if name in _known:
        return _known[name]
    found: list[int] = []
    if status.st_size > 4:
        with mmap.mmap(fd, 0, prot=mmap.PROT_READ) as data:
            if data[:4] == b"\x7fELF" and data.find(CPUID) >= 0:
                kept = _kept(name)
                if kept is not None:
                    found = kept
                else:
                    from enclu.native import cpuid_scan

                    found = cpuid_scan.sites(data[:])
                    _keep(name, found)
    _known[name] = found
    return found


def sites_of(path: str) -> list[int]:
    """File offsets of CPUID in the ELF file at `path`; none if it is no ELF file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return []
    try:
        return _sites_in(fd)
    except (OSError, ValueError):
        return []  # not a file that can be mapped
    finally:
        os.close(fd)


def _patch(thread: Thread, start: int, end: int, offset: int, sites: list[int]) -> None:
    for site in sites:
        address = site - offset + start
        if start <= address < end and thread.space.peek(address, 2) == CPUID:
            thread.space.poke(address, UD2)
            thread.space.cpuid_sites.add(address)


def patch_program(sup: Supervisor, thread: Thread) -> None:
    """After exec: the program and its interpreter."""
    with open(f"/proc/{thread.tid}/maps") as maps:
        lines = [line.split(maxsplit=5) for line in maps]
    for fields in lines:
        if "x" in fields[1] and len(fields) == 6 and fields[5].startswith("/"):
            start, end = (int(x, 16) for x in fields[0].split("-"))
            _patch(thread, start, end, int(fields[2], 16), sites_of(fields[5].rstrip("\n")))


def patch_mapping(sup: Supervisor, thread: Thread, start: int, length: int, fd: int, offset: int) -> None:
    """After the program has mapped a file to execute it."""
    _patch(thread, start, start + length, offset, sites_of(f"/proc/{thread.tid}/fd/{fd}"))


def emulate(sup: Supervisor, thread: Thread) -> bool:
    """If the thread stands at a patched CPUID, answer it and resume."""
    regs = thread.regs
    if regs.rip not in thread.space.cpuid_sites or thread.space.peek(regs.rip, 2) != UD2:
        return False
    leaf, subleaf = regs.rax & 0xFFFF_FFFF, regs.rcx & 0xFFFF_FFFF
    regs.rax, regs.rbx, regs.rcx, regs.rdx = machine_cpuid.cpuid(sup.machine, leaf, subleaf, host(leaf, subleaf))
    regs.rip += 2
    thread.store()
    thread.resume()
    return True
