"""Structures: sizes, tables, round trips."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclu.sgx import structs
from enclu.sgx.layout import Structure
from enclu.sgx.structs import Attribute

ALL = [s for s in vars(structs).values() if isinstance(s, Structure)]


@pytest.mark.parametrize(
    ("name", "size"),
    [("SECS", 4096), ("TCS", 4096), ("GPRSGX", 184), ("SECINFO", 64), ("PAGEINFO", 32), ("SIGSTRUCT", 1808),
     ("KEYREQUEST", 512), ("REPORT", 432), ("TARGETINFO", 512), ("PCMD", 128), ("EXINFO", 16)],
)  # fmt: skip
def test_structure_has_the_size_the_sdm_gives(name: str, size: int) -> None:
    assert getattr(structs, name).size == size


@pytest.mark.parametrize("layout", ALL, ids=lambda s: s.name)
@given(data=st.data())
def test_packing_what_was_unpacked_gives_the_same_fields(layout: Structure, data: st.DataObject) -> None:
    seed = data.draw(st.binary(min_size=1, max_size=64))
    image = (seed * layout.size)[: layout.size]
    fields = layout.unpack(image)
    packed = layout.pack(**fields)
    assert layout.unpack(packed) == fields
    assert layout.reserved_ok(packed)


def test_reserved_bytes_are_noticed() -> None:
    image = bytearray(structs.SECINFO.pack(FLAGS=7))
    assert structs.SECINFO.reserved_ok(image)
    image[63] = 1
    assert not structs.SECINFO.reserved_ok(image)


def test_an_image_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="SECINFO has 64 bytes"):
        structs.SECINFO.unpack(bytes(63))


def test_overlapping_fields_are_refused() -> None:
    with pytest.raises(ValueError, match="overlaps"):
        Structure("bad", 8, (0, "A", "Q"), (4, "B", "I"))


def test_the_other_bits_of_a_field_are_all_others_named_or_not() -> None:
    assert ((1 << 64) - 1) & ~Attribute.DEBUG == (1 << 64) - 3
    assert 0x8000_0000_0000_0004 & ~(Attribute.INIT | Attribute.DEBUG) == 0x8000_0000_0000_0004
