"""Sections and symbols of ELF files, as pyelftools reads them."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from enclu.base.elf import SHN_LORESERVE, SHN_UNDEF, Elf

VDSO = Path(__file__).resolve().parents[2] / "src" / "enclu" / "linux" / "vdso"
LIBC = Path(re.findall(r"/\S*/libc\.so\.6|/\S*/libc-2\S*", Path("/proc/self/maps").read_text())[0])
FILES = [*sorted(VDSO.glob("*.so")), LIBC]


@pytest.fixture(params=FILES, ids=lambda path: path.name)
def data(request: pytest.FixtureRequest) -> bytes:
    path: Path = request.param
    return path.read_bytes()


def test_sections(data: bytes) -> None:
    ours, theirs = Elf(data), ELFFile(io.BytesIO(data))
    assert [(s.name, s.offset, s.size) for s in ours.sections] == [
        (s.name, s["sh_offset"], s["sh_size"]) for s in theirs.iter_sections()
    ]
    text, expected = ours.section(".text"), theirs.get_section_by_name(".text")
    assert text is not None and expected is not None and ours.content(text) == expected.data()
    assert ours.section(".nothing of the kind") is None


def test_what_is_loaded(data: bytes) -> None:
    segments = ELFFile(io.BytesIO(data)).iter_segments("PT_LOAD")
    assert Elf(data).loaded() == [segment["p_filesz"] for segment in segments]


@pytest.mark.parametrize("table", [".dynsym", ".symtab"])
def test_symbols(data: bytes, table: str) -> None:
    expected = ELFFile(io.BytesIO(data)).get_section_by_name(table)
    if expected is None:
        assert list(Elf(data).symbols(table)) == []
        return
    assert isinstance(expected, SymbolTableSection)
    defined = [(s.name, s.value, s.section) for s in Elf(data).symbols(table) if SHN_UNDEF < s.section < SHN_LORESERVE]
    assert defined == [
        (s.name, s["st_value"], s["st_shndx"]) for s in expected.iter_symbols() if isinstance(s["st_shndx"], int)
    ]
