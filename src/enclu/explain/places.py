"""What stands at an address of the traced program, by what it printed of its memory map: proc_pid_maps(5)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from enclu.base.elf import Elf
from enclu.host.images import open_image
from enclu.host.places import Places
from enclu.linux.vdso.image import VdsoImage


@dataclass(frozen=True)
class Mapping:
    """A file in memory, or a part of it."""

    start: int
    end: int
    offset: int
    path: Path


class Memory:
    """Names for addresses: of runtimes, of the vDSO, of enclaves."""

    def __init__(self, maps: list[str], vdso: VdsoImage, vdso_base: int, enclave: Path) -> None:
        """`maps` are lines of /proc/PID/maps; all enclaves are of one image."""
        self._mappings = [mapping for line in maps if (mapping := _mapping(line))]
        self._vdso, self._vdso_base = vdso, vdso_base
        self._enclave = Places.of(open_image(enclave))
        self._enclaves: list[tuple[int, int]] = []

    def add_enclave(self, base: int, size: int) -> None:
        """ELRANGE."""
        self._enclaves.append((base, size))

    def runtime(self, address: int) -> str:
        """Letter of the runtime whose code this is; nothing if it is none's."""
        mapping = self._at(address)
        return mapping.path.stem[-1] if mapping and mapping.path.parent.name == "runtimes" else ""

    def name(self, address: int) -> str:
        """What people call the place; nothing for memory that is nobody's code."""
        for base, size in self._enclaves:
            if base <= address < base + size:
                return str(self._enclave.at(address - base))
        if 0 <= address - self._vdso_base < len(self._vdso.data):
            functions = [(n, v) for n, v in self._vdso.symbols.items() if n.startswith("__vdso_")]
            return f"vDSO, {_nearest(functions, address - self._vdso_base)}"
        mapping = self._at(address)
        if mapping is None:
            return ""
        symbols = [(s.name, s.value) for s in Elf(mapping.path.read_bytes()).symbols(".symtab") if s.section]
        what = _nearest(symbols, address - mapping.start + mapping.offset)
        runtime = self.runtime(address)
        return f"runtime {runtime.upper()}, {what}" if runtime else f"{mapping.path.name}, {what}"

    def _at(self, address: int) -> Mapping | None:
        return next((m for m in self._mappings if m.start <= address < m.end), None)


def _mapping(line: str) -> Mapping | None:
    addresses, access, offset, _, _, *path = line.split(maxsplit=5)
    start, _, end = addresses.partition("-")
    if "x" not in access or not path or not path[0].startswith("/") or path[0].endswith(" (deleted)"):
        return None
    return Mapping(int(start, 16), int(end, 16), int(offset, 16), Path(path[0]))


def _nearest(symbols: list[tuple[str, int]], address: int) -> str:
    """The last symbol that is not behind the address; linkers put code at its offset in the file."""
    name, value = max(((n, v) for n, v in symbols if n and v <= address), key=lambda s: (s[1], s[0]), default=("", 0))
    return f"{name}+{address - value:#x}" if address != value else name
