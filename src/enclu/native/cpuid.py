"""CPUID as the machine's processor answers it.

Where the host cannot make CPUID fault, the instruction is found in the program's text and replaced by UD2.
The two bytes 0F A2 also occur inside other instructions, so a candidate counts only if decoding from the start
of its function (.eh_frame_hdr) arrives at it.
"""

from __future__ import annotations

import bisect
import ctypes
import functools
import io
import mmap
import os
import struct
from typing import TYPE_CHECKING, Any

import capstone
import numpy as np
from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from enclu.linux import cpuid as machine_cpuid

if TYPE_CHECKING:
    from enclu.native.supervisor import Supervisor
    from enclu.native.thread import Thread

CPUID, UD2 = b"\x0f\xa2", b"\x0f\x0b"
EH_FRAME_HDR = b"\x01\x1b\x03\x3b"
"""Version 1; pointers relative and 4 bytes: the only form that linkers make (LSB Core, .eh_frame_hdr)."""
SYMBOL = np.dtype(
    [("name", "<u4"), ("info", "u1"), ("other", "u1"), ("shndx", "<u2"), ("value", "<u8"), ("size", "<u8")]
)
STT_FUNC = 2
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


def _function_starts(elf: ELFFile) -> list[int]:
    """Sorted addresses at which decoding may begin: functions of .eh_frame_hdr and symbols, and the entry point.

    pyelftools reads .eh_frame entry by entry, seconds for a large library; the header's search table is an array.
    """
    starts = {elf.header["e_entry"]}
    for segment in elf.iter_segments("PT_GNU_EH_FRAME"):
        table = segment.data()
        if table[:4] == EH_FRAME_HDR:
            (count,) = struct.unpack_from("<I", table, 8)
            pairs = np.frombuffer(table, "<i4", count * 2, 12)
            starts.update((pairs[::2].astype(np.int64) + segment["p_vaddr"]).tolist())
    for name in (".symtab", ".dynsym"):
        symbols = elf.get_section_by_name(name)
        if symbols is not None:
            entries = np.frombuffer(symbols.data(), SYMBOL)
            starts.update(entries["value"][entries["info"] & 0xF == STT_FUNC].tolist())
    return sorted(starts)


def _sites(data: bytes) -> list[int]:
    """File offsets of the CPUID instructions in an ELF file."""
    elf = ELFFile(io.BytesIO(data))
    decoder: Any = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)  # type: ignore[no-untyped-call]
    decoder.skipdata = True
    starts: list[int] | None = None
    found = []
    for segment in elf.iter_segments("PT_LOAD"):
        if not segment["p_flags"] & 1:
            continue
        low, size, address = segment["p_offset"], segment["p_filesz"], segment["p_vaddr"]
        at = data.find(CPUID, low, low + size)
        while at >= 0:
            if starts is None:
                starts = _function_starts(elf)
            target = at - low + address
            index = bisect.bisect_right(starts, target) - 1
            begin = starts[index] if index >= 0 and starts[index] >= address else address
            code = data[begin - address + low : at + 2]
            if any(a == target and m == "cpuid" for a, _, m, _ in decoder.disasm_lite(code, begin)):
                found.append(at)
            at = data.find(CPUID, at + 1, low + size)
    return found


_cache: dict[tuple[int, int, int, int], list[int]] = {}


def sites_of(path: str) -> list[int]:
    """File offsets of CPUID in the ELF file at `path`; none if it is no ELF file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return []
    try:
        status = os.fstat(fd)
        key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        if key not in _cache:
            _cache[key] = []
            if status.st_size > 4:
                with mmap.mmap(fd, 0, prot=mmap.PROT_READ) as data:
                    if data[:4] == b"\x7fELF" and data.find(CPUID) >= 0:
                        try:
                            _cache[key] = _sites(data[:])
                        except (ELFError, KeyError, ValueError):
                            _cache[key] = []
        return _cache[key]
    except OSError:
        return []
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
