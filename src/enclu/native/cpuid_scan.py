"""Finding the CPUID instructions in an ELF file.

The two bytes 0F A2 also occur inside other instructions, so a candidate counts only if decoding from the start
of its function (.eh_frame_hdr) arrives at it.  Imported only when there is something to find: its libraries take
longer to load than most programs to run.
"""

from __future__ import annotations

import bisect
import io
import struct
from typing import Any

import capstone
import numpy as np
from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

CPUID = b"\x0f\xa2"
EH_FRAME_HDR = b"\x01\x1b\x03\x3b"
"""Version 1; pointers relative and 4 bytes: the only form that linkers make (LSB Core, .eh_frame_hdr)."""
SYMBOL = np.dtype(
    [("name", "<u4"), ("info", "u1"), ("other", "u1"), ("shndx", "<u2"), ("value", "<u8"), ("size", "<u8")]
)
STT_FUNC = 2


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


def sites(data: bytes) -> list[int]:
    """File offsets of the CPUID instructions in an ELF file; none in one that is damaged."""
    try:
        return _sites(ELFFile(io.BytesIO(data)), data)
    except (ELFError, KeyError, ValueError):
        return []


def _sites(elf: ELFFile, data: bytes) -> list[int]:
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
