"""Build hook: assembles the vDSO images, src/enclu/linux/vdso/*.S, into shared objects next to their sources.

Runs for wheels and for editable installs.  `python hatch_build.py` does the same by hand.  Wheels get the scenarios,
too; an editable install finds them in the checkout.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCES = "src/enclu/linux/vdso"


def assemble(root: Path) -> list[Path]:
    """Assemble every image.  Raises RuntimeError with gcc's own words."""
    directory = root / SOURCES
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
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            raise RuntimeError("building enclu needs gcc and binutils: apt-get install gcc") from None
        if done.returncode:
            raise RuntimeError(f"gcc cannot assemble {source}:\n{done.stderr}")
        images.append(image)
    return images


class VdsoBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Puts the assembled images into the wheel, which is thereby for x86-64 Linux only."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        build_data["artifacts"].extend(str(image.relative_to(root)) for image in assemble(root))
        if version == "standard":
            build_data["force_include"][str(root / "scenarios")] = "enclu/scenarios"
        build_data["pure_python"] = False
        build_data["tag"] = "py3-none-linux_x86_64"


if __name__ == "__main__":
    for path in assemble(Path(__file__).resolve().parent):
        print(path, file=sys.stderr)
