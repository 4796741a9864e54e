"""Structures and constants that C and Python both have: the compiler says whether they are the same.

What a file in C declares is read from what gcc makes of it, so that nothing is overlooked: structures and enumerations
from DWARF, macros from the preprocessor, and what assembly sets with .set from its text.
"""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from elftools.dwarf.compileunit import CompileUnit
from elftools.dwarf.die import DIE
from elftools.dwarf.dwarfinfo import DWARFInfo
from elftools.elf.elffile import ELFFile

from enclu.sgx.layout import Structure

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = (
    "src/enclu/enclave", "src/enclu/include", "src/enclu/host/agent", "enclaves", "scenarios", "scenarios/pkcs11",
    "scenarios/runtimes/common", "tests/c", "src/enclu/conform/program",
)  # fmt: skip
"""Where files in C find each other."""
GCC = ("gcc", "-m64", "-std=gnu11", "-w", "-D_GNU_SOURCE", *(f"-iquote{ROOT / folder}" for folder in FOLDERS))
COMPOSITE = {"DW_TAG_structure_type": "struct", "DW_TAG_union_type": "union", "DW_TAG_enumeration_type": "enum"}
_MARKER = re.compile(r'# \d+ "(.*?)"')
_MACRO = re.compile(r"#define (\w+) (.+)")
_SET = re.compile(r"^\s*\.set\s+(\w+),\s*(-?\d[-+*\s\dxa-fA-F]*?)\s*(?:/\*.*)?$", re.MULTILINE)


@dataclass(frozen=True)
class Fields:
    """A structure's fields, by the names that they have in C."""

    size: int
    places: Mapping[str, tuple[int, int]]
    """Offset and size; a field may be one of a structure within, `body.mac`."""
    besides: tuple[str, ...] = ()
    """Fields in C that Python has no need for."""


def fields(table: Structure | type[ctypes.Structure], *besides: str, **names: str) -> Fields:
    """Of a table.  `names` are those of fields that are not called by the table's own, in small letters, in C."""
    if isinstance(table, Structure):
        size, rows = table.size, [(name, table.offset(name), table.width(name)) for _, name, _ in table.fields]
    else:
        size = ctypes.sizeof(table)
        rows = [(name, (at := getattr(table, name)).offset, at.size) for name, *_ in table._fields_]
    unknown = names.keys() - {name for name, _, _ in rows}
    if unknown:
        raise KeyError(f"no fields of the table: {', '.join(sorted(unknown))}")
    return Fields(size, {names.get(n, n.lower()): (offset, width) for n, offset, width in rows}, besides)


@dataclass(frozen=True)
class Twins:
    """What a file in C has in common with Python, and what it has alone."""

    path: Path
    structures: Mapping[str, Fields] = field(default_factory=dict)
    """By their names in C, `struct call`."""
    constants: Mapping[str, int | str | bytes] = field(default_factory=dict)
    """Numbers, expressions in C, or the bytes of an initializer."""
    alone: frozenset[str] = frozenset()
    """Structures, enumerations and constants without a twin."""
    flags: tuple[str, ...] = ()
    """For the compiler."""
    also: tuple[str, ...] = ()
    """Of assembly, the headers in C that have what it names."""

    @property
    def assembly(self) -> bool:
        return bool(self.also) or self.path.suffix == ".S"

    def copied_to(self, path: Path) -> Twins:
        """The same of a copy of the file."""
        return replace(self, path=path)


def twins(
    path: str, structures: Mapping[str, Fields] | None = None, constants: Mapping[str, int | str | bytes] | None = None,
    *, alone: Sequence[str] = (), flags: tuple[str, ...] = (), also: tuple[str, ...] = (),
) -> Twins:  # fmt: skip
    """Of a file of the checkout."""
    return Twins(ROOT / path, structures or {}, constants or {}, frozenset(alone), flags, also)


@dataclass
class Declared:
    """What a file declares itself."""

    composites: dict[str, list[str]] = field(default_factory=dict)
    """Members of structures and unions."""
    enumerations: dict[str, list[str]] = field(default_factory=dict)
    """Enumerators; those of enumerations without a name are under the empty one."""
    constants: dict[str, str] = field(default_factory=dict)
    """What macros without arguments, and symbols that assembly sets, stand for."""


def complaints(twins: Twins) -> list[str]:
    """What is not the same, and what nobody has listed."""
    declared = _declared(twins)
    return [*_unlisted(twins, declared), *compiler_says(_preamble(twins, declared), twins)]


def compiler_says(preamble: Sequence[str], twins: Twins) -> list[str]:
    """gcc's errors: where sizes, offsets or constants are not as Python has them."""
    source = "\n".join(["#include <stddef.h>", *preamble, *_assertions(twins), ""])
    done = _gcc(twins, source, "-fsyntax-only")
    return [line for line in done.stderr.splitlines() if "error:" in line]


def _assertions(twins: Twins) -> Iterator[str]:
    for name, table in twins.structures.items():
        yield _assertion(f"sizeof({name}) == {table.size}")
        for member, (offset, size) in table.places.items():
            yield _assertion(f"offsetof({name}, {member}) == {offset}")
            yield _assertion(f"sizeof((({name} *)0)->{member}) == {size}")
    for name, value in twins.constants.items():
        if isinstance(value, bytes):
            yield _assertion(f"sizeof((const unsigned char[]){name}) == {len(value)}")
        else:
            yield _assertion(f"{name} == {value if isinstance(value, str) else f'{value:#x}'}")


def _assertion(condition: str) -> str:
    return f'_Static_assert({condition}, "{condition}");'


def _preamble(twins: Twins, declared: Declared) -> list[str]:
    if twins.assembly:
        headers = [f'#include "{name}"' for name in twins.also]
        return [*headers, *(f"#define {name} ({value})" for name, value in declared.constants.items())]
    return [f'#include "{twins.path}"']


def _unlisted(twins: Twins, declared: Declared) -> Iterator[str]:
    listed = {*twins.structures, *twins.constants, *twins.alone}
    where = twins.path.name
    for name, members in declared.composites.items():
        if name not in listed:
            yield f"{where}: nobody lists {name}"
        if name in twins.structures:
            table = twins.structures[name]
            known = {*table.besides, *(place.partition(".")[0] for place in table.places)}
            for member in members:
                if member not in known and not member.startswith("reserved"):
                    yield f"{where}: the table of {name} has no {member}"
    for name, members in declared.enumerations.items():
        if name not in listed:
            yield from (f"{where}: nobody lists {m}" for m in members if m not in listed)
    yield from (f"{where}: nobody lists {name}" for name in declared.constants if name not in listed)
    enumerators = {m for members in declared.enumerations.values() for m in members}
    there = {*declared.composites, *declared.enumerations, *declared.constants, *enumerators}
    for name in sorted(listed - there):
        yield f"{where}: there is no {name}"
    for name, value in twins.constants.items():
        if isinstance(value, bytes) and _initializer(declared.constants.get(name, "")) != value:
            yield f"{where}: {name} is {declared.constants.get(name)}, not {value.hex()}"


def _initializer(text: str) -> bytes:
    """The bytes of `{ 0x71, 143 }`."""
    return bytes(int(number, 0) for number in re.findall(r"\w+", text))


def _declared(twins: Twins) -> Declared:
    if twins.assembly:
        return Declared(constants=_sets(twins.path.read_text()) | _macros(twins))
    found = Declared(constants=_macros(twins))
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory, "types.o")
        done = _gcc(
            twins,
            f'#include "{twins.path}"\n',
            "-c",
            "-gdwarf-4",
            "-fno-eliminate-unused-debug-types",
            "-o",
            str(output),
        )
        if done.returncode:
            raise ValueError(done.stderr)
        with output.open("rb") as file:
            dwarf = ELFFile(file).get_dwarf_info()
            for unit in dwarf.iter_CUs():
                for die in unit.get_top_DIE().iter_children():
                    if die.tag in COMPOSITE and _file(dwarf, unit, die) == twins.path.resolve():
                        _add(found, unit, die)
    return found


def _add(found: Declared, unit: CompileUnit, die: DIE) -> None:
    members = [_name(child) for child in die.iter_children() if child.tag in ("DW_TAG_member", "DW_TAG_enumerator")]
    name = _name(die)
    if die.tag == "DW_TAG_enumeration_type":
        found.enumerations.setdefault(f"enum {name}" if name else "", []).extend(members)
    elif members:  # not only named
        called = f"{COMPOSITE[str(die.tag)]} {name}" if name else _of_typedef(unit, die)
        found.composites[called or f"struct of {' '.join(members)}"] = members


def _of_typedef(unit: CompileUnit, die: DIE) -> str:
    for other in unit.get_top_DIE().iter_children():
        named = other.tag == "DW_TAG_typedef" and "DW_AT_type" in other.attributes
        if named and other.get_DIE_from_attribute("DW_AT_type").offset == die.offset:
            return _name(other)
    return ""


def _name(die: DIE) -> str:
    attribute = die.attributes.get("DW_AT_name")
    return attribute.value.decode() if attribute is not None else ""


def _file(dwarf: DWARFInfo, unit: CompileUnit, die: DIE) -> Path | None:
    number = die.attributes.get("DW_AT_decl_file")
    program = dwarf.line_program_for_CU(unit)
    if number is None or program is None:
        return None
    entry = program.header["file_entry"][number.value - 1]
    folders = [b".", *program.header["include_directory"]]
    return Path(os.fsdecode(folders[entry.dir_index]), os.fsdecode(entry.name)).resolve()


def _sets(text: str) -> dict[str, str]:
    """Those that are set more than once are variables."""
    names = re.findall(r"\.set\s+(\w+)", text)
    return {name: value for name, value in _SET.findall(text) if names.count(name) == 1}


def _macros(twins: Twins) -> dict[str, str]:
    """Also those that are for assembly only."""
    languages = ("assembler-with-cpp",) if twins.assembly else ("c", "assembler-with-cpp")
    found: dict[str, str] = {}
    for language in languages:
        done = _gcc(twins, f'#include "{twins.path}"\n', "-E", "-dD", language=language)
        if done.returncode:
            raise ValueError(done.stderr)
        file = ""
        for line in done.stdout.splitlines():
            if marker := _MARKER.match(line):
                (file,) = marker.groups()
            elif (macro := _MACRO.match(line)) and Path(file).resolve() == twins.path.resolve():
                name, value = macro.groups()
                found.setdefault(name, value)
    return found


def _gcc(twins: Twins, source: str, *options: str, language: str = "c") -> subprocess.CompletedProcess[str]:
    own = f"-iquote{twins.path.parent}"
    return subprocess.run(
        [GCC[0], own, *GCC[1:], *twins.flags, *options, "-x", language, "-"], input=source, capture_output=True,
        text=True, env={**os.environ, "LC_ALL": "C"}, check=False,
    )  # fmt: skip
