"""Images for tests: compiled from C, signed with a key that is worth nothing."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from pathlib import Path

from enclu.host.build import Layout, build_enclave
from enclu.host.images import Image, open_image
from enclu.host.signing import sign, signing_key, unsigned

SOURCES = (".c", ".S")


class TrialImages:
    """Builds into a directory, each enclave once unless its files change.  One process at a time works there."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._built: dict[tuple[object, ...], Path] = {}
        self._numbers = itertools.count()

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
        wanted = (files, _state(files), layout, flags, libraries)
        if wanted not in self._built:
            # A directory of its own, whatever has become of the builds before.
            output = self._directory / str(next(self._numbers)) / f"{files[0].stem}.elf"
            output.parent.mkdir()
            build_enclave(files, output, layout, flags=flags, libraries=libraries)
            self._built[wanted] = output
        return self._built[wanted]


def _state(files: Sequence[Path]) -> tuple[object, ...]:
    """By which a file that has changed is told; gcc complains of those that are missing."""
    found = [path.stat() if path.exists() else None for path in files]
    return tuple(status and (status.st_ino, status.st_size, status.st_mtime_ns) for status in found)
