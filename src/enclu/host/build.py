"""Compiles enclaves in C: a user's files and those of `enclu.enclave_dir()`, by gcc."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import enclu
from enclu.host.errors import HostError
from enclu.sgx.structs import MISC_EXINFO, Attribute

FLAGS = (
    "-g", "-O1", "-Wall", "-Wextra", "-ffreestanding", "-fPIE", "-fno-stack-protector", "-fno-jump-tables",
    "-fvisibility=hidden", "-fcf-protection=none", "-fno-tree-loop-distribute-patterns", "-ffunction-sections",
    "-fdata-sections", "-static-pie", "-nostdlib",
    "-Wl,--build-id=none,-z,norelro,-z,noexecstack,--hash-style=sysv,--gc-sections",
)  # fmt: skip
MAX_THREADS = 256


class BuildError(HostError):
    """The compiler is missing or has refused."""


@dataclass(frozen=True)
class Layout:
    """What an enclave is to have besides its code."""

    threads: int = 4
    """TCSes, each with 3 SSA frames."""
    stack_pages: int = 8
    """Of each TCS at each CSSA."""
    heap_pages: int = 0
    """Read-write pages behind the image, not measured."""
    spare_pages: int = 0
    """Addresses behind the heap, without pages at first."""
    attributes: int = int(Attribute.MODE64BIT)
    xfrm: int = 3
    miscselect: int = MISC_EXINFO

    def definitions(self) -> tuple[str, ...]:
        """For the compiler.  Raises BuildError for a value that no enclave can have."""
        if not 1 <= self.threads <= MAX_THREADS:
            raise BuildError(f"threads: {self.threads}; an enclave has 1 to {MAX_THREADS}")
        if self.stack_pages < 1:
            raise BuildError(f"stack pages: {self.stack_pages}; at least 1")
        if not self.xfrm & 3 == 3:
            raise BuildError(f"XFRM: {self.xfrm:#x}; x87 and SSE (3) are always in it")
        return (
            f"-DTCSES={self.threads}", f"-DSTACK_PAGES={self.stack_pages}", f"-DHEAP_PAGES={self.heap_pages}",
            f"-DSPARE_PAGES={self.spare_pages}", f"-DATTRIBUTES={self.attributes:#x}", f"-DXFRM={self.xfrm:#x}",
            f"-DMISCSELECT={self.miscselect:#x}",
        )  # fmt: skip


def parts() -> tuple[Path, ...]:
    """What every enclave is compiled from, headers and linker script included."""
    directory = enclu.enclave_dir()
    return tuple(p for suffix in ("S", "c", "h", "lds") for p in sorted(directory.glob(f"*.{suffix}")))


def command(
    sources: Sequence[Path], layout: Layout, *, flags: Sequence[str] = (), libraries: Sequence[str] = ()
) -> tuple[str, ...]:
    """The compiler's command line, to which "-o" and the output are to be added."""
    own = [str(part) for part in parts() if part.suffix in (".S", ".c")]
    script = enclu.enclave_dir() / "enclave.lds"
    return (
        "gcc", *FLAGS, f"-I{enclu.enclave_dir()}", *layout.definitions(), *flags, f"-Wl,-T,{script}", *own,
        *map(str, sources), *(f"-l{library}" for library in libraries), "-lgcc",
    )  # fmt: skip


def build_enclave(
    sources: Sequence[Path], output: Path, layout: Layout | None = None, *, flags: Sequence[str] = (),
    libraries: Sequence[str] = (),
) -> None:  # fmt: skip
    """Compile an enclave into an ELF file; `libraries` are static ones.  Raises BuildError with gcc's own words."""
    gcc, *arguments = command(sources, layout or Layout(), flags=flags, libraries=libraries)
    tool = shutil.which(gcc)
    if tool is None:
        raise BuildError("gcc is missing, which compiles enclaves: apt-get install gcc")
    done = subprocess.run([tool, *arguments, "-o", str(output)], capture_output=True, text=True)
    if done.returncode:
        raise BuildError(f"{output}: gcc cannot build it\n{done.stderr.strip()}")
