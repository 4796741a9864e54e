"""Finding instructions in an ELF file: CPUID, and system calls that name a path.

Their bytes also occur inside other instructions and in data, and changing those breaks the program, while one that
is missed costs little: the host's CPUID is seen, or a stop is made.  So a candidate counts only if it lies in a
function of which the file itself tells the bounds, and if decoding from the function's start arrives at it.  Imported
only when there is something to find: its libraries take longer to load than most programs to run.
"""

from __future__ import annotations

import bisect
import io
import itertools
import re
import struct
from collections.abc import Collection, Iterator
from typing import Any

import capstone
import numpy as np
from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from enclu.native import cpuid_leaf

CPUID = b"\x0f\xa2"
PATH_CALL = re.compile(
    rb"\xb8(....)" rb"(?:\x48\x89\xfe\xbf\x9c\xff\xff\xff)?" rb"\x0f\x05" rb"(?:\x89\xc2)?"
    rb"\x48?\x3d[\x00\x01]\xf0\xff\xff", re.DOTALL,
)  # fmt: skip
"""How C libraries make a system call and look at its result: mov eax, NUMBER; syscall; cmp rax (or eax), -4096 (or
-4095), with mov edx, eax before that in some.  Those that implement open() by openat have mov rsi, rdi; mov edi,
AT_FDCWD in between."""
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
TABLE = 1024
"""Entries of a jump table that are looked at."""
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
        base = int(np.min(entries))
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


def _jumps(code: bytes, address: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """(place, target) of what would be JMP, CALL and Jcc with 4 bytes of distance, were an instruction there."""
    raw = np.frombuffer(code + bytes(6), np.uint8)
    first, second = raw[:-6], raw[1:-5]
    found = []
    for opcode, size in ((first & 0xFE == 0xE8, 1), ((first == 0x0F) & (second & 0xF0 == 0x80), 2)):
        at = np.flatnonzero(opcode)
        distance = raw[at[:, None] + np.arange(size, size + 4)].view("<i4")[:, 0].astype(np.int64)
        found.append(np.stack([at + address, at + address + size + 4 + distance], axis=1))
    return np.concatenate(found)


class _Code:
    """The executable segments of a file, decoded function by function where somebody asks."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._elf = ELFFile(io.BytesIO(data))
        self._decoder: Any = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
        self._decoder.skipdata = True
        self._told: Ranges | None = None
        self._leaves: dict[int, dict[int, int]] = {}
        self._jumps: np.ndarray[Any, np.dtype[np.int64]] | None = None
        self.segments = [
            (s["p_offset"], s["p_filesz"], s["p_vaddr"]) for s in self._elf.iter_segments("PT_LOAD") if s["p_flags"] & 1
        ]
        """(file offset, bytes, address)."""

    def function(self, target: int, low: int, address: int) -> tuple[int, bytes] | None:
        """Start and code of the function that holds the address `target`, in the segment at file offset `low`."""
        if self._told is None:
            self._told = _functions(self._elf, self._data)
        bounds = _holding(self._told, target)
        if bounds is None or bounds[0] < address:
            return None
        start, end = (bound - address + low for bound in bounds)
        return bounds[0], self._data[start:end]

    def arrives(self, code: bytes, begin: int, target: int, mnemonic: str) -> bool:
        """Decoding `code`, which lies at `begin`, comes to this instruction at `target`."""
        in_step = IN_STEP
        for address, _size, found, _operands in self._decoder.disasm_lite(code, begin):
            if address >= target:
                return bool(address == target and found == mnemonic and in_step >= IN_STEP)
            in_step = 0 if found == ".byte" else in_step + 1
        return False

    def leaves(self, begin: int, code: bytes) -> dict[int, int]:
        """`cpuid_leaf.leaves` of a function."""
        if begin not in self._leaves:
            entries = self._jumps_into(begin, begin + len(code))
            self._leaves[begin] = cpuid_leaf.leaves(code, begin, entries, self._table)
        return self._leaves[begin]

    def _table(self, address: int) -> list[int]:
        """Where a jump table at the address leads, and perhaps what is behind it: its end is not told."""
        for segment in self._elf.iter_segments("PT_LOAD"):
            begin, size = address - segment["p_vaddr"], segment["p_filesz"]
            if 0 <= begin < size:
                count = min((size - begin) // 4, TABLE)
                distances = np.frombuffer(self._data, "<i4", count, segment["p_offset"] + begin)
                targets = distances.astype(np.int64) + address
                code = np.zeros(len(targets), bool)
                for _low, length, at in self.segments:
                    code |= (targets >= at) & (targets < at + length)
                ends = np.flatnonzero(~code)
                return [*map(int, targets[: ends[0]] if len(ends) else targets)]
        return []

    def _jumps_into(self, begin: int, end: int) -> list[int]:
        """Addresses in (begin, end) to which code outside seems to jump or call: whatever looks like it counts."""
        if self._jumps is None:
            self._jumps = np.concatenate([_jumps(self._data[low : low + size], at) for low, size, at in self.segments])
        places, targets = self._jumps.T
        inside = (targets > begin) & (targets < end) & ((places < begin) | (places >= end))
        return [*map(int, np.unique(targets[inside]))]

    def jumps_between(self, code: bytes, begin: int, low: int, high: int) -> bool:
        """Some jump of the function leads into the open interval."""
        for _address, _size, found, operand in self._decoder.disasm_lite(code, begin):
            if found.startswith("j") and operand.startswith("0x") and low < int(operand, 16) < high:
                return True
        return False


def _cpuids(code: _Code, data: bytes) -> Iterator[tuple[int, int | None]]:
    for low, size, address in code.segments:
        at = data.find(CPUID, low, low + size)
        while at >= 0:
            target = at - low + address
            function = code.function(target, low, address)
            if function is not None:
                begin, text = function
                # Whole instructions: one that was cut off would be taken for data, and its end for a CPUID.
                if code.arrives(text[: target - begin + LONGEST_INSTRUCTION], begin, target, "cpuid"):
                    yield at, code.leaves(begin, text).get(target)
            at = data.find(CPUID, at + 1, low + size)


def _path_calls(code: _Code, data: bytes, numbers: Collection[int]) -> Iterator[tuple[int, int]]:
    for low, size, address in code.segments:
        for match in PATH_CALL.finditer(data, low, low + size):
            if int.from_bytes(match[1], "little") not in numbers:
                continue
            target = match.start() - low + address
            function = code.function(target, low, address)
            if function is None:
                continue
            begin, text = function
            length = len(match[0])
            if code.arrives(text, begin, target, "mov") and not code.jumps_between(
                text, begin, target, target + length
            ):
                yield match.start(), length


def scan(data: bytes, numbers: Collection[int]) -> tuple[list[tuple[int, int | None]], list[tuple[int, int]]]:
    """What is found in a file; nothing in one that is damaged.

    (File offset, leaf) of each CPUID, the leaf being None where it is not known beforehand; (file offset, bytes) of
    system calls `numbers`.
    """
    try:
        code = _Code(data)
        return list(_cpuids(code, data)), list(_path_calls(code, data, numbers))
    except (ELFError, KeyError, OverflowError, ValueError, struct.error):
        return [], []
