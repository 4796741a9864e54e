"""What the types of C headers are, asked of the C compiler, which finds the system's headers by its own paths."""

from __future__ import annotations

import functools
import io
import shutil
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from enclu.base import directories
from enclu.host.edl.declarations import Declarations
from enclu.host.edl.syntax import CType

GCC_TIME = 20.0
"""Seconds for one run of the compiler."""
SCALARS = (
    "_Bool", "char", "signed char", "unsigned char", "short", "unsigned short", "int", "unsigned int", "long",
    "unsigned long", "long long", "unsigned long long", "float", "double", "long double", "__int128",
    "unsigned __int128",
)  # fmt: skip
"""Types that a typedef can be another name of; an enumeration counts as the int that it is compatible with."""
POINTER = len(SCALARS)
_POINTER_CLASS = 5  # what GCC's __builtin_classify_type says of pointers, and of arrays, which become pointers
_RECORD = struct.Struct("<QQQ")
_SECTION = "enclu.answer"


@dataclass(frozen=True)
class Found:
    """A type of a header: `scalar` is one of SCALARS, "pointer", or None for what is composed of others."""

    size: int
    align: int
    scalar: str | None


@dataclass
class Answer:
    """Types by name, as far as headers define them, and what gcc says of headers that it does not compile."""

    types: dict[str, Found] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)


def ask(interface: Declarations, types: Sequence[CType]) -> Answer:
    """Ask for these types.  Headers that are not here, such as the SDK's, are left out."""
    gcc = shutil.which("gcc") or shutil.which("cc")
    if gcc is None:
        return Answer(complaints=["there is no gcc to read headers"])
    if not types:
        return Answer()
    try:
        scratch = directories.temporary("enclu-edl-")
    except directories.NoTemporary as error:
        return Answer(complaints=[str(error.strerror)])
    with scratch as directory:
        return _ask(_Compiler(gcc, interface, Path(directory, "answer.o")), interface, types)


def _ask(compiler: _Compiler, interface: Declarations, types: Sequence[CType]) -> Answer:
    records = compiler.records(interface.includes, types)
    if isinstance(records, list):
        return Answer(dict(zip((type.name for type in types), records, strict=True)))
    answer, usable = Answer(), list[str]()
    for header in interface.includes:
        complaint = compiler.complaint([*usable, header])
        if complaint is None:
            usable.append(header)
        else:
            answer.complaints.append(complaint)
    for type in types:
        records = compiler.records(usable, [type])
        if isinstance(records, list):
            answer.types[type.name] = records[0]
    return answer


class _Compiler:
    """gcc, with the interface's directories; `answer` is a file that it may write."""

    def __init__(self, gcc: str, interface: Declarations, answer: Path) -> None:
        self._answer = answer
        self._command = [gcc, "-m64", "-w", "-fdiagnostics-color=never", "-x", "c"]
        for directory in interface.directories:
            self._command += ["-I", str(directory)]

    def _run(self, program: str, *options: str) -> str | None:
        """The first error; None if there is none."""
        try:
            done = subprocess.run(
                [*self._command, *options, "-"], input=program, capture_output=True, encoding="utf-8",
                errors="surrogateescape", timeout=GCC_TIME, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return f"gcc does not compile the headers within {GCC_TIME:g} seconds"
        if not done.returncode:
            return None
        return next((line for line in done.stderr.splitlines() if "error:" in line), "gcc fails")

    def complaint(self, headers: Sequence[str]) -> str | None:
        """What gcc says of the last of these headers; None if it compiles."""
        said = self._run(_includes(headers), "-fsyntax-only")
        return None if said is None else said.replace(f"<stdin>:{len(headers) + 2}:", f"{headers[-1]}:")

    def records(self, headers: Sequence[str], types: Sequence[CType]) -> list[Found] | str:
        """What the types are, or gcc's complaint."""
        program = _includes(headers) + "".join(_question(i, type) for i, type in enumerate(types))
        complaint = self._run(program, "-c", "-o", str(self._answer))
        if complaint is not None:
            return complaint
        try:
            section = ELFFile(io.BytesIO(self._answer.read_bytes())).get_section_by_name(_SECTION)
        except (OSError, ELFError) as error:
            return f"gcc makes no object file: {error}"
        data = section.data() if section is not None else b""
        if len(data) != len(types) * _RECORD.size:
            return "gcc's answer has another length"
        return [_found(*record) for record in _RECORD.iter_unpack(data)]


def _includes(headers: Sequence[str]) -> str:
    return "#include <stdint.h>\n#include <stddef.h>\n" + "".join(f'#include "{header}"\n' for header in headers)


def _question(number: int, type: CType) -> str:
    asked, value = f"enclu_asked_{number}", f"enclu_value_{number}"
    pointer = f"__builtin_classify_type({value}) == {_POINTER_CLASS} ? {POINTER} : {POINTER + 1}"
    return (
        f"typedef {type} {asked};\nextern {asked} {value};\n"
        f'__attribute__((section("{_SECTION}"), aligned(8))) const unsigned long long enclu_answer_{number}[] = '
        f"{{ sizeof({asked}), _Alignof({asked}), _Generic({value}, {_codes()}, default: {pointer}) }};\n"
    )


@functools.cache
def _codes() -> str:
    return ", ".join(f"{name}: {code}" for code, name in enumerate(SCALARS))


def _found(size: int, align: int, code: int) -> Found:
    if code == POINTER and (size, align) == (8, 8):  # an array, too, becomes a pointer
        return Found(size, align, "pointer")
    return Found(size, align, SCALARS[code] if code < POINTER else None)
