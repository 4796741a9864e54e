"""Finding the CPUID instructions in an ELF file.

The two bytes 0F A2 also occur inside other instructions and in data, and changing those breaks the program, while a
CPUID that is missed only shows the host's processor.  So a candidate counts only if it lies in a function of which
the file itself tells the bounds, and if decoding from the function's start arrives at it.  Imported only when there
is something to find: its libraries take longer to load than most programs to run.
"""

from __future__ import annotations

import bisect
import io
import itertools
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
FDE = np.dtype([("length", "<u4"), ("cie", "<u4"), ("begin", "<i4"), ("range", "<u4")])
"""Head of a frame description entry; its pointers are relative and 4 bytes in all that compilers make."""
STT_FUNC = 2
GO_FUNCTAB = np.dtype([("entry", "<u4"), ("func", "<u4")])
GO_MAGICS = (0xFFFFFFF0, 0xFFFFFFF1)
"""First word of .gopclntab since Go 1.18 and 1.20 (Go: internal/abi/symtab.go, debug/gosym/pclntab.go)."""
LONGEST_INSTRUCTION = 15
UNSIZED = 4096
"""How far from a function's start its instructions may be sought when its end is not told."""
IN_STEP = 8
"""Instructions after one that the decoder does not know, before its view of the boundaries is trusted again."""

Ranges = list[tuple[int, int]]
"""(start, end) of functions."""


def _file_offset(elf: ELFFile, address: int) -> int:
    return int(next(iter(elf.address_offsets(address)), -1))


def _from_eh_frame(elf: ELFFile, data: bytes) -> Ranges:
    """pyelftools reads .eh_frame entry by entry, seconds for a large library; the header's search table is an array."""
    for segment in elf.iter_segments("PT_GNU_EH_FRAME"):
        table = segment.data()
        if table[:4] != EH_FRAME_HDR:
            continue
        (count,) = struct.unpack_from("<I", table, 8)
        pairs = np.frombuffer(table, "<i4", count * 2, 12).astype(np.int64) + segment["p_vaddr"]
        starts, entries = pairs[::2], pairs[1::2]
        if not count:
            continue
        base = int(entries.min())
        low = _file_offset(elf, base)
        at = entries - base + low
        kept = (low >= 0) & (at + FDE.itemsize <= len(data))
        starts, entries, at = starts[kept], entries[kept], at[kept]
        raw = np.frombuffer(data, np.uint8)
        heads = raw[at[:, None] + np.arange(FDE.itemsize)].view(FDE)[:, 0]
        right = heads["begin"] + entries + 8 == starts  # else its pointers are of another form
        ends = starts + heads["range"]
        return list(zip(starts[right].tolist(), ends[right].tolist(), strict=True))
    return []


def _from_symbols(elf: ELFFile) -> Ranges:
    found: Ranges = []
    for name in (".symtab", ".dynsym"):
        section = elf.get_section_by_name(name)
        if section is not None:
            symbols = np.frombuffer(section.data(), SYMBOL)
            symbols = symbols[(symbols["info"] & 0xF == STT_FUNC) & (symbols["shndx"] != 0)]
            found += zip(symbols["value"].tolist(), (symbols["value"] + symbols["size"]).tolist(), strict=True)
    return found


def _from_go(elf: ELFFile) -> Ranges:
    """Go programs have no .eh_frame, but a table of functions for their own unwinder, stripped or not."""
    table = elf.get_section_by_name(".gopclntab") or elf.get_section_by_name(".data.rel.ro.gopclntab")
    text = elf.get_section_by_name(".text")
    if table is None or text is None:
        return []
    content = table.data()
    if len(content) < 72 or struct.unpack_from("<I", content)[0] not in GO_MAGICS or content[7] != 8:
        return []
    count, _files, start, _names, _units, _tab, _pc, functions = struct.unpack_from("<8Q", content, 8)
    entries = np.frombuffer(content, GO_FUNCTAB, count + 1, functions)["entry"].astype(np.int64)
    starts = (entries + (start or text["sh_addr"])).tolist()
    return list(itertools.pairwise(starts))


def _functions(elf: ELFFile, data: bytes) -> Ranges:
    entry = elf.header["e_entry"]
    told = {(entry, entry), *_from_eh_frame(elf, data), *_from_symbols(elf), *_from_go(elf)}
    starts = sorted({start for start, _ in told})

    def bounded(start: int, end: int) -> tuple[int, int]:
        if end > start:
            return start, end
        following = bisect.bisect_right(starts, start)
        return start, min([start + UNSIZED, *starts[following : following + 1]])

    return sorted({bounded(*function) for function in told})


def _holding(functions: Ranges, target: int) -> tuple[int, int] | None:
    """The function around an address: the one that starts last, if it reaches so far; else one it may lie in."""
    index = bisect.bisect_right(functions, (target, 1 << 64))
    for start, end in reversed(functions[max(0, index - 8) : index]):
        if target < end:
            return start, end
    return None


def sites(data: bytes) -> list[int]:
    """File offsets of the CPUID instructions in an ELF file; none in one that is damaged."""
    try:
        return _sites(ELFFile(io.BytesIO(data)), data)
    except (ELFError, KeyError, ValueError, struct.error):
        return []


def _arrives(decoder: Any, code: bytes, begin: int, target: int) -> bool:
    """Decoding `code`, which lies at `begin`, comes to a CPUID at `target`."""
    in_step = IN_STEP
    for address, _size, mnemonic, _operands in decoder.disasm_lite(code, begin):
        if address >= target:
            return bool(address == target and mnemonic == "cpuid" and in_step >= IN_STEP)
        in_step = 0 if mnemonic == ".byte" else in_step + 1
    return False


def _sites(elf: ELFFile, data: bytes) -> list[int]:
    decoder: Any = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)  # type: ignore[no-untyped-call]
    decoder.skipdata = True
    functions: Ranges | None = None
    found = []
    for segment in elf.iter_segments("PT_LOAD"):
        if not segment["p_flags"] & 1:
            continue
        low, size, address = segment["p_offset"], segment["p_filesz"], segment["p_vaddr"]
        at = data.find(CPUID, low, low + size)
        while at >= 0:
            if functions is None:
                functions = _functions(elf, data)
            target = at - low + address
            function = _holding(functions, target)
            if function is not None and function[0] >= address:
                # Whole instructions: one that was cut off would be taken for data, and its end for a CPUID.
                code = data[function[0] - address + low : at + LONGEST_INSTRUCTION]
                if _arrives(decoder, code, function[0], target):
                    found.append(at)
            at = data.find(CPUID, at + 1, low + size)
    return found
