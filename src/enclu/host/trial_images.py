"""Images for tests: compiled from C, signed with a key that is worth nothing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from enclu.host.build import Layout, build_enclave
from enclu.host.images import Image, open_image
from enclu.host.signing import sign, signing_key, unsigned

SOURCES = (".c", ".S")


class TrialImages:
    """Builds into a directory, each enclave once.  One process at a time works there."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._built: dict[tuple[object, ...], Path] = {}

    def open(
        self, files: Sequence[Path], *, sigstruct: str | os.PathLike[str] | None = None, layout: Layout | None = None,
        flags: Sequence[str] = (), libraries: Sequence[str] = (),
    ) -> Image:  # fmt: skip
        """The enclave in this file, or that is made of these C and assembly files.  Raises HostError.

        Without a SIGSTRUCT it gets one that leaves it open whether it is a debug enclave.
        """
        path = files[0]
        if path.suffix in SOURCES:
            path = self._build(tuple(files), layout or Layout(), tuple(flags), tuple(libraries))
        image = open_image(path, sigstruct)
        if image.sigstruct is None:
            image.sigstruct = sign(unsigned(image, debug=True), signing_key(self._directory / "key.pem"))
        return image

    def _build(
        self, files: tuple[Path, ...], layout: Layout, flags: tuple[str, ...], libraries: tuple[str, ...]
    ) -> Path:
        wanted = (files, layout, flags, libraries)
        if wanted not in self._built:
            output = self._directory / str(len(self._built)) / f"{files[0].stem}.elf"
            output.parent.mkdir()
            build_enclave(files, output, layout, flags=flags, libraries=libraries)
            self._built[wanted] = output
        return self._built[wanted]
