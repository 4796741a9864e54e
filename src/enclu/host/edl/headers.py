"""How large the types of C headers are, asked of the C compiler."""

from __future__ import annotations

import io
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from enclu.host.edl.interface import Interface
from enclu.host.edl.syntax import CType

_RECORD = struct.Struct("<QQQ")
_POINTER_CLASS = 5  # what GCC's __builtin_classify_type says of pointers; lower ones are scalars


def sizes_in_headers(interface: Interface, types: Iterable[CType]) -> dict[str, tuple[int, int, bool]]:
    """Size, alignment and whether it is a scalar, of those types that the included headers define.

    Headers that are not here, such as the SDK's, are left out; a type that then is not defined is not in the answer.
    """
    gcc = shutil.which("gcc") or shutil.which("cc")
    headers = [header for header in map(lambda name: _find(interface, name), interface.includes) if header]
    if gcc is None or not headers:
        return {}
    found = {}
    for type in types:
        record = _ask(gcc, headers, interface.directories, type)
        if record is not None:
            size, align, scalar = record
            found[type.name] = size, align, bool(scalar)
    return found


def _find(interface: Interface, name: str) -> Path | None:
    candidates = (directory / name for directory in interface.directories)
    return next((candidate.resolve() for candidate in candidates if candidate.is_file()), None)


def _ask(gcc: str, headers: list[Path], directories: Iterable[Path], type: CType) -> tuple[int, int, int] | None:
    includes = "".join(f'#include "{header}"\n' for header in headers)
    program = (
        f"#include <stdint.h>\n#include <stddef.h>\n{includes}"
        f"typedef {type} asked;\nextern asked value;\n"
        '__attribute__((section("enclu.answer"))) const unsigned long long answer[] = '
        f"{{ sizeof(asked), _Alignof(asked), __builtin_classify_type(value) <= {_POINTER_CLASS} }};\n"
    )
    with tempfile.TemporaryDirectory(prefix="enclu-edl-") as directory:
        answer = Path(directory) / "answer.o"
        command = [gcc, "-m64", "-w", "-x", "c", "-c", "-o", str(answer)]
        for include in directories:
            command += ["-I", str(include)]
        done = subprocess.run([*command, "-"], input=program, capture_output=True, text=True, check=False)
        if done.returncode:
            return None
        try:
            section = ELFFile(io.BytesIO(answer.read_bytes())).get_section_by_name("enclu.answer")
        except ELFError:
            return None
    if section is None:
        return None
    size, align, scalar = _RECORD.unpack(section.data()[: _RECORD.size])
    return size, align, scalar
