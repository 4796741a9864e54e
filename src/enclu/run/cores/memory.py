"""The memory of a core: which parts of it are written, and where each is read.

As the kernel would (`linux.coredump`), but for what the machine has in the program's memory: instructions that were
changed are as they were; enclaves are read page by page; what is the machine's alone is left out.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from enclu.linux.coredump import PAGE, PF, Extent, Filter, Load, Vma, extent
from enclu.linux.mm import MM
from enclu.linux.snapshot import Snapshot
from enclu.native import mappings, proc
from enclu.native.address_space import OWN_MEMORY, OWN_TEXT, AddressSpace
from enclu.native.mappings import Mapping, Runs
from enclu.native.shared_area import AREA

DEVICE = b"/dev/sgx_enclave"
_CHUNK = 1 << 20
_HOLE = 64 << 20
"""Bytes of nothing for which a mapping is described in parts, rather than by a hole in the file."""
Blocks = Callable[[int, int], Iterator[tuple[int, bytes]]]
"""Address and content of what can be read of [start, end), by whole pages."""


@dataclass(frozen=True)
class Segment:
    """A part of the memory that is in the core, or only described there."""

    load: Load
    runs: Runs
    """What of it is to be read: all else is zero."""
    blocks: Blocks


class Memory:
    """That of a process whose threads are stopped."""

    def __init__(
        self, tid: int, space: AddressSpace, mm: MM, snapshots: Iterable[Snapshot], included: frozenset[int]
    ) -> None:
        """`included` are the enclaves, by EID, whose pages are.  Raises OSError."""
        self._tid, self._space, self._mm = tid, space, mm
        self._snapshots = {snapshot.secs.eid: snapshot for snapshot in snapshots}
        self._included = included
        self._mappings = mappings.of(tid)
        self._filter = Filter(int(proc.text(tid, "coredump_filter"), 16) & sum(Filter))

    def files(self) -> list[tuple[int, int, int, bytes]]:
        """What NT_FILE lists; mappings of enclaves under the device's name."""
        rows = [(v.start, v.end, 0, DEVICE) for v in self._mm.vmas]
        rows += [
            (m.start, m.end, m.offset, m.name)
            for m in self._mappings
            if m.of_file and not self._own(m) and self._mm.find_vma(m.start) is None
        ]
        return sorted(rows)

    def segments(self) -> list[Segment]:
        """All, in order of addresses.  Raises OSError."""
        found: list[Segment] = []
        for mapping in self._mappings:
            if self._mm.find_vma(mapping.start) is None and not self._own(mapping):
                found += self._of_mapping(mapping)
        for vma in self._mm.vmas:
            flags = sum(bit for bit, prot in ((4, 1), (2, 2), (1, 4)) if vma.prot & prot)
            snapshot = self._snapshots.get(vma.encl.eid) if vma.encl is not None else None
            if snapshot is None or snapshot.secs.eid not in self._included:
                found.append(Segment(Load(vma.start, vma.end - vma.start, flags, 0), [], self._blocks))
            else:
                found += _parts(vma.start, vma.end, flags, snapshot.runs(vma.start, vma.end), snapshot.blocks)
        return sorted(found, key=lambda segment: segment.load.start)

    @staticmethod
    def _own(mapping: Mapping) -> bool:
        """The machine's alone: scratch memory and what it shares with all programs.  The vDSO image is not."""
        low, high = OWN_MEMORY
        scratch = low <= mapping.start < high and mapping.start >= OWN_TEXT[1]
        return scratch or AREA[0] <= mapping.start < AREA[1]

    def _of_mapping(self, mapping: Mapping) -> list[Segment]:
        start, end = mapping.start, mapping.end
        flags = sum(PF.get(letter, 0) for letter in mapping.permissions)
        own_text = OWN_TEXT[0] <= start < OWN_TEXT[1]
        shared = "sh" in mapping.flags
        changed = [] if shared or mapping.special else self._changed(mapping)
        how = extent(
            Vma(mapping.flags, mapping.of_file, mapping.offset == 0, mapping.unlinked, mapping.special or own_text,
                bool(changed)), self._filter,
        )  # fmt: skip
        if how is Extent.HEADER:
            head = self._space.peek(start, 4) == b"\x7fELF"
            load = Load(start, end - start, flags, PAGE if head else 0)
            return [Segment(load, [(start, start + PAGE)] if head else [], self._blocks)]
        if how is Extent.NOTHING:
            return [Segment(Load(start, end - start, flags, 0), [], self._blocks)]
        return _parts(start, end, flags, self._runs(mapping, changed), self._blocks)

    def _runs(self, mapping: Mapping, changed: Runs) -> Runs:
        """What is to be read of a mapping that is in the core as a whole."""
        if not mapping.of_file and not mapping.special:
            return changed  # a page that is not there is zero, and to read it might be to wait for a userfaultfd(2)
        if mapping.unlinked and "sh" in mapping.flags:
            return self._of_shared(mapping)
        return [(mapping.start, mapping.end)]

    def _of_shared(self, mapping: Mapping) -> Runs:
        """Where anonymous shared memory has data.  To read what is not there would make it be there.

        The file behind it says so to those who may ask for it (CAP_CHECKPOINT_RESTORE); to others the page tables say
        what this process has touched.
        """
        watched = not mapping.flags.isdisjoint(("um", "ui"))  # who reads it might wait for a userfaultfd(2)
        if watched:
            return mappings.mapped_pages(self._tid, mapping.start, mapping.end)
        try:
            file = proc.follow(self._tid, f"map_files/{mapping.start:x}-{mapping.end:x}", os.O_RDONLY)
        except OSError:
            return mappings.mapped_pages(self._tid, mapping.start, mapping.end)
        try:
            runs: Runs = []
            at, limit = mapping.offset, mapping.offset + mapping.end - mapping.start
            while at < limit:
                try:
                    low = os.lseek(file, at, os.SEEK_DATA)
                except OSError:  # ENXIO: there is no more
                    break
                at = min(os.lseek(file, low, os.SEEK_HOLE), limit)
                if low < limit:
                    move = mapping.start - mapping.offset
                    runs.append((low + move, -(-at // PAGE) * PAGE + move))
            return runs
        finally:
            os.close(file)

    def _changed(self, mapping: Mapping) -> Runs:
        """Pages of a private mapping that are its own, but for those that only the machine has changed."""
        runs = mappings.own_pages(self._tid, mapping.start, mapping.end)
        if not mapping.of_file or "ex" not in mapping.flags:
            return runs
        pages = [page for low, high in runs for page in range(low, high, PAGE)]
        same = self._as_in_file(mapping, pages)
        return [(page, page + PAGE) for page in pages if page not in same]

    def _as_in_file(self, mapping: Mapping, pages: Sequence[int]) -> set[int]:
        """Which of the pages are, with originals, what the file has."""
        try:
            file = proc.follow(self._tid, "root" + os.fsdecode(mapping.name), os.O_RDONLY | os.O_NONBLOCK)
        except OSError:
            return set()
        try:
            if os.fstat(file).st_ino != mapping.inode:
                return set()
            found = set()
            for page in pages:
                content = next((data for _, data in self._blocks(page, page + PAGE)), b"")
                if os.pread(file, PAGE, mapping.offset + page - mapping.start).ljust(PAGE, b"\0") == content:
                    found.add(page)
            return found
        finally:
            os.close(file)

    def _blocks(self, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        """Of the process's own memory, with the instructions that stood there.  What cannot be read is left out."""
        at = start
        while at < end:
            data = bytearray(self._space.peek(at, min(_CHUNK, end - at)))
            del data[len(data) // PAGE * PAGE :]
            if data:
                self._space.sites.give_originals(at, memoryview(data))
                yield at, bytes(data)
            at += len(data) or PAGE


def _parts(start: int, end: int, flags: int, runs: Runs, blocks: Blocks) -> list[Segment]:
    """A mapping as one segment; as several if it would be a file's largest part with nothing in it."""
    cuts = [start]
    for (_, low), (high, _) in zip([(start, start), *runs], [*runs, (end, end)], strict=True):
        if high - low >= _HOLE:
            cuts += [low, high]
    bounds = sorted({*cuts, end})
    found = []
    for low, high in itertools.pairwise(bounds):
        within = [(max(a, low), min(b, high)) for a, b in runs if a < high and low < b]
        found.append(Segment(Load(low, high - low, flags, high - low if within else 0), within, blocks))
    return found
