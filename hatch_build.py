"""Build hook: assembles the vDSO images, src/enclu/linux/vdso/*.S, into shared objects next to their sources, and
compiles the host's agent, src/enclu/host/agent/.

Runs for wheels and for editable installs.  `python hatch_build.py` does the same by hand.  Wheels get the scenarios
and the sources of enclaves, too; an editable install finds them in the checkout.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # by hand, where there is no build backend
    BuildHookInterface = object

VDSO = "src/enclu/linux/vdso"
AGENT = "src/enclu/host/agent"


def build(root: Path) -> list[Path]:
    """Build all there is.  Raises RuntimeError with gcc's own words."""
    directory = root / VDSO
    images = []
    for source in sorted(directory.glob("*.S")):
        image = source.with_suffix(".so")
        command = [
            "gcc", "-m64", "-nostdlib", "-shared", "-fPIC",
            "-Wl,--hash-style=both", "-Wl,-soname,linux-vdso.so.1", "-Wl,--eh-frame-hdr", "-Wl,--build-id=sha1",
            "-Wl,-z,max-page-size=4096", "-Wl,-z,noseparate-code", "-Wl,-z,noexecstack",
            "-Wl,-T," + str(directory / "image.lds"), "-Wl,--orphan-handling=error",
            "-o", str(image), str(source),
        ]  # fmt: skip
        _run(command)
        images.append(image)
    return [*images, _agent(root / AGENT)]


def _agent(directory: Path) -> Path:
    program = directory / "agent"
    _run([
        "gcc", "-m64", "-O2", "-Wall", "-Wextra", "-Werror", "-ffreestanding", "-fno-stack-protector",
        "-fcf-protection=none", "-mgeneral-regs-only", "-nostdlib", "-static", "-no-pie", "-Wl,-z,noexecstack",
        "-o", str(program), *map(str, (directory / "agent.c", directory / "enter.S")),
    ])  # fmt: skip
    return program


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise RuntimeError("building enclu needs gcc and binutils: apt-get install gcc") from None
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
        build_data["tag"] = "py3-none-linux_x86_64"


if __name__ == "__main__":
    for path in build(Path(__file__).resolve().parent):
        print(path, file=sys.stderr)
