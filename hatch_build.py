"""Build hook: assembles the vDSO images, src/enclu/linux/vdso/*.S, into shared objects next to their sources, and
compiles the host's agent, src/enclu/host/agent/.

Runs for wheels and for editable installs.  `python hatch_build.py` does the same by hand.  Wheels get the scenarios
and the sources of enclaves, too; an editable install finds them in the checkout.

The same sources and compiler make the same bytes.  gcc's own temporary objects would not: their random names become
symbols (STT_FILE) of what is linked from them.  So every source becomes an object of its own name.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # by hand, where there is no build backend
    BuildHookInterface = object

VDSO = "src/enclu/linux/vdso"
AGENT = "src/enclu/host/agent"
MEMORY = "src/enclu/enclave/memory.c"
"""memcpy() and its like, which gcc calls even where there is no C library."""
IMAGE_FLAGS = ("-fPIC",)
IMAGE_LINK = (
    "-shared", "-Wl,--hash-style=both", "-Wl,-soname,linux-vdso.so.1", "-Wl,--eh-frame-hdr", "-Wl,--build-id=sha1",
    "-Wl,-z,max-page-size=4096", "-Wl,-z,noseparate-code", "-Wl,-z,noexecstack", "-Wl,--orphan-handling=error",
)  # fmt: skip
AGENT_FLAGS = (
    "-O2", "-Wall", "-Wextra", "-Werror", "-ffreestanding", "-fno-pie", "-fno-stack-protector",
    "-fcf-protection=none", "-mgeneral-regs-only",
)  # fmt: skip
AGENT_LINK = ("-static", "-no-pie", "-Wl,--build-id=sha1", "-Wl,-z,noexecstack")
TAG = "py3-none-manylinux_2_17_x86_64"
"""The ELF files of the wheel need no library, and what enclu calls of the C library by ctypes is in glibc 2.17
(tests/release/test_wheel.py checks both): PEP 600."""


def build(root: Path) -> list[Path]:
    """Build all there is.  Raises RuntimeError with gcc's own words."""
    directory = root / VDSO
    script = f"-Wl,-T,{directory / 'image.lds'}"
    images = [
        _link(source.with_suffix(".so"), (source,), IMAGE_FLAGS, (*IMAGE_LINK, script))
        for source in sorted(directory.glob("*.S"))
    ]
    agent = root / AGENT
    sources = (agent / "agent.c", agent / "turn.c", agent / "enter.S", root / MEMORY)
    return [*images, _link(agent / "agent", sources, AGENT_FLAGS, AGENT_LINK)]


def _link(output: Path, sources: tuple[Path, ...], flags: tuple[str, ...], link: tuple[str, ...]) -> Path:
    """The output is replaced as a whole: a program that runs from it keeps what it has."""
    with tempfile.TemporaryDirectory() as scratch:
        objects = []
        for source in sources:
            objects.append(Path(scratch, f"{source.stem}.o"))
            _run("gcc", "-m64", *flags, "-c", "-o", str(objects[-1]), str(source))
        fresh = output.with_name(f".{output.name}.new")
        _run("gcc", "-m64", "-nostdlib", *link, "-o", str(fresh), *map(str, objects))
    return fresh.rename(output)


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise RuntimeError("building enclu needs gcc and binutils: apt-get install gcc libc6-dev") from None
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}:\n{done.stderr}")


class NativeBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Puts what was built into the wheel, which is thereby for x86-64 Linux only."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        build_data["artifacts"].extend(str(file.relative_to(root)) for file in build(root))
        if version == "standard":
            for folder in ("scenarios", "enclaves"):
                build_data["force_include"][str(root / folder)] = f"enclu/{folder}"
        build_data["pure_python"] = False
        build_data["tag"] = TAG


if __name__ == "__main__":
    for path in build(Path(__file__).resolve().parent):
        print(path, file=sys.stderr)
