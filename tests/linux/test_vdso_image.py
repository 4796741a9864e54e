"""vDSO images as programs get them."""

from __future__ import annotations

import io

import pytest
from elftools.dwarf.callframe import FDE
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from enclu.linux import delivery
from enclu.linux.vdso import image
from enclu.sgx.epc import PAGE_SIZE

NAMES = sorted({delivery.design(name).vdso for name in delivery.names()})


@pytest.mark.parametrize("name", NAMES)
def test_section_headers_are_in_the_page_in_which_the_image_ends(name: str) -> None:
    data = image.load(name).data
    elf = ELFFile(io.BytesIO(data))
    (loaded,) = (p for p in elf.iter_segments() if p["p_type"] == "PT_LOAD")
    assert elf["e_shoff"] + elf["e_shnum"] * elf["e_shentsize"] == len(data)
    assert len(data) <= -(-loaded["p_filesz"] // PAGE_SIZE) * PAGE_SIZE


@pytest.mark.parametrize("name", NAMES)
def test_all_that_is_loaded_is_found_by_section_headers_and_no_more(name: str) -> None:
    elf = ELFFile(io.BytesIO(image.load(name).data))
    sections = {s.name: s for s in elf.iter_sections() if s["sh_type"] != "SHT_NULL"}
    assert {".dynsym", ".eh_frame", ".text", ".host", ".shstrtab"} <= set(sections)
    assert not {".symtab", ".strtab", ".extable"} & set(sections)


def test_the_entry_function_can_be_unwound() -> None:
    elf = ELFFile(io.BytesIO(image.load("vdso").data))
    symbols = elf.get_section_by_name(".dynsym")
    assert isinstance(symbols, SymbolTableSection)
    entry = next(s["st_value"] for s in symbols.iter_symbols() if "sgx_enter" in s.name)
    entries = elf.get_dwarf_info().EH_CFI_entries()
    assert any(isinstance(e, FDE) and e.header["initial_location"] == entry for e in entries)
