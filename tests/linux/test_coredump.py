"""The kernel's rules for cores: which mappings are in them, and how they begin."""

from __future__ import annotations

import io

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import NoteSegment

from enclu.linux import coredump
from enclu.linux.coredump import Extent, Filter, Load, Vma, extent

DEFAULT = Filter(0x33)


def vma(
    *flags: str, file: bool = False, at_start: bool = False, unlinked: bool = False, special: bool = False,
    modified: bool = False,
) -> Vma:  # fmt: skip
    return Vma(frozenset(flags), file, at_start, unlinked, special, modified)


@pytest.mark.parametrize(
    ("mapping", "wanted", "expected"),
    [
        (vma("rd", "wr", modified=True), DEFAULT, Extent.WHOLE),
        (vma("rd", "wr", modified=True), Filter(0), Extent.NOTHING),
        (vma("rd", "wr"), DEFAULT, Extent.NOTHING),
        (vma("rd", "wr", "dd", modified=True), DEFAULT, Extent.NOTHING),
        (vma("rd", "wr", "sh", file=True, unlinked=True), DEFAULT, Extent.WHOLE),
        (vma("rd", "wr", "sh", file=True, unlinked=True), Filter.MAPPED_SHARED, Extent.NOTHING),
        (vma("rd", "wr", "sh", file=True), DEFAULT, Extent.NOTHING),
        (vma("rd", "wr", "sh", file=True), Filter.MAPPED_SHARED, Extent.WHOLE),
        (vma("rd", "ex", file=True, at_start=True), DEFAULT, Extent.HEADER),
        (vma("ex", file=True, at_start=True), DEFAULT, Extent.NOTHING),
        (vma("rd", "ex", file=True), DEFAULT, Extent.NOTHING),
        (vma("rd", "ex", file=True), Filter.MAPPED_PRIVATE, Extent.WHOLE),
        (vma("rd", "wr", file=True, modified=True), DEFAULT, Extent.WHOLE),
        (vma("rd", "wr", "ht", modified=True), DEFAULT, Extent.WHOLE),
        (vma("rd", "wr", "ht", "sh"), DEFAULT, Extent.NOTHING),
        (vma("rd", "wr", "ht", "sh"), Filter.HUGETLB_SHARED, Extent.WHOLE),
        (vma("rd", "io", file=True, modified=True), DEFAULT, Extent.NOTHING),
        (vma("rd", "io", "dd", special=True), Filter(0), Extent.WHOLE),
    ],
)
def test_what_is_dumped_of_a_mapping_is_what_the_kernel_would_dump(
    mapping: Vma, wanted: Filter, expected: Extent
) -> None:
    assert extent(mapping, wanted) is expected


@pytest.mark.parametrize("count", [0, 1, 0xFFFD, 0xFFFE, 70_000])
def test_any_number_of_mappings_can_be_described(count: int) -> None:
    loads = [Load(0x10000 + 0x1000 * i, 0x1000, 6, 0x1000 if i % 2 else 0) for i in range(count)]
    notes = coredump.note(b"CORE", 3, bytes(136))
    beginning, offsets = coredump.head(notes, loads)
    elf = ELFFile(io.BytesIO(beginning))
    assert (elf.header["e_phnum"] == 0xFFFF) == (count + 1 >= 0xFFFF)
    assert elf.num_segments() == count + 1
    first = elf.get_segment(0)
    assert isinstance(first, NoteSegment) and [note["n_descsz"] for note in first.iter_notes()] == [136]
    if count:
        last = elf.get_segment(count)
        assert (last["p_vaddr"], last["p_offset"]) == (loads[-1].start, offsets[-1])
        assert offsets[0] >= len(beginning) and offsets[0] % 0x1000 == 0
        assert all(b - a == load.in_file for a, b, load in zip(offsets, offsets[1:], loads, strict=False))


def test_the_auxiliary_vector_ends_with_its_end() -> None:
    vector = b"".join(key.to_bytes(8, "little") + bytes(8) for key in (33, 6, 0))
    assert coredump.up_to_null(vector + bytes(64)) == vector
    assert coredump.up_to_null(vector[:32]) == vector[:32]


def test_arguments_are_one_line_that_fits() -> None:
    assert coredump.arguments(b"app\0a b\0") == b"app a b "
    assert len(coredump.arguments(b"x" * 200)) == 79
