"""The wheel: reproducible, complete, and for every Linux that its tag says it is for (PEP 600)."""

from __future__ import annotations

import email
import io
import re
import tarfile
import zipfile
from email.message import Message
from pathlib import Path

import pytest
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerDefSection, GNUVerSymSection
from elftools.elf.sections import SymbolTableSection
from packaging import tags
from packaging.utils import parse_wheel_filename

import enclu
from tests.release.conftest import ROOT

BUILT = {
    "enclu/host/agent/agent",
    *(f"enclu/linux/vdso/{name}.so" for name in ("sgx", "vdso", "vdso_2018", "vdso_jmp")),
}
LIBC_CALL = re.compile(r"\b(?:_?libc|(?:CDLL|PyDLL)\(None\))\.(\w+)")
"""Functions of the C library that Python calls by ctypes."""


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def metadata(wheel: Path, file: str) -> Message:
    (name,) = (n for n in contents(wheel) if n.endswith(f".dist-info/{file}"))
    return email.message_from_bytes(contents(wheel)[name])


def test_the_same_sources_make_the_same_bytes(wheels: list[Path]) -> None:
    first, second = (contents(wheel) for wheel in wheels)
    assert [name for name in first if first[name] != second.get(name)] == []
    assert wheels[0].read_bytes() == wheels[1].read_bytes()


def test_its_tag_is_of_every_glibc_since_2_17_and_of_this_machine(wheel: Path) -> None:
    tagged = parse_wheel_filename(wheel.name)[3]
    assert tagged == tags.parse_tag("py3-none-manylinux_2_17_x86_64")
    assert tagged & set(tags.sys_tags())
    assert metadata(wheel, "WHEEL").get_all("Tag") == [str(tag) for tag in tagged]
    assert metadata(wheel, "WHEEL")["Root-Is-Purelib"] == "false"


def test_what_is_compiled_in_it_needs_no_library(wheel: Path) -> None:
    programs = {name: data for name, data in contents(wheel).items() if data.startswith(b"\x7fELF")}
    assert set(programs) == BUILT
    for name, data in programs.items():
        elf = ELFFile(io.BytesIO(data))
        assert elf["e_machine"] == "EM_X86_64", name
        assert "PT_INTERP" not in {segment["p_type"] for segment in elf.iter_segments()}, name
        for section in elf.iter_sections():
            assert section["sh_type"] not in ("SHT_REL", "SHT_RELA"), (name, section.name)
            if isinstance(section, DynamicSection):
                assert not list(section.iter_tags("DT_NEEDED")), name
            if isinstance(section, SymbolTableSection):
                undefined = [s.name for s in section.iter_symbols() if s.name and s["st_shndx"] == "SHN_UNDEF"]
                assert undefined == [], name


def test_what_python_calls_of_the_c_library_is_in_glibc_2_17() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "src" / "enclu").rglob("*.py"))
    called = set(LIBC_CALL.findall(sources))
    assert {"ptrace", "getauxval", "process_vm_readv"} <= called
    since = glibc_symbols()
    assert {name: since[name] for name in called if since[name] > (2, 17)} == {}


def glibc_symbols() -> dict[str, tuple[int, ...]]:
    """The functions of this machine's C library, and the first version that each is in."""
    libraries = re.findall(r"\S+/libc\.so\.6$", Path("/proc/self/maps").read_text(), re.MULTILINE)
    elf = ELFFile(io.BytesIO(Path(libraries[0]).read_bytes()))
    symbols, versions, of_symbol = (elf.get_section_by_name(n) for n in (".dynsym", ".gnu.version_d", ".gnu.version"))
    assert isinstance(symbols, SymbolTableSection)
    assert isinstance(versions, GNUVerDefSection) and isinstance(of_symbol, GNUVerSymSection)
    names = {entry["vd_ndx"]: next(auxiliaries).name for entry, auxiliaries in versions.iter_versions()}
    since: dict[str, tuple[int, ...]] = {}
    for number, symbol in enumerate(symbols.iter_symbols()):
        index = of_symbol.get_symbol(number)["ndx"]
        name = names.get(index & 0x7FFF, "") if isinstance(index, int) else ""
        if re.fullmatch(r"GLIBC_[\d.]+", name):
            version = tuple(map(int, name.removeprefix("GLIBC_").split(".")))
            since[symbol.name] = min(since.get(symbol.name, version), version)
    return since


def test_it_has_the_package_the_scenarios_and_the_enclaves_and_nothing_else(wheel: Path, sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        inside = {member.name.partition("/")[2] for member in archive if member.isfile()}
    wanted = {path.removeprefix("src/") for path in inside if path.startswith("src/enclu/")}
    wanted |= {f"enclu/{path}" for path in inside if path.startswith(("scenarios/", "enclaves/"))}
    assert {name for name in contents(wheel) if ".dist-info/" not in name} == wanted | BUILT


@pytest.mark.parametrize("folder", ["src", "tests", "scenarios", "enclaves", "examples", "docs", "benchmarks"])
def test_the_sdist_has_what_the_checkout_has(folder: str, sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        inside = {member.name.partition("/")[2] for member in archive if member.isfile()}
    suffixes = (".py", ".c", ".h", ".S", ".cc", ".go", ".lds", ".toml", ".md", ".html", ".css", ".js")
    files = {path for path in (ROOT / folder).rglob("*") if path.suffix in suffixes and path.is_file()}
    assert files and {str(path.relative_to(ROOT)) for path in files} <= inside


def test_its_metadata_tells_version_licence_and_what_it_runs_on(wheel: Path) -> None:
    about = metadata(wheel, "METADATA")
    assert (about["Name"], about["Version"]) == ("enclu", enclu.__version__)
    assert about["License-Expression"] == "Apache-2.0"
    assert set(about.get_all("License-File", [])) == {
        "LICENSE", "LICENSES/GPL-2.0.txt", "LICENSES/Linux-syscall-note.txt", "LICENSES/README.md",
    }  # fmt: skip
    assert about["Requires-Python"] == ">=3.11"
    assert "Operating System :: POSIX :: Linux" in about.get_all("Classifier", [])
