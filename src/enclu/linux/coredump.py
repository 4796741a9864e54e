"""What the kernel writes into a core, and of whom.  Kernel: fs/coredump.c, fs/binfmt_elf.c, include/linux/elfcore.h.

Rules and structures alone: reading threads and memory is for those who can.
"""

from __future__ import annotations

import enum
import signal
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from enclu.base.abi import AT_NULL
from enclu.base.elf import EHDR, PHDR, PT_LOAD, SHDR
from enclu.sgx.layout import Structure

DUMPS = frozenset(
    (
        signal.SIGQUIT, signal.SIGILL, signal.SIGTRAP, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGSEGV,
        signal.SIGXCPU, signal.SIGXFSZ, signal.SIGSYS,
    )
)  # fmt: skip
"""SIG_KERNEL_COREDUMP_MASK: signals whose default action is to dump core."""
PAGE = 4096


class Filter(enum.IntFlag):
    """/proc/PID/coredump_filter (MMF_DUMP_*; core(5))."""

    ANON_PRIVATE = 1 << 0
    ANON_SHARED = 1 << 1
    MAPPED_PRIVATE = 1 << 2
    MAPPED_SHARED = 1 << 3
    ELF_HEADERS = 1 << 4
    HUGETLB_PRIVATE = 1 << 5
    HUGETLB_SHARED = 1 << 6


class Extent(enum.Enum):
    """How much of a mapping goes into the core."""

    NOTHING = enum.auto()
    HEADER = enum.auto()
    """Its first page, if that is an ELF file's."""
    WHOLE = enum.auto()


@dataclass(frozen=True)
class Vma:
    """What `extent` asks of a mapping."""

    flags: frozenset[str]
    """VmFlags of /proc/PID/smaps."""
    file: bool
    at_file_start: bool
    unlinked: bool
    """No name leads to its file: anonymous shared memory, a memfd."""
    special: bool
    """The kernel's own, as [vdso] is."""
    modified: bool
    """Of a private mapping: it has pages of its own (vma->anon_vma)."""


def extent(vma: Vma, wanted: Filter) -> Extent:
    """vma_dump_size()."""
    if vma.special:
        return Extent.WHOLE
    flags = vma.flags
    shared = "sh" in flags
    if "dd" in flags:
        return Extent.NOTHING
    if "ht" in flags:
        kind = Filter.HUGETLB_SHARED if shared else Filter.HUGETLB_PRIVATE
        return Extent.WHOLE if wanted & kind else Extent.NOTHING
    if "io" in flags:
        return Extent.NOTHING
    if shared:
        kind = Filter.ANON_SHARED if vma.unlinked else Filter.MAPPED_SHARED
        return Extent.WHOLE if wanted & kind else Extent.NOTHING
    if vma.modified and wanted & Filter.ANON_PRIVATE:
        return Extent.WHOLE
    if not vma.file:
        return Extent.NOTHING
    if wanted & Filter.MAPPED_PRIVATE:
        return Extent.WHOLE
    header = wanted & Filter.ELF_HEADERS and vma.at_file_start and "rd" in flags
    return Extent.HEADER if header else Extent.NOTHING


# Notes.

PRSTATUS = Structure(
    "elf_prstatus", 336,
    (0, "si_signo", "i"), (4, "si_code", "i"), (8, "si_errno", "i"), (12, "pr_cursig", "h"), (16, "pr_sigpend", "Q"),
    (24, "pr_sighold", "Q"), (32, "pr_pid", "i"), (36, "pr_ppid", "i"), (40, "pr_pgrp", "i"), (44, "pr_sid", "i"),
    (48, "pr_utime", "16s"), (64, "pr_stime", "16s"), (80, "pr_cutime", "16s"), (96, "pr_cstime", "16s"),
    (112, "pr_reg", "216s"), (328, "pr_fpvalid", "i"),
)  # fmt: skip
PRPSINFO = Structure(
    "elf_prpsinfo", 136,
    (0, "pr_state", "B"), (1, "pr_sname", "1s"), (2, "pr_zomb", "B"), (3, "pr_nice", "b"), (8, "pr_flag", "Q"),
    (16, "pr_uid", "I"), (20, "pr_gid", "I"), (24, "pr_pid", "i"), (28, "pr_ppid", "i"), (32, "pr_pgrp", "i"),
    (36, "pr_sid", "i"), (40, "pr_fname", "16s"), (56, "pr_psargs", "80s"),
)  # fmt: skip
PF_DUMPCORE, PF_SIGNALED = 0x200, 0x400
"""Flags of a task that dumps core, and that a signal ends (include/linux/sched.h)."""
FPREGSET_SIZE, SW_RESERVED = 512, 464
"""Bytes of user_i387_struct; where in it the kernel keeps its own, which only NT_X86_XSTATE shows."""
_FILE = struct.Struct("<QQQ")
_COMPONENT = struct.Struct("<IIII")
_NOTE = struct.Struct("<III")
_AUXV = struct.Struct("<QQ")


class Nt(enum.IntEnum):
    """Types of notes (include/uapi/linux/elf.h)."""

    PRSTATUS = 1
    PRFPREG = 2
    PRPSINFO = 3
    AUXV = 6
    X86_XSTATE = 0x202
    X86_XSAVE_LAYOUT = 0x205
    FILE = 0x46494C45
    SIGINFO = 0x53494749


CORE, LINUX = b"CORE", b"LINUX"


def note(owner: bytes, kind: int, content: bytes) -> bytes:
    """One note: writenote()."""
    name = owner + b"\0"
    return _NOTE.pack(len(name), len(content), kind) + _padded(name) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def regsets(xstate: bytes) -> bytes:
    """Notes of a thread's extended state, besides what NT_PRSTATUS has."""
    legacy = xstate[:SW_RESERVED] + bytes(FPREGSET_SIZE - SW_RESERVED)
    return note(CORE, Nt.PRFPREG, legacy) + note(LINUX, Nt.X86_XSTATE, xstate)


def files(mapped: Iterable[tuple[int, int, int, bytes]]) -> bytes:
    """NT_FILE (fill_files_note()): start, end, offset in bytes and path of every mapping of a file."""
    rows = list(mapped)
    table = b"".join(_FILE.pack(start, end, offset // PAGE) for start, end, offset, _ in rows)
    return struct.pack("<QQ", len(rows), PAGE) + table + b"".join(name + b"\0" for *_, name in rows)


def xsave_layout(places: dict[int, tuple[int, int]]) -> bytes:
    """NT_X86_XSAVE_LAYOUT (struct x86_xfeat_component): where XSAVE images have which component."""
    return b"".join(_COMPONENT.pack(number, size, offset, 0) for number, (offset, size) in sorted(places.items()))


def up_to_null(auxv: bytes) -> bytes:
    """NT_AUXV ends with AT_NULL; behind it /proc/PID/auxv has room."""
    for at in range(0, len(auxv), _AUXV.size):
        if _AUXV.unpack_from(auxv, at)[0] == AT_NULL:
            return auxv[: at + _AUXV.size]
    return auxv


def arguments(command_line: bytes) -> bytes:
    """pr_psargs (fill_psinfo())."""
    return command_line[: PRPSINFO.width("pr_psargs") - 1].replace(b"\0", b" ")


# The file.

ET_CORE, EM_X86_64, PT_NOTE, PN_XNUM = 4, 62, 4, 0xFFFF
IDENT = b"\x7fELF\x02\x01\x01"
PF = {"x": 1, "w": 2, "r": 4}


@dataclass(frozen=True)
class Load:
    """A PT_LOAD: addresses, protection (PF_*), and how many bytes of it the file has."""

    start: int
    size: int
    flags: int
    in_file: int


def head(notes: bytes, loads: Sequence[Load]) -> tuple[bytes, list[int]]:
    """What a core begins with, notes included, and the offset of what each PT_LOAD has."""
    count = len(loads) + 1
    at_notes = EHDR.size + count * PHDR.size
    sections = b""
    if count >= PN_XNUM:  # fill_extnum_info()
        sections = SHDR.pack(0, 0, 0, 0, 0, 1, 0, count, 0, 0)
        at_notes += len(sections)
    offset = -(-(at_notes + len(notes)) // PAGE) * PAGE
    segments, offsets = [PHDR.pack(PT_NOTE, 0, at_notes, 0, 0, len(notes), 0, 4)], []
    for load in loads:
        segments.append(PHDR.pack(PT_LOAD, load.flags, offset, load.start, 0, load.in_file, load.size, PAGE))
        offsets.append(offset)
        offset += load.in_file
    header = EHDR.pack(
        IDENT, ET_CORE, EM_X86_64, 1, 0, EHDR.size, at_notes - len(sections) if sections else 0, 0, EHDR.size,
        PHDR.size, min(count, PN_XNUM), SHDR.size if sections else 0, int(bool(sections)), 0,
    )  # fmt: skip
    return header + b"".join(segments) + sections + notes, offsets
